package proxy

import (
	"encoding/json"
	"fmt"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// hand is what the engine knows of the handover that it takes part in.
type hand struct {
	batches map[uint64]*worker // frozen here, or prepared here
	relay   func(handover.Relay)
	warm    Counters // as the candidate was told
}

// Donor is this engine as the giving side of a handover.
func (e *Engine) Donor() handover.Donor { return donor{e} }

type donor struct{ *Engine }

// frozen is one batch that is being given away.
type frozen struct {
	conns []*loop.Conn
	ups   []*upConn
	downs []*downstream
	pairs []*pair

	clients []*httpClient
}

// Warm returns the counters, from which the candidate goes on.
func (d donor) Warm() ([]byte, error) {
	warm := d.Stats().Counters
	d.mu.Lock()
	d.hand.warm = warm
	d.mu.Unlock()
	b, err := json.Marshal(warm)
	if err != nil {
		return nil, fmt.Errorf("write down the counters: %w", err)
	}
	return b, nil
}

// PauseAccept stops accepting; connections queue in the kernel, or are the candidate's.
func (d donor) PauseAccept() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serving = false
	for _, l := range d.listeners {
		d.pause(l)
	}
	for _, w := range d.workers {
		w.loop.Call(func() {}) // what was accepted before has reached its loop now
	}
}

// ResumeAccept undoes PauseAccept.
func (d donor) ResumeAccept() { d.Serve() }

// HoldConfig is up to the owner of the configuration.
func (d donor) HoldConfig(bool) {}

// BeginMove makes requests that find no connection here go to the candidate.
func (d donor) BeginMove(relay func(handover.Relay)) {
	d.mu.Lock()
	d.hand.batches, d.hand.relay = map[uint64]*worker{}, relay
	d.mu.Unlock()
	for _, w := range d.workers {
		w.loop.Call(func() { w.beginMove(relay) })
	}
}

// EndMove serves here what is still here.
func (d donor) EndMove() {
	for _, w := range d.workers {
		w.loop.Call(w.endMove)
	}
	d.checkLeft() // the last client may have moved
}

func (w *worker) beginMove(relay func(handover.Relay)) {
	w.moving, w.relay = true, relay
	for _, up := range w.ups {
		if !up.opened {
			up.conn.Close(nil) // what waits for it is dispatched again, and that is relayed
		}
	}
	w.closeMirrors()
	w.hurryCalls()
	for _, p := range w.pairs {
		p.giveUpDial()
	}
}

func (w *worker) endMove() {
	w.moving, w.relay = false, nil
	for key, reply := range w.relayed {
		if d := w.downs[key.down]; d != nil {
			w.count.Failed[FailHandover]++
			w.fail(d, reply, bolt.StatusCommunication)
		}
	}
	clear(w.relayed)
	w.unpark()
	for _, p := range w.pairs {
		p.carryOn()
	}
}

// dispatchMoving sends a request on a connection that is still here. When its connections are just being given away it
// waits for that to be settled; when there is none any more, the candidate sends it.
func (w *worker) dispatchMoving(d *downstream, f bolt.Frame, to goal) {
	for range to.cluster.Len() {
		for _, up := range to.cluster.Pick(w.loop.Now()).Conns {
			if up.conn.Open() && !up.conn.Frozen() {
				w.send(up, d, f, &to)
				return
			}
		}
	}
	switch {
	case w.pending == 0:
		w.relayRequest(d, f, &to)
	case w.parkedBytes > maxParked:
		w.busy(d, f, &to)
	default:
		k := w.keep(d, f, to)
		w.parkedBytes += k.size()
		w.parked = append(w.parked, k)
	}
}

// relayParked sends the parked requests of a client on whose connection is the candidate's from now on.
func (w *worker) relayParked(d *downstream) {
	rest := w.parked[:0]
	for _, k := range w.parked {
		if k.down != d {
			rest = append(rest, k)
			continue
		}
		w.parkedBytes -= k.size()
		if f, err := bolt.Next(k.frame); err == nil {
			w.relayRequest(d, f, &k.to)
		}
		w.loop.Pool().Give(k.frame)
	}
	w.parked = rest
}

// unpark dispatches what has waited for a batch.
func (w *worker) unpark() {
	parked := w.parked
	w.parked, w.parkedBytes = nil, 0
	for _, k := range parked {
		w.again(k)
	}
}

// Freeze takes the next connections: those to endpoints first, then plain pairs, then clients.
func (d donor) Freeze(id uint64, limit int) (handover.Batch, error) {
	for _, pick := range []func(*worker, *frozen, int){(*worker).pickUps, (*worker).pickPairs, (*worker).pickHTTP, (*worker).pickDowns} {
		for _, w := range d.workers {
			batch := handover.Batch{ID: id, Loop: w.index}
			if !w.loop.Call(func() { batch.Conns = w.freeze(id, limit, pick) }) {
				return handover.Batch{}, fmt.Errorf("freeze batch %d: loop %d has ended", id, w.index)
			}
			if len(batch.Conns) > 0 {
				d.mu.Lock()
				d.hand.batches[id] = w
				d.mu.Unlock()
				return batch, nil
			}
		}
	}
	for _, w := range d.workers {
		w.loop.Call(w.closeResting)
	}
	d.relayCounters()
	return handover.Batch{ID: id}, nil
}

// relayCounters tells the candidate what was counted since it was warmed: counters never go back.
func (d donor) relayCounters() {
	total := d.Stats().Counters
	since := total
	d.mu.Lock()
	since.sub(&d.hand.warm)
	d.hand.warm = total
	relay := d.hand.relay
	d.mu.Unlock()
	if b, err := json.Marshal(since); err == nil && relay != nil {
		relay(handover.Relay{Data: (&relayState{kind: relayCounters, frame: b}).write()})
	}
}

func (w *worker) pickUps(b *frozen, limit int) {
	for _, up := range w.ups {
		if len(b.ups) < limit && up.opened && !up.conn.Frozen() {
			b.ups = append(b.ups, up)
			b.conns = append(b.conns, up.conn)
		}
	}
}

func (w *worker) pickPairs(b *frozen, limit int) {
	for _, p := range w.pairs {
		legs := p.legs()
		if len(b.conns) >= limit || len(legs) == 0 || legs[0].Frozen() {
			continue
		}
		b.pairs = append(b.pairs, p)
		b.conns = append(b.conns, legs...)
	}
}

func (w *worker) pickDowns(b *frozen, limit int) {
	for _, d := range w.downs {
		if len(b.downs) < limit && d.conn != nil && !d.conn.Frozen() {
			b.downs = append(b.downs, d)
			b.conns = append(b.conns, d.conn)
		}
	}
}

// freeze stops what pick has chosen and writes it down. A connection whose counters are not what they must be is
// reported and moves all the same: holding it back would not bring a byte back.
func (w *worker) freeze(id uint64, limit int, pick func(*worker, *frozen, int)) []handover.Conn {
	b := &frozen{}
	pick(w, b, limit)
	if len(b.conns) == 0 {
		return nil
	}
	w.frozen[id] = b
	if len(b.ups) > 0 {
		w.pending++
	}
	out := make([]handover.Conn, 0, len(b.conns))
	for _, up := range b.ups {
		out = append(out, w.frozenConn(up.conn, up.state()))
	}
	for _, p := range b.pairs {
		w.loop.Cancel(&p.timeout)
		for _, c := range p.legs() {
			out = append(out, w.frozenConn(c, p.state(c)))
		}
	}
	out = w.frozenHTTP(b, out)
	for _, d := range b.downs {
		w.loop.Cancel(&d.patience)
		out = append(out, w.frozenConn(d.conn, &connState{role: roleDownstream, listener: *d.from}))
	}
	return out
}

func (w *worker) frozenConn(c *loop.Conn, s *connState) handover.Conn {
	s.image = c.Freeze()
	conn := handover.Conn{FD: c.FD(), State: s.write()}
	if k, ok := loop.Count(c.FD()); ok {
		conn.Counters = handover.Counters(k)
		if err := s.image.Check(k); err != nil {
			w.count.Mismatch++
			w.engine.log.Error(err, "bytes of a connection are unaccounted for")
		}
	}
	return conn
}

// state writes down what waits on u, and stops the clocks: from here on only the next owner answers.
func (u *upConn) state() *connState {
	w := u.w
	w.loop.Cancel(&u.watch)
	s := &connState{role: roleUpstream, cluster: u.cluster.name, endpoint: u.host.Addr, leaving: u.leaving}
	room := maxMovedFrames
	u.slots.Each(func(slot *upstream.Slot[waiting]) {
		v := &slot.Value
		v.left = v.timer.Left(w.loop.Now())
		w.loop.Cancel(&v.timer)
		if v.call != nil {
			w.loop.Cancel(&v.call.timer)
		}
		state := waitingState{slot: slot.ID(), reply: v.reply, beat: v.beat, left: v.left}
		switch {
		case v.mirror:
			state.left += lateFor // nobody waits for its answer there, which must not meet another request either
		case v.down == nil:
		case v.down.gone:
			state.left += lateFor // its answer is late from now on, and must not meet another request
		default:
			state.down, state.from = v.down.id, v.down.from.Direction
			state.plan = v.plan(&room)
		}
		s.waiting = append(s.waiting, state)
	})
	return s
}

// Thaw resumes a batch here.
func (d donor) Thaw(id uint64) { d.settle(id, (*worker).thaw) }

// Release forgets a batch that the candidate owns now.
func (d donor) Release(id uint64) { d.settle(id, (*worker).releaseBatch) }

func (d donor) settle(id uint64, do func(*worker, *frozen)) {
	d.mu.Lock()
	w := d.hand.batches[id]
	delete(d.hand.batches, id)
	d.mu.Unlock()
	if w == nil {
		return
	}
	w.loop.Call(func() {
		b := w.frozen[id]
		delete(w.frozen, id)
		if len(b.ups) > 0 {
			w.pending--
		}
		do(w, b)
		if w.pending == 0 {
			w.unpark()
		}
	})
}

func (w *worker) thaw(b *frozen) {
	for _, up := range b.ups {
		w.loop.Start(&up.watch, beatEvery)
		up.slots.Each(func(slot *upstream.Slot[waiting]) { slot.Value.run() })
	}
	for _, c := range b.conns {
		_ = c.Thaw() // on an error the connection is closed, and its handler has been told
	}
	for _, p := range b.pairs {
		p.carryOn()
	}
	w.thawHTTP(b)
	for _, d := range b.downs {
		for _, frame := range d.takeHeld() {
			w.give(d, frame)
		}
		d.hurry()
	}
}

func (w *worker) releaseBatch(b *frozen) {
	for _, up := range b.ups {
		delete(w.ups, up.conn.ID)
		up.leaving = true
		up.host.Conns = without(up.host.Conns, up)
		up.slots.Each(func(slot *upstream.Slot[waiting]) {
			v := &slot.Value
			v.given()
			if d := v.done(); d != nil && !d.gone { // the candidate answers now, or endMove does
				w.relayed[relayed{d.id, v.reply.ID}] = v.reply
			}
		})
	}
	for _, p := range b.pairs {
		p.over = true
		delete(w.pairs, p.down.ID)
		w.givenAway(p.from)
	}
	w.releaseHTTP(b)
	for _, d := range b.downs {
		w.relayParked(d)
		d.gone = true
		delete(w.downs, d.id)
		w.givenAway(d.from)
		for _, frame := range d.takeHeld() {
			w.bounce(d.id, frame)
		}
	}
	for _, c := range b.conns {
		c.Release()
	}
}

// Relayed takes a frame from the candidate.
func (d donor) Relayed(r handover.Relay) {
	state, ok := parseRelay(r.Data)
	if !ok || r.Loop < 0 || r.Loop >= len(d.workers) || state.kind != relayAnswer {
		d.log.Info("dropped a relay from the candidate that makes no sense", "loop", r.Loop)
		return
	}
	w := d.workers[r.Loop]
	w.loop.Post(func() { w.answered(state) })
}
