package handover

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestHandoverMovesEverything(t *testing.T) {
	cases := map[string]struct {
		conns, sockets, limit int
		stateSize             func(int) int
		part                  int
		donor, cand           uint64 // features
	}{
		"nothing but the listener": {},
		"one connection":           {conns: 1},
		"a thousand connections":   {conns: 1000, sockets: 200},
		"batches of 300":           {conns: 700, limit: 300},
		"a connection of 9 MiB":    {conns: 3, stateSize: func(int) int { return 9 << 20 }},
		"heavy batches are split":  {conns: 64, stateSize: func(int) int { return 400 << 10 }},
		"empty states":             {conns: 5, stateSize: func(int) int { return 0 }},
		"batches in parts":         {conns: 700, limit: 300, part: 7, donor: FeatureParts, cand: FeatureParts},
		"parts of one connection":  {conns: 70, part: 1, donor: FeatureParts, cand: FeatureParts},
		"heavy parts":              {conns: 24, part: 1, donor: FeatureParts, cand: FeatureParts, stateSize: func(int) int { return 2 << 20 }},
		"an older candidate":       {conns: 70, part: 7, donor: FeatureParts},
		"an older donor":           {conns: 70, part: 7, cand: FeatureParts},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := fdCount(t)
			m := newMeeting(t)
			m.serve.BatchLimit, m.serve.Features, m.take.Features, m.donor.part = tc.limit, tc.donor, tc.cand, tc.part
			near, far := pairs(t, tc.conns)
			m.donor.active, m.donor.stateSize = near, tc.stateSize
			list := []Socket{{Key: "handover", FD: m.serve.Listener}}
			for range tc.sockets {
				list = append(list, Socket{Key: "listener/x", FD: m.serve.Listener})
			}
			m.serve.Sockets = func() []Socket { return list }
			o := m.run(t)
			if o.serveErr != nil || o.takeErr != nil || !o.served.OK || !o.taken.OK {
				t.Fatalf("donor %v (%v), candidate %v (%v)", o.served, o.serveErr, o.taken, o.takeErr)
			}
			if o.served.Moved != int64(tc.conns) || o.taken.Moved != int64(tc.conns) || len(m.cand.active) != tc.conns {
				t.Errorf("moved %d, taken %d, active %d", o.served.Moved, o.taken.Moved, len(m.cand.active))
			}
			if len(m.adopted) != tc.sockets+1 || m.adopted[0].Key != "handover" || string(m.cand.warm) != "state" {
				t.Errorf("adopted %d sockets, warm %q", len(m.adopted), m.cand.warm)
			}
			if parts := m.donor.parted > 0; parts != (tc.donor&tc.cand != 0) {
				t.Errorf("%d offers were parts", m.donor.parted)
			}
			if !m.cand.done || !m.cand.ended || !m.cand.accepting || m.donor.accepting {
				t.Errorf("candidate %+v, donor accepting %v", m.cand, m.donor.accepting)
			}
			speak(t, far, connFDs(m.cand.active))
			// what is left: the listener twice (and copies), the far ends, the near ends in the candidate
			want := before + 1 + len(m.adopted) + 2*tc.conns
			if got := fdCount(t); got != want {
				t.Errorf("%d descriptors are open, want %d", got, want)
			}
			t.Logf("%d us, freeze p99 %d us", o.served.DurationMicros, o.served.FreezeP99Micros)
			if tc.conns > 0 && (o.served.FreezeP99Micros <= 0 || o.taken.FreezeP99Micros <= 0) {
				t.Errorf("freeze p99 %d and %d", o.served.FreezeP99Micros, o.taken.FreezeP99Micros)
			}
		})
	}
}

func TestHandoverAborts(t *testing.T) {
	cases := map[string]struct {
		set    func(m *meeting)
		step   string
		reason string
		moved  int64
	}{
		"the donor has no state": {func(m *meeting) { m.donor.warmErr = errTold }, "Warm", "told to fail", 0},
		"the candidate cannot adopt": {func(m *meeting) {
			m.take.AdoptSockets = func(s []Socket) error { m.adopted = s; return errTold }
		}, "Warm", "told to fail", 0},
		"the candidate is not ready": {func(m *meeting) { m.cand.readyErr = errTold }, "Ready", "told to fail", 0},
		"the second batch cannot be prepared": {func(m *meeting) {
			m.cand.prepErr = func(b Batch) error {
				if b.ID == 2 {
					return errTold
				}
				return nil
			}
		}, "Move", "told to fail", 64},
		"the third part of the second batch cannot be prepared": {func(m *meeting) {
			m.inParts(20)
			parts := 0
			m.cand.prepErr = func(b Batch) error {
				if b.ID == 2 {
					parts++
				}
				if parts == 3 {
					return errTold
				}
				return nil
			}
		}, "Move", "told to fail", 64},
		"a part that is too large": {func(m *meeting) {
			m.inParts(20)
			conns := 0
			m.donor.stateSize = func(int) int {
				if conns++; conns == 50 {
					return maxBody
				}
				return 16
			}
		}, "Move", "larger than a handover carries", 0},
		"no common version":             {func(m *meeting) { m.take.Versions = Range{Min: 7, Max: 8} }, "Hello", "no common version", 0},
		"a required feature is missing": {func(m *meeting) { m.take.Required = 4 }, "Hello", "lacks required features", 0},
		"too few descriptors": {func(m *meeting) {
			m.serve.Descriptors = func() int64 { return 1 << 40 }
		}, "Hello", "more descriptors", 0},
		"a state that is too large": {func(m *meeting) {
			m.donor.stateSize = func(int) int { return maxBody }
		}, "Move", "larger than a handover carries", 0},
		"the relay queue is full": {func(m *meeting) {
			m.serve.RelayQueue = 1000
			m.donor.onMove = func(relay func(Relay)) { relay(Relay{Data: make([]byte, 1001)}) }
		}, "Move", "relay queue is full", 0},
		"the candidate is cancelled": {func(m *meeting) {
			m.cand.onPrepare = func() { m.cand.relay(Relay{Loop: -1}) }
		}, "Move", "larger than a handover carries", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newMeeting(t)
			near, far := pairs(t, 200)
			m.donor.active = near
			tc.set(m)
			o := m.run(t)
			if o.serveErr != nil || o.served.OK || o.taken.OK {
				t.Fatalf("donor %v (%v), candidate %v (%v)", o.served, o.serveErr, o.taken, o.takeErr)
			}
			if o.served.Step != tc.step && o.taken.Step != tc.step || !strings.Contains(o.served.Reason+o.taken.Reason, tc.reason) {
				t.Errorf("donor %v, candidate %v", o.served, o.taken)
			}
			if o.served.Moved != tc.moved || o.served.Lost != 0 {
				t.Errorf("moved %d, lost %d", o.served.Moved, o.served.Lost)
			}
			if !m.donor.accepting || m.donor.held || m.donor.moving || m.cand.accepting {
				t.Errorf("donor %+v, candidate accepting %v", m.donor, m.cand.accepting)
			}
			speak(t, far, append(connFDs(m.cand.active), m.donor.active...))
		})
	}
}

// TestNeighbouringReleases: a release and the one before it understand each other in both directions, in the older one's
// version.
func TestNeighbouringReleases(t *testing.T) {
	older, newer := Range{Min: 1, Max: 1}, Range{Min: 1, Max: 2}
	cases := map[string]struct {
		donor, cand Range
		want        uint8
	}{
		"up":   {older, newer, 1},
		"down": {newer, older, 1},
		"same": {newer, newer, 2},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newMeeting(t)
			near, far := pairs(t, 100)
			m.donor.active = near
			m.serve.Versions, m.take.Versions = tc.donor, tc.cand
			m.serve.Codecs = []Codec{{"bolt", Range{1, 2}}, {"tcp", Range{2, 2}}}
			m.take.Codecs = []Codec{{"bolt", Range{1, 3}}, {"tcp", Range{1, 1}}}
			var plan Plan
			m.take.OnPlan = func(p Plan) { plan = p }
			o := m.run(t)
			if !o.served.OK || !o.taken.OK {
				t.Fatalf("donor %v, candidate %v", o.served, o.taken)
			}
			want := Plan{Version: tc.want, Build: "donor", Codecs: []CodecPlan{{"bolt", true, 2}, {"tcp", false, 0}}}
			if diff := cmp.Diff(want, plan); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			speak(t, far, connFDs(m.cand.active))
		})
	}
}

// TestAbortedThenServedAgain checks that a failed handover is no obstacle to the next one.
func TestAbortedThenServedAgain(t *testing.T) {
	m := newMeeting(t)
	near, far := pairs(t, 100)
	m.donor.active = near
	m.cand.readyErr = errTold
	if o := m.run(t); o.served.OK {
		t.Fatalf("donor %v", o.served)
	}
	_ = closeAll([]int{m.adopted[0].FD})
	m.adopted, m.cand.readyErr = nil, nil
	if o := m.run(t); !o.served.OK || !o.taken.OK || o.served.Moved != 100 {
		t.Fatalf("donor %v, candidate %v", o.served, o.taken)
	}
	speak(t, far, connFDs(m.cand.active))
}

func TestCallersAreChecked(t *testing.T) {
	cases := map[string]struct {
		set  func(m *meeting)
		want error
	}{
		"a wrong key":                 {func(m *meeting) { m.take.Key = bytes.Repeat([]byte{1}, 32) }, ErrKey},
		"another pair of generations": {func(m *meeting) { m.take.To = 3 }, ErrNotBegun},
		"nothing has begun": {func(m *meeting) {
			m.serve.Key = func() ([]byte, int64, int64, bool) { return nil, 0, 0, false }
		}, ErrNotBegun},
		"nobody listens": {func(m *meeting) { m.take.Address += "x" }, unix.ENOENT},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newMeeting(t)
			tc.set(m)
			m.take.Wait = 200 * time.Millisecond
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error)
			go func() {
				_, err := Serve(ctx, m.serve)
				served <- err
			}()
			r, err := Take(t.Context(), m.take)
			if !errors.Is(err, tc.want) || r.OK || r.Step != "Hello" || r.Reason == "" {
				t.Errorf("result %v, error %v, want %v", r, err, tc.want)
			}
			cancel()
			if err := <-served; !errors.Is(err, context.Canceled) {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}

// TestWrongKeyOfTheDonor: the candidate does not trust whoever holds the name.
func TestWrongKeyOfTheDonor(t *testing.T) {
	m := newMeeting(t)
	m.serve.Key = func() ([]byte, int64, int64, bool) { return []byte("something else"), 1, 2, true }
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { _, _ = Serve(ctx, m.serve) })
	if _, err := Take(t.Context(), m.take); !errors.Is(err, ErrKey) {
		t.Errorf("Take: %v, want %v", err, ErrKey)
	}
}

func TestSecondCandidateIsTurnedAway(t *testing.T) {
	m := newMeeting(t)
	near, _ := pairs(t, 10)
	m.donor.active = near
	second := errors.New("not called")
	m.donor.onFreeze = func(id uint64) {
		if id == 1 {
			other := m.take
			other.Candidate = &candHost{}
			_, second = Take(t.Context(), other)
		}
	}
	o := m.run(t)
	if !o.served.OK || !o.taken.OK {
		t.Errorf("donor %v, candidate %v", o.served, o.taken)
	}
	if !errors.Is(second, ErrBusy) {
		t.Errorf("the second candidate got %v, want %v", second, ErrBusy)
	}
}

func TestCancelledDonorServesOn(t *testing.T) {
	m := newMeeting(t)
	near, far := pairs(t, 200)
	m.donor.active = near
	ctx, cancel := context.WithCancel(t.Context())
	m.donor.onFreeze = func(id uint64) {
		if id == 2 {
			cancel()
		}
	}
	var wg sync.WaitGroup
	var taken Result
	wg.Go(func() { taken, _ = Take(t.Context(), m.take) })
	served, err := Serve(ctx, m.serve)
	wg.Wait()
	if err != nil || served.OK || taken.OK || served.Lost != 0 || !m.donor.accepting {
		t.Errorf("donor %v (%v), candidate %v", served, err, taken)
	}
	speak(t, far, append(connFDs(m.cand.active), m.donor.active...))
}
