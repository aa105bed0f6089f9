package handover

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
)

// TestCrossingRelays sends 20 MB of frames each way at once, while connections move, and counts every byte.
func TestCrossingRelays(t *testing.T) {
	m := newMeeting(t)
	near, far := pairs(t, 500)
	m.donor.active = near
	const frames, size = 160, 128 << 10
	flood := func(tag byte) func(relay func(Relay)) {
		return func(relay func(Relay)) {
			for i := range frames {
				relay(Relay{Loop: i, Data: bytes.Repeat([]byte{tag}, size)})
			}
		}
	}
	var wg sync.WaitGroup
	next := [2]int{}
	take := func(side int, tag byte) func(Relay) {
		return func(r Relay) {
			if r.Loop != next[side] || len(r.Data) != size || r.Data[0] != tag || r.Data[size-1] != tag {
				t.Errorf("side %d: frame %d of %d bytes out of order or damaged", side, r.Loop, len(r.Data))
			}
			next[side]++
		}
	}
	m.donor.onMove = func(relay func(Relay)) { wg.Go(func() { flood('d')(relay) }) }
	m.cand.onMove = flood('c')
	m.donor.relayed, m.cand.relayed = take(0, 'c'), take(1, 'd')
	frozen := 0
	m.donor.onFreeze = func(uint64) {
		if frozen++; frozen == 3 {
			wg.Wait()
		}
	}
	o := m.run(t)
	if !o.served.OK || !o.taken.OK {
		t.Fatalf("donor %v, candidate %v", o.served, o.taken)
	}
	if next[0] != frames || next[1] != frames {
		t.Errorf("the donor got %d frames, the candidate %d, want %d each", next[0], next[1], frames)
	}
	speak(t, far, connFDs(m.cand.active))
}

// TestBouncesArriveBeforeTheEnd: what the candidate relays until it learns of DONE comes back before Take returns.
func TestBouncesArriveBeforeTheEnd(t *testing.T) {
	m := newMeeting(t)
	back := 0
	m.donor.relayed = func(r Relay) { m.donor.relay(r) }
	m.cand.relayed = func(Relay) { back++ }
	m.cand.onMove = func(relay func(Relay)) {
		for range 1000 {
			relay(Relay{Data: []byte("frame")})
		}
	}
	o := m.run(t)
	if !o.served.OK || !o.taken.OK || back != 1000 {
		t.Errorf("donor %v, candidate %v, %d of 1000 frames came back", o.served, o.taken, back)
	}
}

// TestWhatIsTakenArrives: when a handover is given up while frames are on their way, the donor gets those that the candidate learns
// were taken, and no others.
func TestWhatIsTakenArrives(t *testing.T) {
	m := newMeeting(t)
	near, _ := pairs(t, 200)
	m.donor.active = near
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := 0
	m.donor.relayed = func(Relay) {
		if got++; got == 500 {
			cancel()
		}
	}
	m.cand.onPrepare = func() { <-ctx.Done() } // the frames do not wait for it
	var wg sync.WaitGroup
	var taken []*atomic.Bool
	m.cand.onMove = func(relay func(Relay)) {
		wg.Go(func() {
			for n := range 1200 { // shared packets, and some that need more than one; less than what may wait
				taken = append(taken, new(atomic.Bool))
				relay(Relay{Data: make([]byte, 1+n*n%7*20_000), Taken: taken[n]})
			}
		})
	}
	var result Result
	wg.Go(func() { result, _ = Take(t.Context(), m.take) })
	served, err := Serve(ctx, m.serve)
	wg.Wait()
	if err != nil || served.OK || result.OK {
		t.Errorf("donor %v (%v), candidate %v", served, err, result)
	}
	known := 0
	for _, one := range taken {
		if one.Load() {
			known++
		}
	}
	if known != got || known == len(taken) {
		t.Errorf("%d of %d frames are known as taken, and %d have arrived", known, len(taken), got)
	}
}
