package app

import (
	"io"
	"time"

	"github.com/go-logr/logr"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/supervisor"
)

// Options of one process.
type Options struct {
	// Bootstrap is defaulted and checked.
	Bootstrap bootstrap.Bootstrap
	JoinToken string
	// Supervisor is nil for a process of its own; Kept is what it had kept.
	Supervisor *supervisor.Child
	Kept       supervisor.Kept
	// Restarts is how often the supervisor restarted this process.
	Restarts int64
	// Takeover makes a standalone process take over from the one that serves.
	Takeover bool
	// Build names this binary.
	Build string
	// Term delivers requests to end, with the time that is left.
	Term <-chan time.Duration
	// Unserved delivers, in a slot, that nobody is to serve.
	Unserved <-chan struct{}
	// Level sets the log's verbosity. Profile adds profiles to the admin pages.
	Level   func(int)
	Profile bool
	// Stdout is where an access log of that name goes.
	Stdout io.Writer
	// Now is the clock, Clock the loops', Random in [0, 1) spreads retries.
	Now    func() time.Time
	Clock  loop.Clock
	Random func() float64
	Log    logr.Logger
}

// End says why and how the process ends.
type End struct {
	Code int
	Why  string
}
