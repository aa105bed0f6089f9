package proxy

import (
	"time"

	"github.com/axlemesh/axle/sidecar/loop"
)

// newTestLoop makes a loop that does not run and whose clock stands still.
func newTestLoop() (*loop.Loop, error) {
	return loop.New(func() time.Duration { return time.Hour }, loop.NewBudget(0))
}

// QueuedHandshakes is how many handshakes wait for others to end.
func (e *Engine) QueuedHandshakes() (n int) {
	for _, w := range e.workers {
		w.loop.Call(func() { n += len(w.shakes.queue) })
	}
	return n
}
