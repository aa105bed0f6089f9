package proxy

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/axlemesh/axle/sidecar/accesslog"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/route"
	"github.com/axlemesh/axle/sidecar/sockets"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// Options of an Engine. The zero value of each works, but for Clock and Sockets.
type Options struct {
	// Loops is the number of event loops; 0 means 1.
	Loops int
	// Generation orders the processes that hand over to each other; ids of connections are made of it.
	Generation int64
	// NodeID spreads the choice of endpoints over sidecars.
	NodeID string
	// Namespace of the pod: an HTTP host without a dot is a Service in it. Empty leaves such a host as it is.
	Namespace string
	// Zone of the node, for clusters that keep requests in it; empty when nobody knows.
	Zone string
	// MaxConnections of clients, in all; 0 means no limit. What is over it is closed at once.
	MaxConnections int64
	// LargeBytes bounds what all loops hold of large messages that are not complete yet; 0 means no limit.
	LargeBytes int64
	// Tracing says where the spans of requests go; nil means that there are none, whatever a snapshot says.
	Tracing *Tracing
	// Sockets holds the listening descriptors.
	Sockets *sockets.Set
	// AccessLog takes a line for each request; nil for none, whatever a snapshot says. It is the caller's, who runs it.
	AccessLog *accesslog.Writer
	// Clock is monotonic.
	Clock loop.Clock
	Log   logr.Logger
}

// Engine is the data plane of one process: its loops, and what they share.
type Engine struct {
	options  Options
	log      logr.Logger
	workers  []*worker
	seed     uint64
	ids      atomic.Uint64
	open     [config.Outbound + 1]atomic.Int64 // client connections
	leaving  atomic.Bool
	left     chan struct{}
	leftOne  sync.Once
	running  sync.WaitGroup
	contexts atomic.Pointer[contexts]
	ejected  atomic.Uint64 // endpoints, ever
	buckets  sync.Map      // of *bucket, by what it limits
	budgets  sync.Map      // of *budget, by route.Route.Key
	refusing atomic.Bool   // new clients; see overload.go
	shedding atomic.Int32  // how many priorities, from the lowest, in parts of whole

	mu        sync.Mutex // what follows
	serving   bool
	snapshot  *config.Snapshot
	listeners map[string]*listener
	shared    map[string]*upstream.Shared       // by the cluster's name
	base      Counters                          // of earlier generations
	warmed    map[string]upstream.AdaptiveState // as an earlier generation has found out, for clusters to come
	hand      hand
}

// New makes an engine that serves nothing yet.
func New(o Options) (*Engine, error) {
	if o.Clock == nil || o.Sockets == nil {
		return nil, errors.New("make a data plane: Options.Clock and Options.Sockets are needed")
	}
	if o.Log.GetSink() == nil {
		o.Log = logr.Discard()
	}
	e := &Engine{
		options: o, log: o.Log, left: make(chan struct{}),
		snapshot: &config.Snapshot{}, listeners: map[string]*listener{}, shared: map[string]*upstream.Shared{},
	}
	e.contexts.Store(&contexts{})
	e.ids.Store(uint64(o.Generation) << 40)
	h := fnv.New64a()
	_, _ = h.Write([]byte(o.NodeID))
	e.seed = h.Sum64()
	budget := loop.NewBudget(o.LargeBytes)
	for i := range max(o.Loops, 1) {
		l, err := loop.New(o.Clock, budget)
		if err != nil {
			return nil, fmt.Errorf("make a data plane: %w", err)
		}
		e.workers = append(e.workers, newWorker(e, i, l))
	}
	return e, nil
}

// nextID names a connection uniquely among all generations, as long as one opens fewer than 2^40.
func (e *Engine) nextID() uint64 { return e.ids.Add(1) }

// Start runs the loops.
func (e *Engine) Start() error {
	for _, w := range e.workers {
		e.running.Go(func() {
			if err := w.loop.Run(); err != nil {
				e.log.Error(err, "an event loop has ended", "loop", w.index)
			}
		})
	}
	return nil
}

// Stop ends the loops and closes every connection. Listening descriptors stay with Options.Sockets.
func (e *Engine) Stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.listeners {
		e.pause(l)
	}
	for _, w := range e.workers {
		w.loop.Call(func() { w.closeAll(); w.tracer.stop() })
		w.loop.Stop()
	}
	e.running.Wait()
}

// Apply swaps a snapshot in. When it cannot be used, everything stays as it was and the error says why.
func (e *Engine) Apply(s *config.Snapshot) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("apply configuration %q: %w", s.Version, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	contexts, other, err := e.contextsOf(s)
	if err != nil {
		return fmt.Errorf("apply configuration %q: %w", s.Version, err)
	}
	opened, err := e.listen(s)
	if err != nil {
		return fmt.Errorf("apply configuration %q: %w", s.Version, err)
	}
	e.contexts.Store(contexts)
	routes, shared := route.Compile(s.Hosts), e.share(s)
	for _, w := range e.workers {
		w.loop.Call(func() { w.update(s, routes, shared) })
	}
	e.doubt(other)
	e.snapshot = s
	e.forget(s, routes)
	return e.relisten(s, opened)
}

// Snapshot is the configuration in force.
func (e *Engine) Snapshot() *config.Snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.snapshot
}

// Serve begins to accept connections, on the listeners of this and later snapshots.
func (e *Engine) Serve() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serving = true
	for _, l := range e.listeners {
		e.accept(l)
	}
}

// Leave makes Left report when the last client has gone. Serving goes on until then: a client that has not heard of it
// yet must not fail.
func (e *Engine) Leave() {
	e.leaving.Store(true)
	e.checkLeft()
}

// Left is closed when Leave was called and no client is connected.
func (e *Engine) Left() <-chan struct{} { return e.left }

// Unsent is how many bytes wait for a peer to read them, or for a connection to be open.
func (e *Engine) Unsent() (n int) {
	for _, w := range e.workers {
		w.loop.Call(func() {
			w.loop.Each(func(c *loop.Conn) { n += c.Unsent() })
			for _, up := range w.ups {
				n += up.queued
			}
		})
	}
	return n
}

// checkLeft runs on any goroutine, and so takes no lock.
func (e *Engine) checkLeft() {
	if e.leaving.Load() && e.open[config.Inbound].Load()+e.open[config.Outbound].Load() == 0 {
		e.leftOne.Do(func() { close(e.left) })
	}
}

// Turn returns when every loop has taken a turn. It waits for as long as one hangs.
func (e *Engine) Turn() {
	for _, w := range e.workers {
		w.loop.Call(func() {})
	}
}

// Stats sums up all loops. It looks at every route and endpoint.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	var s Stats
	s.add(&e.base)
	s.Ejected += e.ejected.Load()
	if t := e.options.Tracing; t != nil {
		n := t.Exporter.Counts()
		s.SpansSent, s.SpansDropped = s.SpansSent+n.Sent, s.SpansDropped+n.Dropped
	}
	if e.options.AccessLog != nil {
		s.LogLost += e.options.AccessLog.Lost()
	}
	maps.DeleteFunc(s.Clusters, func(name string, _ uint64) bool { return e.snapshot.Clusters[name] == nil })
	maps.DeleteFunc(s.Upstreams, func(name string, _ ClusterCount) bool { return e.snapshot.Clusters[name] == nil })
	e.standings(&s)
	e.mu.Unlock()
	for i, w := range e.workers {
		w.loop.Call(func() {
			if i == 0 {
				w.forgotten(s.Series)
			}
			w.countSeries(&s)
			w.count.Reads, w.count.Writes = w.loop.Calls()
			for d, t := range w.traffic {
				w.count.Received[d], w.count.Sent[d] = t.Read, t.Written
			}
			s.add(&w.count)
			s.Slow += w.loop.Slow()
			for d := range w.open {
				s.Downstream[d] += w.open[d]
			}
			w.countClusters(&s)
			s.Upstream += uint64(len(w.ups) + len(w.pairs) + len(w.webs) + len(w.mirrorConns) + len(w.http2.ups) + len(w.http2.copies.conns))
			for _, up := range w.ups {
				s.Waiting += uint64(up.slots.Len())
			}
			for _, up := range w.http2.ups {
				s.Waiting += uint64(up.load())
			}
		})
	}
	return s
}

// CountLost adds connections that a handover has closed, as its result says.
func (e *Engine) CountLost(n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.base.Lost += uint64(max(n, 0))
}

// Conns describes every connection.
func (e *Engine) Conns() []ConnInfo {
	var all []ConnInfo
	for _, w := range e.workers {
		w.loop.Call(func() { all = append(all, w.conns()...) })
	}
	return all
}
