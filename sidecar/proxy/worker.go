package proxy

import (
	"errors"
	"net/netip"
	"sync/atomic"

	"github.com/axlemesh/axle/sidecar/accesslog"
	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/route"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// worker is everything that one loop owns. Only that loop touches it, but for load.
type worker struct {
	engine *Engine
	index  int
	loop   *loop.Loop
	load   atomic.Int64 // client connections, for the acceptor's choice

	routes   *route.Table
	clusters map[string]*cluster
	targets  []target           // by route.Route.Index
	places   map[string]*places // by route.Route.Key
	planned  map[string]*target // those with a plan, by route.Route.Key
	limits   map[string]*bucket // by the name of a listener
	downs    map[uint64]*downstream
	ups      map[uint64]*upConn
	pairs    map[uint64]*pair // by their client's connection
	clients  map[uint64]*httpClient
	webs     map[uint64]*httpConn
	http2    http2Loop

	shakes shakes // connections whose TLS handshake is not over

	listeners  map[string]*config.Listener // of the configuration in force, by name
	complaints map[place]*complaints       // about the peers of a listener or a cluster

	mirrors     int // copies of Bolt and Dubbo requests without an answer
	mirrorConns map[uint64]*mirrorConn

	boltView   boltView // what routes look at; they keep nothing between calls
	dubboView  dubboView
	httpView   httpView
	serviceKey []byte // of a Dubbo request
	hostName   []byte // for hostKey
	tallies    map[RouteName]*tallies
	log        *accesslog.Ring                   // nil as long as nothing was ever logged
	filters    map[string]*accesslog.Filter      // of listeners that have their own, by name
	traffic    [config.Outbound + 1]loop.Traffic // of clients

	tracer *tracer // nil without tracing

	calls     map[*call]struct{} // that rest
	callBytes int                // of all
	freeCalls *call

	location []byte // of a redirect

	httpRequest  http1.Request // for the head that is being read; it keeps nothing between calls
	httpResponse http1.Response

	count   Counters
	open    ByDirection // client connections
	scratch []byte      // for frames of our own

	chance   uint64          // how often something was left to it
	retrying *upstream.Limit // a place that whatever is tried again just now holds

	// During a handover, on the side of the donor; see donor.go.
	moving      bool
	pending     int    // frozen batches with upstream connections that are not committed
	parked      []kept // requests that wait for those
	parkedBytes int
	relayed     map[relayed]awaited
	frozen      map[uint64]*frozen
	// On both sides: where frames for the other generation go; nil without a handover.
	relay   func(handover.Relay)
	records map[recordPlace]accountState // of requests whose connections have not come yet
	sources map[uint64]*netip.AddrPort   // of those connections
	// On the side of the candidate: what was prepared, by batch.
	prepared map[uint64][]restored
	taking   bool // the handover is not over
	presumes bool // the donor sends no accounts
	strays   []*stray
	sent     []*stray // whose answers are on their way to the donor
	aside    *stray   // the one that is being answered
	sabotage sabotage
}

func newWorker(e *Engine, index int, l *loop.Loop) *worker {
	w := &worker{
		engine: e, index: index, loop: l, routes: route.Compile(nil),
		clusters: map[string]*cluster{}, downs: map[uint64]*downstream{}, ups: map[uint64]*upConn{},
		pairs: map[uint64]*pair{}, clients: map[uint64]*httpClient{}, webs: map[uint64]*httpConn{},
		relayed: map[relayed]awaited{}, frozen: map[uint64]*frozen{},
		prepared: map[uint64][]restored{}, records: map[recordPlace]accountState{}, sources: map[uint64]*netip.AddrPort{}, mirrorConns: map[uint64]*mirrorConn{},
		http2: newHTTP2Loop(), shakes: shakes{all: map[uint64]*shaking{}, undecided: map[uint64]*opening{}},
		calls: map[*call]struct{}{}, complaints: map[place]*complaints{},
	}
	w.shakes.yield.Owner = &w.shakes
	w.trace(&config.Snapshot{})
	w.relog(&config.Snapshot{})
	w.recount(w.routes, nil)
	return w
}

// update takes over a snapshot. Clusters that stay keep their connections; what has left finishes what it has.
func (w *worker) update(s *config.Snapshot, routes *route.Table, shared map[string]*upstream.Shared) {
	for name, cfg := range s.Clusters {
		c, ok := w.clusters[name]
		if !ok {
			c = &cluster{name: name, seed: w.engine.seed}
			c.Place = w.place(shared[name])
			w.clusters[name] = c
		}
		c.limits = shared[name].Limits(cfg)
		w.configure(c, cfg)
	}
	for name, c := range w.clusters {
		if _, ok := s.Clusters[name]; !ok {
			delete(w.clusters, name)
			c.retired, c.limits = true, upstream.Limits{} // what has waited for a connection is still sent
			w.configure(c, &config.Cluster{Name: name})
		}
	}
	w.retarget(routes, straight(s.Listeners))
	w.reassign(s.Listeners)
	w.trace(s)
	w.relog(s)
	w.limits = map[string]*bucket{}
	for i := range s.Listeners {
		if l := &s.Listeners[i]; l.Limit != (config.Limit{}) {
			w.limits[l.Name] = w.engine.bucket(listenerBucket+l.Name, l.Limit)
		}
	}
}

// configure takes over a cluster's endpoints.
func (w *worker) configure(c *cluster, cfg *config.Cluster) {
	w.retire(c.Update(cfg, w.engine.seed))
	w.watch(c)
	if c.http != nil {
		for _, h := range c.http.Update(cfg, w.engine.seed) {
			for len(h.Conns) > 0 {
				h.Conns[0].conn.Close(nil) // it rests; those in use close behind their response
			}
		}
	}
	if c.http2 != nil {
		for _, h := range c.http2.Update(cfg, w.engine.seed) {
			for len(h.Conns) > 0 {
				h.Conns[0].leave()
			}
		}
	}
	c.updateCopies(cfg, w.engine.seed)
	if c.mirrors != nil {
		for _, h := range c.mirrors.Update(cfg, w.engine.seed) {
			for len(h.Conns) > 0 {
				h.Conns[0].conn.Close(nil)
			}
		}
	}
}

func (w *worker) retire(gone []*host) {
	for _, h := range gone {
		for len(h.Conns) > 0 {
			h.Conns[0].leave()
		}
	}
}

// accepted takes a client's new connection.
func (w *worker) accepted(fd int, from *config.Listener) {
	a := arrival{fd: fd, id: w.engine.nextID(), traffic: &w.traffic[from.Direction]}
	w.count.Accepted[from.Direction]++
	w.opened(from)
	if from.ProxyProtocol {
		w.expect(a, from, headerPatience, (*opening).header)
		return
	}
	w.secure(a, from)
}

// secure serves a client, under TLS where the listener has it.
func (w *worker) secure(a arrival, from *config.Listener) {
	if from.TLS != nil {
		w.shake(a, from)
		return
	}
	w.serve(a, from)
}

// serve begins to speak a listener's protocol with a client.
func (w *worker) serve(a arrival, from *config.Listener) {
	from = w.current(from) // it may have been silent, or in its handshake, for long
	if from.Protocol == config.Auto {
		patience := silence
		if from.Cluster == "" {
			patience = 0
		}
		w.expect(a, from, patience, (*opening).sniff)
		return
	}
	if from.Protocol == config.TCP {
		w.newPair(a, from)
		return
	}
	if from.Protocol == config.HTTP1 || from.Protocol == config.HTTP2 { // which a client's first bytes tell apart
		w.acceptedHTTP(a, from)
		return
	}
	d := w.newDownstream(a.id, from)
	conn, err := a.add(w.loop, d)
	if err != nil {
		d.Closed(conn, err)
		return
	}
	d.conn = conn
	conn.Press(true)
}

func (w *worker) acceptedHTTP(a arrival, from *config.Listener) {
	c := w.newHTTPClient(a.id, from)
	conn, err := a.add(w.loop, c)
	c.conn = conn
	if err != nil {
		c.Closed(conn, err)
		return
	}
	conn.Press(true)
}

func (w *worker) opened(from *config.Listener) { w.open[from.Direction]++ }

// takenOver accounts for a client's connection that came in a handover, givenAway for one that went.
func (w *worker) takenOver(from *config.Listener) {
	w.opened(from)
	w.load.Add(1)
	w.engine.open[from.Direction].Add(1)
}

func (w *worker) givenAway(from *config.Listener) {
	w.open[from.Direction]--
	w.load.Add(-1)
	w.engine.open[from.Direction].Add(-1)
}

// closed accounts for the end of a client's connection.
func (w *worker) closed(from *config.Listener, why error) {
	w.givenAway(from)
	w.engine.checkLeft()
	w.starved(place{name: from.Name}, why)
	if why != nil {
		w.engine.log.V(1).Info("client connection ended", "listener", from.Name, "reason", why.Error())
	}
}

// closeAll closes every connection, clients first: for them nothing is tried again.
func (w *worker) closeAll() {
	for _, d := range w.downs {
		if d.conn != nil {
			d.conn.Close(nil)
		}
	}
	for _, p := range w.pairs {
		p.down.Close(nil)
	}
	w.loop.Each(func(c *loop.Conn) { c.Close(nil) })
}

// framer is who takes the frames of a connection.
type framer interface{ frame(f rpcFrame) }

// frames gives every complete frame of b to its taker and returns how many bytes those have.
func (w *worker) frames(c *loop.Conn, b []byte, p config.Protocol, at place, to framer) int {
	taken := 0
	for taken < len(b) {
		var f rpcFrame
		if err := f.next(p, b[taken:]); err != nil {
			if incomplete(err) {
				break
			}
			w.malformed(c, at, err)
			return len(b)
		}
		taken += len(f.raw)
		to.frame(f)
		if c.Closed() {
			return len(b)
		}
	}
	return taken
}

// malformed closes a connection whose peer broke the protocol; only this one, and it says why.
func (w *worker) malformed(c *loop.Conn, at place, why error) {
	w.count.Malformed++
	w.accuse(at, why)
	c.Close(why)
}

// starved says why a connection was closed, if there was no room for what its peer had begun.
func (w *worker) starved(at place, why error) {
	if errors.Is(why, loop.ErrBudget) {
		w.count.Malformed++
		w.complain("closed a connection whose message is large", at, why)
	}
}
