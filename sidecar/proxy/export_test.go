package proxy

import (
	"time"

	"github.com/axlemesh/axle/sidecar/loop"
)

// newTestLoop makes a loop that does not run and whose clock stands still.
func newTestLoop() (*loop.Loop, error) {
	return loop.New(func() time.Duration { return time.Hour }, loop.NewBudget(0))
}
