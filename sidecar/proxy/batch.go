package proxy

import (
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// frozen is one batch that is being given away.
type frozen struct {
	conns []*loop.Conn
	ups   []*upConn
	downs []*downstream
	pairs []*pair

	clients []*httpClient

	http2Ups     []*http2Up
	http2Clients []*http2Client
	http2Written int        // how many of both are written down
	accepted     []newcomer // whose batches have nothing else
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
	w.stopHTTP2(b)
	w.relayRecords(b)
	w.relaySources(b)
	if len(b.ups) > 0 {
		w.pending++
	}
	w.sendSpans(b)
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
	out = w.frozenAccepted(b, w.frozenHTTP2(b, w.frozenHTTP(b, out)))
	for _, d := range b.downs {
		d.stop()
		out = append(out, w.frozenConn(d.conn, &connState{role: rpcRole(roleDownstream, d.from.Protocol), listener: *d.from}))
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
	} else if q, ok := loop.Queued(c.FD()); ok {
		conn.Counters = handover.Counters{Consumed: q.Unread, Written: q.Unsent}
	}
	return conn
}

// state writes down what waits on u, and stops the clocks: from here on only the next owner answers. It leaves there when its endpoint
// has said so, or it is being closed: whether the endpoint is one of the cluster's the configuration there says.
func (u *upConn) state() *connState {
	w := u.w
	w.loop.Cancel(&u.watch)
	room := maxMovedFrames
	s := &connState{role: rpcRole(roleUpstream, u.protocol), cluster: u.cluster.name, endpoint: u.host.Addr}
	s.leaving = u.away || u.leaving && u.load() == 0
	u.slots.Each(func(slot *upstream.Slot[waiting]) {
		v := &slot.Value
		v.left = v.timer.Left(w.loop.Now())
		w.loop.Cancel(&v.timer)
		if v.call != nil {
			w.loop.Cancel(&v.call.timer)
		}
		state := waitingState{slot: slot.ID(), reply: v.reply, beat: v.beat, left: v.left}
		v.told = v.down != nil && !v.down.gone
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

func (w *worker) thaw(b *frozen) {
	w.keepSpans()
	w.keepRecords()
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
	w.thawHTTP2(b)
	w.thawAccepted(b)
	for _, d := range b.downs {
		for _, frame := range d.takeHeld() {
			w.give(d, frame)
		}
		d.start()
	}
}

func (w *worker) releaseBatch(b *frozen) {
	for _, up := range b.ups {
		delete(w.ups, up.conn.ID)
		up.leaving = true
		up.leavePlace()
		up.host.Conns = without(up.host.Conns, up)
		up.slots.Each(func(slot *upstream.Slot[waiting]) {
			v := &slot.Value
			moved := v.account
			v.given()
			if d := v.done(); d != nil && v.told { // the candidate answers now, or endMove does
				w.relayed[relayed{d.id, v.reply.id}] = awaited{d, v.reply, moved}
			}
		})
	}
	for _, p := range b.pairs {
		p.over = true
		p.forget()
		p.claim.release()
		delete(w.pairs, p.down.ID)
		w.givenAway(p.from)
	}
	w.releaseHTTP(b)
	w.releaseHTTP2(b)
	w.releaseAccepted(b)
	for _, d := range b.downs {
		w.relayParked(d)
		d.gone, d.moved = true, true
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
