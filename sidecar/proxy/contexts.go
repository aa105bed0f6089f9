package proxy

import (
	"errors"
	"fmt"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handshake"
	"github.com/axlemesh/axle/sidecar/loop"
)

// contexts are the TLS sides of a snapshot's listeners and clusters, by name. They do not change.
type contexts struct{ listeners, clusters map[string]*handshake.Context }

// place is what a connection's TLS is configured by: a listener or a cluster.
type place struct {
	name    string
	cluster bool
}

// at is nil where nothing is configured.
func (c *contexts) at(p place) *handshake.Context {
	if p.cluster {
		return c.clusters[p.name]
	}
	return c.listeners[p.name]
}

// stricter are contexts that may not let in a peer whose connection is open.
type stricter map[*handshake.Context]bool

// contextsOf reads the certificates of s, but for those that are here already. It reports every mistake.
func (e *Engine) contextsOf(s *config.Snapshot) (*contexts, stricter, error) {
	old := e.contexts.Load()
	c := &contexts{listeners: map[string]*handshake.Context{}, clusters: map[string]*handshake.Context{}}
	other := stricter{}
	var errs []error
	load := func(into, old map[string]*handshake.Context, what, name string, block *config.TLS, server bool) {
		if block == nil {
			return
		}
		known := old[name]
		if known != nil && known.For(block) {
			into[name] = known
			return
		}
		loaded, err := handshake.Load(block, server)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: tls: %w", what, name, err))
			return
		}
		into[name] = loaded
		if known != nil && known.Rules() != loaded.Rules() {
			other[loaded] = true
		}
	}
	for i := range s.Listeners {
		load(c.listeners, old.listeners, "listener", s.Listeners[i].Name, s.Listeners[i].TLS, true)
	}
	for name, cluster := range s.Clusters {
		load(c.clusters, old.clusters, "cluster", name, cluster.TLS, false)
	}
	return c, other, errors.Join(errs...)
}

// RefreshCertificates reads the files of the configuration in force again where they have changed. New handshakes use
// what is in them; of the connections that are open, those end whose peers a new trust does not let in. It may be called
// from any goroutine, one call at a time.
func (e *Engine) RefreshCertificates() {
	c := e.contexts.Load()
	other := stricter{}
	for what, all := range map[string]map[string]*handshake.Context{"listener": c.listeners, "cluster": c.clusters} {
		for name, context := range all {
			before := context.Rules()
			changed, err := context.Refresh()
			if err != nil {
				e.log.Error(err, "Certificates have changed and are of no use; the old ones stay", what, name)
			}
			if changed {
				e.log.Info("Certificates have changed", what, name)
			}
			if context.Rules() != before {
				other[context] = true
			}
		}
	}
	e.doubt(other)
}

// doubt checks the peers of open connections again.
func (e *Engine) doubt(where stricter) {
	if len(where) == 0 {
		return
	}
	for _, w := range e.workers {
		w.loop.Call(func() {
			var peers []shown
			all := e.contexts.Load()
			w.loop.Each(func(conn *loop.Conn) {
				c, ok := conn.Cipher().(*secured)
				if !ok || conn.Closed() {
					return
				}
				if context := all.at(c.at); where[context] {
					peers = append(peers, shown{conn, context, c.chain})
				}
			})
			w.judge(peers)
		})
	}
}

// strangerRest is the least time between two words about peers who are somebody else: they may come back at once.
const strangerRest = 5 * time.Second

// tell lets the log say why a handshake has failed, and who came when it was somebody else.
func (w *worker) tell(at place, err error) {
	if _, ok := errors.AsType[*handshake.StrangerError](err); !ok {
		w.complain("a TLS handshake has failed", at, err)
		return
	}
	x, now := &w.shakes, w.loop.Now()
	x.untold++
	if x.told > 0 && now-x.told < strangerRest {
		return
	}
	what := "listener"
	if at.cluster {
		what = "cluster"
	}
	w.engine.log.Info("refused a peer with a certificate of somebody else", what, at.name, "reason", err.Error(), "times", x.untold)
	x.untold, x.told = 0, now
}

// contextOf is what a connection's peer has to satisfy here; nil when nothing is asked of it.
func (w *worker) contextOf(s *connState) *handshake.Context {
	return w.engine.contexts.Load().at(placeOf(s))
}

func placeOf(s *connState) place {
	if s.cluster != "" {
		return place{s.cluster, true}
	}
	return place{name: s.listener.Name}
}

// shown is what a peer has shown on a connection, and what judges it.
type shown struct {
	conn    *loop.Conn
	context *handshake.Context
	chain   [][]byte
}

// recheck looks at the peers of connections that were taken over: what was trusted where they came from may not be trusted
// here.
func (w *worker) recheck(batch []restored) {
	var peers []shown
	for _, r := range batch {
		if c, ok := r.conn.Cipher().(*secured); ok && r.context != nil && !r.conn.Closed() {
			peers = append(peers, shown{r.conn, r.context, c.chain})
		}
	}
	w.judge(peers)
}

// judge closes the connections of peers that are not trusted. It looks at them beside the loop, which would stand still
// meanwhile, and at those that have shown the same only once.
func (w *worker) judge(peers []shown) {
	if len(peers) == 0 {
		return
	}
	w.engine.running.Go(func() {
		type judged struct {
			context *handshake.Context
			leaf    string
		}
		known := map[judged]error{}
		for _, p := range peers {
			key := judged{context: p.context}
			if len(p.chain) > 0 {
				key.leaf = string(p.chain[0])
			}
			err, ok := known[key]
			if !ok {
				err = p.context.Verify(p.chain)
				known[key] = err
			}
			if err != nil {
				w.loop.Post(func() { w.distrust(p.conn, err) })
			}
		}
	})
}
