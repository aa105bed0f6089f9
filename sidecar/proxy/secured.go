package proxy

import (
	"errors"
	"fmt"

	record "github.com/axlemesh/axle/sidecar/codec/tls"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handshake"
	"github.com/axlemesh/axle/sidecar/loop"
)

// secured is a connection's TLS behind the handshake, as its loop.Cipher.
type secured struct {
	*record.Session
	chain [][]byte // the peer's certificates, leaf first
}

// maxChain bounds a chain that comes in a handover.
const maxChain = 32

// secured writes down what a connection with TLS needs besides. It contains keys: it goes to the next process only.
func (e *encoder) secured(i *loop.Image) {
	c, ok := i.Cipher.(*secured)
	if !ok {
		return
	}
	e.bytes(c.AppendBinary(nil))
	e.bytes(i.Raw)
	e.bool(i.Ended)
	e.uint(uint64(len(c.chain)))
	for _, cert := range c.chain {
		e.bytes(cert)
	}
}

func (d *decoder) secured(i *loop.Image) {
	session, err := record.Parse(d.bytes())
	if err != nil {
		d.bad = true
		return
	}
	c := &secured{Session: session}
	i.Cipher, i.Raw, i.Ended = c, d.bytes(), d.bool()
	n := d.uint()
	for d.bad = d.bad || n > maxChain; n > 0 && !d.bad; n-- {
		c.chain = append(c.chain, append([]byte(nil), d.bytes()...))
	}
}

// contexts are the TLS sides of a snapshot's listeners and clusters, by name. They do not change.
type contexts struct{ listeners, clusters map[string]*handshake.Context }

// contextsOf reads the certificates of s, but for those that are here already. It reports every mistake.
func (e *Engine) contextsOf(s *config.Snapshot) (*contexts, error) {
	old := e.contexts.Load()
	c := &contexts{listeners: map[string]*handshake.Context{}, clusters: map[string]*handshake.Context{}}
	var errs []error
	load := func(into, old map[string]*handshake.Context, what, name string, block *config.TLS, server bool) {
		if block == nil {
			return
		}
		if known := old[name]; known != nil && known.For(block) {
			into[name] = known
			return
		}
		loaded, err := handshake.Load(block, server)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: tls: %w", what, name, err))
			return
		}
		into[name] = loaded
	}
	for i := range s.Listeners {
		load(c.listeners, old.listeners, "listener", s.Listeners[i].Name, s.Listeners[i].TLS, true)
	}
	for name, cluster := range s.Clusters {
		load(c.clusters, old.clusters, "cluster", name, cluster.TLS, false)
	}
	return c, errors.Join(errs...)
}

// RefreshCertificates reads the files of the configuration in force again where they have changed. New handshakes use
// what is in them; connections that are open stay. It may be called from any goroutine, one call at a time.
func (e *Engine) RefreshCertificates() {
	c := e.contexts.Load()
	for what, all := range map[string]map[string]*handshake.Context{"listener": c.listeners, "cluster": c.clusters} {
		for name, context := range all {
			changed, err := context.Refresh()
			if err != nil {
				e.log.Error(err, "Certificates have changed and are of no use; the old ones stay", what, name)
			}
			if changed {
				e.log.Info("Certificates have changed", what, name)
			}
		}
	}
}

// contextOf is what a connection's peer has to satisfy here; nil when nothing is asked of it.
func (w *worker) contextOf(s *connState) *handshake.Context {
	c := w.engine.contexts.Load()
	if s.cluster != "" {
		return c.clusters[s.cluster]
	}
	return c.listeners[s.listener.Name]
}

// recheck looks at the peers of connections that were taken over: what was trusted where they came from may not be trusted
// here. It does so beside the loop, which would stand still meanwhile.
func (w *worker) recheck(batch []restored) {
	type shown struct {
		conn    *loop.Conn
		context *handshake.Context
		chain   [][]byte
	}
	var peers []shown
	for _, r := range batch {
		if c, ok := r.conn.Cipher().(*secured); ok && r.context != nil && !r.conn.Closed() {
			peers = append(peers, shown{r.conn, r.context, c.chain})
		}
	}
	if len(peers) == 0 {
		return
	}
	w.engine.running.Go(func() {
		for _, p := range peers {
			if err := p.context.Verify(p.chain); err != nil {
				w.loop.Post(func() { w.distrust(p.conn, err) })
			}
		}
	})
}

func (w *worker) distrust(c *loop.Conn, why error) {
	if !c.Closed() && !c.Frozen() {
		w.count.Distrusted++
		w.engine.log.Info("closing a connection whose peer is not trusted any more", "id", c.ID, "reason", why.Error())
		c.Close(record.Untrusted(why))
	}
}
