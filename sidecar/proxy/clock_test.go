package proxy_test

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/proxy"
	"github.com/axlemesh/axle/sidecar/sockets"
)

func clockFrom() loop.Clock {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// skipped is an engine whose clock can be put forward, with a function that does it.
func skipped(t *testing.T, generation int64, s *config.Snapshot) (*proxy.Engine, func(time.Duration)) {
	t.Helper()
	return served(t, s, clockFrom(), generation)
}

// still is one whose clock goes in no other way.
func still(t *testing.T, generation int64, s *config.Snapshot) (*proxy.Engine, func(time.Duration)) {
	t.Helper()
	return served(t, s, func() time.Duration { return time.Hour }, generation)
}

func served(t *testing.T, s *config.Snapshot, clock loop.Clock, generation int64) (*proxy.Engine, func(time.Duration)) {
	t.Helper()
	e, skip := skippable(t, generation, clock)
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	return e, skip
}

// skippable is the same without a configuration.
func skippable(t *testing.T, generation int64, clock loop.Clock) (*proxy.Engine, func(time.Duration)) {
	t.Helper()
	var skip atomic.Int64
	set := &sockets.Set{}
	t.Cleanup(set.Release)
	e, err := proxy.New(proxy.Options{
		Generation: generation, Sockets: set, NodeID: "test",
		Clock: func() time.Duration { return clock() + time.Duration(skip.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return e, func(d time.Duration) {
		skip.Add(int64(d))
		e.Stats() // the loops look at the clock
		e.Stats() // and have seen to what was due
	}
}

// owner is who has the connections of e when that is left alone ("stays"), hands them over ("moves"), or fails to ("comes back").
func owner(t *testing.T, what string, e *proxy.Engine, skip func(time.Duration)) (*proxy.Engine, func(time.Duration)) {
	t.Helper()
	switch what {
	case "moves":
		to, skipTo := skippable(t, 2, clockFrom())
		give(t, e, to)
		return to, skipTo
	case "comes back":
		aborted(t, e, func() {})
	}
	return e, skip
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// addrOf is where a backend listens, as a server of a snapshot.
func addrOf(addr netip.AddrPort) *server { return &server{addr: addr} }
