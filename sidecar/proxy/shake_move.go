package proxy

import (
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
)

// roleAccepted is a client's connection of which no byte was taken: whoever owns it does the handshake. Its number leaves
// room for protocols.
const roleAccepted role = 32

// newcomer is a client that has not shown what it wants to speak: its handshake has not begun, or it is undecided.
type newcomer interface {
	state() *connState // and stops its clocks
	resume()
	leave()
	listener() *config.Listener
}

// pickAccepted takes the connections whose handshakes have not begun, and those that are undecided.
func (w *worker) pickAccepted(b *frozen, limit int) {
	for _, s := range w.shakes.all {
		if len(b.conns) < limit && s.from != nil && s.run == nil && !s.conn.Frozen() {
			b.accepted = append(b.accepted, s)
			b.conns = append(b.conns, s.conn)
		}
	}
	for _, o := range w.shakes.undecided {
		if len(b.conns) < limit && !o.conn.Frozen() {
			b.accepted = append(b.accepted, o)
			b.conns = append(b.conns, o.conn)
		}
	}
}

func (w *worker) frozenAccepted(b *frozen, out []handover.Conn) []handover.Conn {
	if len(b.accepted) == 0 {
		return out
	}
	for i, c := range b.conns { // which are no others
		out = append(out, w.frozenConn(c, b.accepted[i].state()))
	}
	return out
}

func (s *shaking) state() *connState {
	s.w.loop.Cancel(&s.timer)
	return &connState{role: roleAccepted, listener: *s.from}
}

func (s *shaking) listener() *config.Listener { return s.from }

func (w *worker) thawAccepted(b *frozen) {
	for _, n := range b.accepted {
		n.resume()
	}
}

// resume goes on after Thaw or Restore. One that has waited for its turn looks at what has come, unless it still waits.
func (s *shaking) resume() {
	if s.conn.Closed() {
		return
	}
	if s.await(); !s.queued {
		s.conn.Resume()
		s.conn.Replay()
	}
}

func (w *worker) releaseAccepted(b *frozen) {
	for _, n := range b.accepted {
		n.leave()
		w.givenAway(n.listener())
	}
}

// Freeze takes the next connections; those in the middle of a handshake when it is over.
func (d donor) Freeze(id uint64, limit int) (handover.Batch, error) {
	if part, ok, err := d.nextPart(id); ok {
		return part, err
	}
	for again := true; again; {
		batch, err := d.freezeNext(id, limit)
		if err != nil || len(batch.Conns) > 0 {
			return batch, err
		}
		if again = d.finishShakes(); again {
			continue
		}
		if batch, again, err = d.freezeLast(id, limit); err != nil || len(batch.Conns) > 0 {
			return batch, err
		}
	}
	for _, w := range d.workers {
		w.loop.Call(w.closeResting)
	}
	d.relayCounters()
	return handover.Batch{ID: id}, nil
}

// finishShakes waits until no handshake is going on here and every client that has a deadline has shown its protocol, which is no
// longer than these: connections do not move before that. It returns false when there was none. No new ones begin: nothing is accepted any more, and
// whatever has not begun has moved.
func (d donor) finishShakes() bool {
	waited := false
	for _, w := range d.workers {
		var idle chan struct{}
		w.loop.Call(func() {
			if x := &w.shakes; x.running+x.opening > 0 {
				if x.idle == nil {
					x.idle = make(chan struct{})
				}
				idle = x.idle
			}
		})
		if idle == nil {
			continue
		}
		waited = true
		select {
		case <-idle:
		case <-w.loop.Done():
		}
	}
	return waited
}

// restoreAccepted prepares a connection whose handshake is to be done here, if the listener has TLS here.
func (w *worker) restoreAccepted(fd int, s *connState) restored {
	x := &shaking{w: w, from: &s.listener, context: w.contextOf(s)}
	x.timer.Owner = x
	x.conn = w.loop.Restore(fd, s.image, x)
	x.conn.Shake()
	w.shakes.all[x.conn.ID] = x
	return restored{conn: x.conn, accepted: x}
}
