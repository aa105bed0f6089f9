package proxy

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/handshake"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// Candidate is this engine as the receiving side of a handover.
func (e *Engine) Candidate() handover.Candidate { return candidate{e} }

type candidate struct{ *Engine }

// restored is one connection that was prepared.
type restored struct {
	conn *loop.Conn
	up   *upConn
	down *downstream
	pair *pair

	client *httpClient

	http2Up     *http2Up
	http2Client *http2Client
	accepted    newcomer
	context     *handshake.Context // what its peer has to satisfy here
}

// Warm takes the donor's counters and the limits that it has found out: ours go on from there.
func (c candidate) Warm(state []byte) error {
	var warm warmState
	if err := json.Unmarshal(state, &warm); err != nil {
		return fmt.Errorf("read the counters of the serving process: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base = warm.Counters
	c.warmAdaptive(warm.Adaptive)
	c.hand.batches, c.hand.accounts = map[uint64]*worker{}, warm.Accounts
	return nil
}

// Ready wants a configuration.
func (c candidate) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.snapshot.Listeners) == 0 {
		return errors.New("no configuration with listeners has been applied")
	}
	return nil
}

// Accept starts accepting; the donor still does, too.
func (c candidate) Accept() { c.Serve() }

// StopAccept undoes Accept: the donor goes on.
func (c candidate) StopAccept() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving, c.hand.returned = false, true
	for _, l := range c.listeners {
		c.pause(l)
	}
}

// BeginMove says where answers for clients of the donor go.
func (c candidate) BeginMove(relay func(handover.Relay)) {
	c.mu.Lock()
	accounts := c.hand.accounts
	c.mu.Unlock()
	for _, w := range c.workers {
		w.loop.Call(func() { w.relay, w.taking, w.presumes = relay, true, !accounts })
	}
}

// Prepare rebuilds the connections of a batch, without any I/O. Loop i of the donor becomes one of ours as a unit.
func (c candidate) Prepare(b handover.Batch) error {
	sabotageOffered()
	w := c.workers[b.Loop%len(c.workers)]
	var err error
	if !w.loop.Call(func() { err = w.prepare(b) }) {
		closeAll(b.Conns)
		return fmt.Errorf("prepare batch %d: the loop has ended", b.ID)
	}
	if err != nil {
		return fmt.Errorf("prepare batch %d: %w", b.ID, err)
	}
	c.mu.Lock()
	c.hand.batches[b.ID] = w
	c.mu.Unlock()
	return nil
}

func closeAll(conns []handover.Conn) {
	for _, c := range conns {
		_ = unix.Close(c.FD)
	}
}

func (w *worker) prepare(b handover.Batch) error {
	states := make([]*connState, len(b.Conns))
	for i, conn := range b.Conns {
		s, err := parseState(conn.State)
		if err == nil {
			err = untouched(conn, s)
		}
		if err != nil {
			closeAll(b.Conns)
			return err
		}
		states[i] = s
	}
	batch := make([]restored, 0, len(states))
	var failed error
	for i, s := range states {
		r, err := w.restore(b.Conns[i].FD, s, b.Loop)
		w.meter(r.conn, s)
		w.sourced(r.conn)
		r.context = w.contextOf(s)
		if err != nil {
			failed = err
			_ = unix.Close(b.Conns[i].FD)
			continue
		}
		if c, ok := r.conn.Cipher().(*secured); ok {
			c.at = placeOf(s)
		}
		batch = append(batch, r)
	}
	if failed != nil {
		w.drop(batch)
		return failed
	}
	w.prepared[b.ID] = append(w.prepared[b.ID], batch...)
	return nil
}

// untouched proves that nobody has read or written a byte of the connection since it was frozen; of a Unix-domain one it only
// finds what the peer has not made up for.
func untouched(c handover.Conn, s *connState) error {
	if now, ok := loop.Queued(c.FD); ok {
		then := loop.Queues{Unread: c.Counters.Consumed, Unsent: c.Counters.Written}
		if err := then.Check(now); err != nil {
			return fmt.Errorf("connection %x was touched after its freeze: %w", s.image.ID, err)
		}
		return nil
	}
	if c.Counters == (handover.Counters{}) {
		return nil
	}
	if now, ok := loop.Count(c.FD); ok && handover.Counters(now) != c.Counters {
		return fmt.Errorf("connection %x was touched after its freeze: %+v then, %+v now", s.image.ID, c.Counters, now)
	}
	return nil
}

func (w *worker) restore(fd int, s *connState, home int) (restored, error) {
	switch s.role {
	case roleDownstream, roleDubboClient:
		d := w.remote(s.image.ID, home, w.current(&s.listener))
		d.conn = w.loop.Restore(fd, s.image, d)
		d.conn.Press(true)
		return restored{conn: d.conn, down: d}, nil
	case roleUpstream, roleDubboEndpoint:
		return w.restoreUp(fd, s, home)
	case roleTCPClient:
		p := &pair{w: w, from: &s.listener, over: s.image.Lingering}
		p.timeout.Owner = p
		p.down = w.loop.Restore(fd, s.image, side{p, true})
		if _, p.flag = w.recorded(&p.account, p.down.ID, 0); !p.over {
			w.presume(&p.account, nil, p.from, SpokenTCP)
		}
		w.pairs[p.down.ID] = p
		return restored{conn: p.down, pair: p}, nil
	case roleTCPEndpoint:
		p := w.pairs[s.client]
		if p == nil || p.up != nil {
			return restored{}, fmt.Errorf("endpoint connection %x has no client's connection before it", s.image.ID)
		}
		p.cluster, p.addr = w.clusterNamed(s.cluster), s.endpoint
		p.host = p.cluster.Adopt(s.endpoint)
		p.claim.adopt(p.cluster.limits.Connections)
		p.claim.stay(&p.host.Peer)
		p.up = w.loop.Restore(fd, s.image, side{p, false})
		return restored{conn: p.up}, nil
	case roleAccepted:
		return w.restoreAccepted(fd, s), nil
	case roleHTTPClient:
		if s.listener.Protocol == config.Auto {
			if e, i := &s.exchange, &s.image; !e.active && !e.over && !i.EOF && !i.Lingering {
				return w.restoreUndecided(fd, s), nil
			}
			s.listener.Protocol = config.HTTP1 // it was undecided once, and a release before this one has served it so since
		}
		return w.restoreHTTPClient(fd, s), nil
	case roleHTTPEndpoint:
		return w.restoreHTTPEndpoint(fd, s)
	case roleHTTP2Client:
		return w.restoreHTTP2Client(fd, s)
	case roleHTTP2Endpoint:
		return w.restoreHTTP2Endpoint(fd, s)
	}
	return restored{}, errState
}

// meter says where the bytes of a connection count from here on.
func (w *worker) meter(c *loop.Conn, s *connState) {
	switch {
	case c == nil:
	case s.cluster != "":
		c.Traffic = &w.clusterNamed(s.cluster).traffic
	default:
		c.Traffic = &w.traffic[s.listener.Direction]
	}
}

// clusterNamed returns a cluster, an empty one when the configuration here does not have it.
func (w *worker) clusterNamed(name string) *cluster {
	if c := w.clusters[name]; c != nil {
		return c
	}
	c := &cluster{name: name}
	c.Config = &config.Cluster{Name: name}
	return c
}

func (w *worker) restoreUp(fd int, s *connState, home int) (restored, error) {
	c := w.clusterNamed(s.cluster)
	up := &upConn{w: w, cluster: c, host: c.Adopt(s.endpoint), protocol: s.role.protocol(), opened: true, leaving: s.leaving}
	up.used, up.heard = w.loop.Now(), w.loop.Now()
	up.watch.Owner = up
	ids := make([]uint32, len(s.waiting))
	for i := range s.waiting {
		ids[i] = s.waiting[i].slot
	}
	if !up.slots.Restore(ids) {
		return restored{}, fmt.Errorf("%w: two requests of connection %x share an id", errState, s.image.ID)
	}
	for i := range s.waiting {
		state := &s.waiting[i]
		slot := up.slots.Find(state.slot)
		v := slot.Value.reset(up, slot)
		v.reply, v.beat, v.left, v.span = state.reply, state.beat, state.left, w.tracer.take(s.image.ID, uint64(state.slot))
		if state.down != 0 {
			v.claim.readmit(c, w.rank(state.plan.route))
			v.claim.stay(&up.host.Peer)
			v.down = w.remote(state.down, home, &config.Listener{Direction: state.from})
			v.resume(&state.plan)
			w.recorded(&v.account, s.image.ID, uint64(state.slot))
			w.presume(&v.account, v.route, &config.Listener{Direction: state.from}, rpcSpoken(up.protocol))
			if v.call != nil {
				v.call.to.account = v.account
			}
		}
	}
	up.place = c.limits.Connections
	up.place.Force()
	up.conn = w.loop.Restore(fd, s.image, up)
	return restored{conn: up.conn, up: up}, nil
}

// Activate starts I/O on a prepared batch.
func (c candidate) Activate(id uint64) { c.settle(id, (*worker).activate) }

// Drop closes the descriptors of a prepared batch: the donor goes on with it.
func (c candidate) Drop(id uint64) { c.settle(id, (*worker).drop) }

func (c candidate) settle(id uint64, do func(*worker, []restored)) {
	c.mu.Lock()
	w := c.hand.batches[id]
	delete(c.hand.batches, id)
	c.mu.Unlock()
	if w == nil {
		return
	}
	w.loop.Call(func() {
		batch := w.prepared[id]
		delete(w.prepared, id)
		do(w, batch)
	})
}

func (w *worker) activate(batch []restored) {
	for _, r := range batch {
		w.count.Moved++
		switch {
		case r.up != nil:
			w.activateUp(r.up)
		case r.down != nil:
			r.down.remote = false
			w.takenOver(r.down.from)
		case r.pair != nil:
			w.takenOver(r.pair.from)
		case r.client != nil:
			w.takenOver(r.client.from)
		case r.http2Client != nil:
			w.takenOver(r.http2Client.from)
		case r.accepted != nil:
			w.takenOver(r.accepted.listener())
		}
	}
	for _, r := range batch {
		_ = r.conn.Thaw() // on an error the connection is closed, and its handler has been told
		switch {
		case r.pair != nil:
			r.pair.carryOn()
		case r.down != nil:
			r.down.start()
		case r.client != nil:
			r.client.start()
		case r.http2Up != nil:
			r.http2Up.start()
		case r.http2Client != nil:
			r.http2Client.start()
		case r.accepted != nil:
			r.accepted.resume()
		}
	}
	w.recheck(batch)
	w.sabotageMoved(batch)
}

func (w *worker) activateUp(up *upConn) {
	w.ups[up.conn.ID] = up
	if up.leaving {
		up.goesAway() // its endpoint said so to the predecessor
	}
	up.leaving = up.leaving || up.host.Gone
	if !up.leaving {
		up.host.Conns = append(up.host.Conns, up)
	}
	w.loop.Start(&up.watch, beatEvery)
	up.slots.Each(func(slot *upstream.Slot[waiting]) { slot.Value.run() })
	up.leaveIfIdle()
}

func (w *worker) drop(batch []restored) {
	for _, r := range batch {
		if r.down != nil {
			r.down.conn = nil // still the donor's
		}
		if r.pair != nil {
			delete(w.pairs, r.pair.down.ID)
			r.pair.claim.release()
		}
		if r.up != nil {
			r.up.leavePlace()
			r.up.slots.Each(func(slot *upstream.Slot[waiting]) { slot.Value.done() })
		}
		if r.client != nil {
			w.dropHTTP(r.client)
		}
		w.dropHTTP2(r)
		if r.accepted != nil {
			r.accepted.leave()
		}
		r.conn.Release()
	}
}

// Relayed takes a frame from the donor.
func (c candidate) Relayed(r handover.Relay) {
	state, ok := parseRelay(r.Data)
	if !ok || r.Loop < 0 {
		c.log.Info("dropped a relay from the donor that makes no sense", "loop", r.Loop)
		return
	}
	if state.kind == relayCounters {
		c.addBase(state.frame)
		return
	}
	w := c.workers[r.Loop%len(c.workers)]
	w.loop.Post(func() { w.fromDonor(state, r.Loop) })
}

func (c candidate) addBase(counters []byte) {
	var since Counters
	if err := json.Unmarshal(counters, &since); err != nil {
		c.log.Error(err, "read the last counters of the donor")
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base.add(&since)
}
