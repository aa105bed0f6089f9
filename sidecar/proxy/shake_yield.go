package proxy

import (
	"errors"
	"slices"
	"time"
)

// shakeYield is how long a peer may say nothing in its handshake when others wait for their turn: places are few, and somebody
// who takes one and is silent would keep everybody else out for shakePatience.
const shakeYield = 500 * time.Millisecond

var errShakeYield = errors.New("TLS handshake: the peer is silent, and others wait")

// wait has a handshake wait until another one has ended, or is given up.
func (x *shakes) wait(s *shaking) {
	s.queued = true
	x.queue = append(x.queue, s)
	s.conn.Pause()
	if !x.yield.Armed() {
		s.w.loop.Start(&x.yield, shakeYield)
	}
}

// Expire gives up handshakes whose peers are silent, as many as others wait. Who has gone meanwhile does not wait, nor who is
// on the way to another process.
func (x *shakes) Expire() {
	if len(x.queue) == 0 {
		return
	}
	loop, wanted := x.queue[0].w.loop, 0
	x.queue = slices.DeleteFunc(x.queue, func(s *shaking) bool {
		if !s.conn.Closed() && !s.conn.Frozen() {
			wanted++
		}
		return s.conn.Closed()
	})
	for _, s := range x.all {
		if wanted > 0 && s.run != nil && loop.Now()-s.heard >= shakeYield && s.run.Waits() {
			wanted--
			s.conn.Close(errShakeYield)
		}
	}
	if len(x.queue) > 0 {
		loop.Start(&x.yield, shakeYield/2)
	}
}
