package loop

import (
	"math/rand/v2"
	"testing"
	"time"
)

type note struct {
	t     Timer
	fired int
	then  func()
}

func (n *note) Expire() {
	n.fired++
	if n.then != nil {
		n.then()
	}
}

// TestWheelAgainstList runs random timers on the wheel and compares with what a plain list says.
func TestWheelAgainstList(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var w Wheel
	now := time.Hour
	w.start(now)
	type want struct {
		n    *note
		when time.Duration
	}
	var armed []want
	for range 20_000 {
		switch rnd.IntN(3) {
		case 0:
			n := &note{}
			n.t.Owner = n
			when := now + time.Duration(rnd.Int64N(int64(20*time.Second)))
			w.Start(&n.t, when)
			armed = append(armed, want{n, when})
		case 1:
			if len(armed) > 0 {
				i := rnd.IntN(len(armed))
				w.Cancel(&armed[i].n.t)
				armed[i] = armed[len(armed)-1]
				armed = armed[:len(armed)-1]
			}
		case 2:
			if next := w.Next(); len(armed) > 0 && next == 0 {
				t.Fatalf("Next = 0 with %d timers armed", len(armed))
			}
			now += time.Duration(rnd.Int64N(int64(300 * time.Millisecond)))
			w.Advance(now)
			kept := armed[:0]
			for _, a := range armed {
				switch {
				case a.n.fired == 1 && a.when > now:
					t.Fatalf("a timer for %v went off at %v", a.when, now)
				case a.n.fired == 0 && a.when+Tick <= now:
					t.Fatalf("a timer for %v has not gone off at %v", a.when, now)
				case a.n.fired == 0:
					kept = append(kept, a)
				}
			}
			armed = kept
		}
	}
}

func TestExpireMayArmAndCancel(t *testing.T) {
	var w Wheel
	w.start(0)
	var a, b, c note
	for _, n := range []*note{&a, &b, &c} {
		n.t.Owner = n
		w.Start(&n.t, 10*Tick)
	}
	a.then = func() { w.Cancel(&b.t); w.Start(&a.t, 10*Tick+wheelSlots*Tick) }
	w.Advance(10 * Tick)
	if a.fired != 1 || b.fired != 0 || c.fired != 1 {
		t.Errorf("fired a=%d b=%d c=%d, want 1 0 1", a.fired, b.fired, c.fired)
	}
	if !a.t.Armed() || w.armed != 1 {
		t.Errorf("a armed %v, %d timers armed; want the one that a armed again", a.t.Armed(), w.armed)
	}
}
