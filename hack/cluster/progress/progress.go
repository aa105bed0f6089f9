// Package progress waits for things and says how it is going.
package progress

import (
	"context"
	"fmt"
	"io"
	"time"

	"k8s.io/utils/clock"
)

// every is how often a step that lasts prints that it is alive.
const every = 10 * time.Second

// Step runs f and prints how long it took: one line at its end, and one every
// ten seconds until then. note adds to those lines; it may be nil.
func Step(out io.Writer, clk clock.WithTicker, what string, note func() string, f func() error) error {
	start := clk.Now()
	tick := clk.NewTicker(every)
	defer tick.Stop()
	done := make(chan error, 1)
	go func() { done <- f() }() // ends with f, which is waited for below
	for {
		select {
		case err := <-done:
			verb := "took"
			if err != nil {
				verb = "failed after"
			}
			fmt.Fprintf(out, "%s: %s %s\n", what, verb, clk.Since(start).Round(10*time.Millisecond))
			return err
		case <-tick.C():
			extra := ""
			if note != nil {
				extra = ", " + note()
			}
			fmt.Fprintf(out, "%s: %s so far%s\n", what, clk.Since(start).Round(time.Second), extra)
		}
	}
}

// Poll calls done at the given interval until it reports true or fails, and
// fails itself when the limit or ctx ends first.
func Poll(
	ctx context.Context, clk clock.Clock, interval, limit time.Duration, done func() (bool, error),
) error {
	deadline := clk.Now().Add(limit)
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if clk.Now().After(deadline) {
			return fmt.Errorf("not done within %s", limit)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-clk.After(interval):
		}
	}
}
