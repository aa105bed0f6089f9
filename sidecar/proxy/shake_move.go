package proxy

import (
	"github.com/axlemesh/axle/sidecar/handover"
)

// roleAccepted is a client's connection of which no byte was taken: whoever owns it does the handshake. Its number leaves
// room for protocols.
const roleAccepted role = 32

// pickAccepted takes the connections whose handshakes have not begun.
func (w *worker) pickAccepted(b *frozen, limit int) {
	for _, s := range w.shakes.all {
		if len(b.conns) < limit && s.from != nil && s.run == nil && !s.conn.Frozen() {
			b.accepted = append(b.accepted, s)
			b.conns = append(b.conns, s.conn)
		}
	}
}

func (w *worker) frozenAccepted(b *frozen, out []handover.Conn) []handover.Conn {
	for _, s := range b.accepted {
		w.loop.Cancel(&s.timer)
		out = append(out, w.frozenConn(s.conn, &connState{role: roleAccepted, listener: *s.from}))
	}
	return out
}

func (w *worker) thawAccepted(b *frozen) {
	for _, s := range b.accepted {
		if !s.conn.Closed() {
			s.resume()
		}
	}
}

// resume goes on after Thaw or Restore. One that has waited for its turn looks at what has come, unless it still waits.
func (s *shaking) resume() {
	if s.await(); !s.queued {
		s.conn.Resume()
		s.conn.Replay()
	}
}

func (w *worker) releaseAccepted(b *frozen) {
	for _, s := range b.accepted {
		s.leave()
		w.givenAway(s.from)
	}
}

// Freeze takes the next connections; those in the middle of a handshake when it is over.
func (d donor) Freeze(id uint64, limit int) (handover.Batch, error) {
	if part, ok, err := d.nextPart(id); ok {
		return part, err
	}
	for again := true; again; again = d.finishShakes() {
		if batch, err := d.freezeNext(id, limit); err != nil || len(batch.Conns) > 0 {
			return batch, err
		}
	}
	for _, w := range d.workers {
		w.loop.Call(w.closeResting)
	}
	d.relayCounters()
	return handover.Batch{ID: id}, nil
}

// finishShakes waits until no handshake is going on here and every client has shown its protocol, which is no longer than
// their deadlines: connections do not move before that. It returns false when there was none. No new ones begin: nothing is accepted any more, and
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
