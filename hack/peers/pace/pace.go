// Package pace makes things due at a fixed rate, whatever becomes of those before: an open loop, which does not slow down when
// answers do.
package pace

import (
	"context"
	"time"
)

// pauseTick is how often a pause is asked whether it is over.
const pauseTick = 5 * time.Millisecond

// Config of a pace. Paused may be nil.
type Config struct {
	// Rate per second.
	Rate float64
	Now  func() time.Time
	// Paused says that nothing is due for now.
	Paused func() bool
}

// Run calls offer for everything that is due, until ctx ends. due is when it was, woke when the pace noticed.
func Run(ctx context.Context, c Config, offer func(due, woke time.Time)) {
	gap := float64(time.Second) / c.Rate
	start, k := c.Now(), 0
	for {
		due := start.Add(time.Duration(float64(k) * gap))
		if d := due.Sub(c.Now()); d > 0 {
			if !Wait(ctx, d) {
				return
			}
		} else if ctx.Err() != nil {
			return
		}
		if c.Paused != nil && c.Paused() {
			if !Wait(ctx, pauseTick) {
				return
			}
			start, k = c.Now(), 0
			continue
		}
		woke := c.Now()
		for ; !due.After(woke); due = start.Add(time.Duration(float64(k) * gap)) {
			offer(due, woke)
			k++
		}
	}
}

// Wait waits for d; it returns false when ctx ended first.
func Wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
