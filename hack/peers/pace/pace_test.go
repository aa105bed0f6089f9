package pace

import (
	"context"
	"testing"
	"time"
)

func TestRunKeepsItsRateWhateverOffersTake(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	n, began := 0, time.Now()
	var last time.Time
	Run(ctx, Config{Rate: 500, Now: time.Now}, func(due, woke time.Time) {
		if due.Before(last) || due.After(woke) {
			t.Errorf("offer %d was due at %v, after %v, and offered at %v", n, due, last, woke)
		}
		last = due
		if n++; n == 10 {
			time.Sleep(100 * time.Millisecond) // what is due meanwhile follows at once
		}
		if n == 100 {
			cancel()
		}
	})
	if took := time.Since(began); n < 100 || took < 190*time.Millisecond {
		t.Errorf("%d offers in %v, want 100 in at least 198 ms", n, took)
	}
}

func TestAPauseOwesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	began, n := time.Now(), 0
	paused := func() bool { return time.Since(began) < 100*time.Millisecond }
	Run(ctx, Config{Rate: 1000, Now: time.Now, Paused: paused}, func(due, _ time.Time) {
		if due.Sub(began) < 100*time.Millisecond {
			t.Errorf("due %v after the start, in the pause", due.Sub(began))
		}
		if n++; n == 5 {
			cancel()
		}
	})
	if n < 5 {
		t.Errorf("%d offers", n)
	}
}
