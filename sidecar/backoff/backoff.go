// Package backoff says how long to wait before trying again: longer each time, and never at the same moment as the
// thousands of others that lost the same server.
package backoff

import (
	"context"
	"time"
)

// Policy of one kind of attempt.
type Policy struct {
	// First is the wait after the first failure; it doubles up to Max.
	First, Max time.Duration
	// Random returns a number in [0, 1); nil means no jitter.
	Random func() float64
}

// Delay after failures in a row, at least 1: between half and all of the doubled time.
func (p Policy) Delay(failures int) time.Duration {
	d := p.First
	for i := 1; i < failures && d < p.Max; i++ {
		d *= 2
	}
	d = min(d, p.Max)
	if p.Random == nil {
		return d
	}
	return d/2 + time.Duration(p.Random()*float64(d/2))
}

// Wait returns after d, or with ctx's error when that ends first.
func Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
