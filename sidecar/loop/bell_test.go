package loop

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// running returns a loop that runs.
func running(t *testing.T) *Loop {
	t.Helper()
	start := time.Now()
	l, err := New(func() time.Duration { return time.Since(start) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.Run() }()
	t.Cleanup(func() {
		l.Stop()
		if err := <-ended; err != nil {
			t.Errorf("loop: %v", err)
		}
	})
	return l
}

// keepBusy gives a loop work for so many turns in a row, and calls then in the last.
func keepBusy(l *Loop, turns int, then func()) {
	var again func()
	again = func() {
		if turns--; turns == 0 {
			then()
			return
		}
		l.Post(again)
	}
	l.Post(again)
}

func TestABusyLoopRingsForNobody(t *testing.T) {
	l := running(t)
	for range 3 {
		rings := make(chan bool)
		keepBusy(l, 2*busyTurns, func() { rings <- l.poller.rings })
		if <-rings {
			t.Errorf("after %d turns without a wait each event still wakes the runtime's poller", 2*busyTurns)
		}
		for on := false; !on; { // it has waited since
			if !l.Call(func() { on = l.poller.rings }) {
				t.Fatal("the loop has ended")
			}
		}
	}
}

// A bell that has rung before, and was turned off, does not ring for what came before it is on again.
func TestWhatComesBeforeTheBellIsOnIsFound(t *testing.T) {
	var p poller
	if err := p.open(); err != nil {
		t.Fatal(err)
	}
	defer func() { p.close(); _ = unix.Close(p.bell) }()
	if err := p.ring(true); err != nil {
		t.Fatal(err)
	}
	var events [1]unix.EpollEvent
	for range 3 {
		p.wake()
		if n, err := p.wait(events[:]); n != 1 || err != nil {
			t.Fatalf("%d events, error %v; want 1", n, err)
		}
		p.drainWake()
		if err := p.ring(false); err != nil {
			t.Fatal(err)
		}
		p.wake()
		if n, err := p.listen(events[:]); n != 1 || err != nil {
			t.Fatalf("%d events, error %v: what came before the bell was on is missed", n, err)
		}
		p.drainWake()
	}
}

// A loop that goes from much work to none hears what comes in between.
func TestNothingIsMissedWhenABusyLoopWaits(t *testing.T) {
	l := running(t)
	for i := range 1000 {
		last := make(chan struct{})
		keepBusy(l, busyTurns+2, func() { close(last) })
		<-last
		if !l.Call(func() {}) {
			t.Fatalf("the loop has ended, in try %d", i)
		}
	}
}
