package supervisor

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var t0 = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// at makes an event ms milliseconds after t0.
func at(ms int, e Event) Event {
	e.At = t0.Add(time.Duration(ms) * time.Millisecond)
	return e
}

func TestMachine(t *testing.T) {
	const code1 = "the proxy exited with code 1"
	crash := Event{What: Exited, Code: 1}
	serving := Event{What: Said, Phase: Serving}
	cases := map[string]struct {
		events []Event
		want   [][]Action
		wake   int // milliseconds after t0; -1 for never
	}{
		"a finished child ends the supervisor": {
			events: []Event{at(0, Event{What: Begun}), at(5, Event{What: Exited})},
			want:   [][]Action{{{Do: Start}}, {{Do: Exit, Reason: "the proxy exited with code 0"}}},
			wake:   -1,
		},
		"the first crash restarts at once, the next ones after a while": {
			events: []Event{at(0, Event{What: Begun}), at(1, serving), at(10, crash), at(11, serving), at(20, crash), at(119, Event{What: Tick}), at(120, Event{What: Tick})},
			want:   [][]Action{{{Do: Start}}, nil, {{Do: Start}}, nil, nil, nil, {{Do: Start}}},
			wake:   10120,
		},
		"a long life forgets earlier crashes": {
			events: []Event{at(0, Event{What: Begun}), at(1, serving), at(10, crash), at(11, serving), at(40_000, crash)},
			want:   [][]Action{{{Do: Start}}, nil, {{Do: Start}}, nil, {{Do: Start}}},
			wake:   50_000,
		},
		"a child that never serves is given up": {
			events: []Event{at(0, Event{What: Begun}), at(1, crash), at(2, crash), at(200, Event{What: Tick}), at(201, crash),
				at(900, Event{What: Tick}), at(901, crash), at(2000, Event{What: Tick}), at(2001, crash)},
			want: [][]Action{{{Do: Start}}, {{Do: Start}}, nil, {{Do: Start}}, nil, {{Do: Start}}, nil, {{Do: Start}},
				{{Do: Exit, Code: ExitGaveUp, Reason: "5 starts in a row ended before it served; the last: " + code1}}},
			wake: -1,
		},
		"a failed candidate is not restarted, and its words are kept": {
			events: []Event{at(0, Event{What: Begun}), at(1, Event{What: Said, Words: "handover failed at Warm"}), at(2, Event{What: Exited, Code: ExitCandidate})},
			want: [][]Action{{{Do: Start}}, nil,
				{{Do: Exit, Code: ExitCandidate, Reason: "the proxy exited with code 10: handover failed at Warm"}}},
			wake: -1,
		},
		"a candidate that dies is not restarted either": {
			events: []Event{at(0, Event{What: Begun}), at(1, Event{What: Said, Phase: Candidate}), at(2, Event{What: Exited, Signal: 9})},
			want: [][]Action{{{Do: Start}}, nil,
				{{Do: Exit, Code: ExitCandidate, Reason: "the candidate died in its handover: the proxy was ended by signal 9"}}},
			wake: -1,
		},
		"one that has handed over is not restarted, however it ends": {
			events: []Event{at(0, Event{What: Begun}), at(1, serving), at(2, Event{What: Said, Phase: Gave}), at(3, Event{What: Exited, Signal: 9})},
			want:   [][]Action{{{Do: Start}}, nil, nil, {{Do: Exit, Reason: "the proxy was ended by signal 9"}}},
			wake:   -1,
		},
		"silence kills once, then restarts": {
			events: []Event{at(0, Event{What: Begun}), at(1, serving), at(5000, Event{What: Beat}), at(14_999, Event{What: Tick}),
				at(15_000, Event{What: Tick}), at(15_001, Event{What: Tick}), at(15_002, Event{What: Exited, Signal: 9})},
			want: [][]Action{{{Do: Start}}, nil, nil, nil, {{Do: Kill, Reason: "it was silent for 10s"}}, nil, {{Do: Start}}},
			wake: 25_002,
		},
		"the grace period ends in a kill, before the kubelet's": {
			events: []Event{at(0, Event{What: Begun}), at(1, serving), at(9000, Event{What: Beat}), at(10_000, Event{What: Term}), at(11_000, Event{What: Term}),
				at(14_000, Event{What: Tick}), at(14_001, Event{What: Exited, Signal: 9})},
			want: [][]Action{{{Do: Start}}, nil, nil, {{Do: TellTerm, Grace: 4 * time.Second}}, nil, {{Do: Kill, Reason: "its grace period was over"}},
				{{Do: Exit, Reason: "the proxy was ended by signal 9 (its grace period was over) while it was terminating"}}},
			wake: -1,
		},
		"a crash in the grace period is repaired while there is time": {
			events: []Event{at(0, Event{What: Begun}), at(1, serving), at(100, Event{What: Term}), at(1100, crash)},
			want:   [][]Action{{{Do: Start}}, nil, {{Do: TellTerm, Grace: 4 * time.Second}}, {{Do: Start}, {Do: TellTerm, Grace: 3 * time.Second}}},
			wake:   4100,
		},
		"terminated while nothing runs": {
			events: []Event{at(0, Event{What: Begun}), at(1, crash), at(2, crash), at(3, Event{What: Term}), at(4, Event{What: Tick})},
			want:   [][]Action{{{Do: Start}}, {{Do: Start}}, nil, {{Do: Exit, Reason: "terminated between two starts of the proxy"}}, nil},
			wake:   -1,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := Machine{Silence: 10 * time.Second, Grace: 5 * time.Second}
			var got [][]Action
			for _, e := range tc.events {
				got = append(got, m.Step(e))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			want := time.Time{}
			if tc.wake >= 0 {
				want = t0.Add(time.Duration(tc.wake) * time.Millisecond)
			}
			if wake := m.Wake(); !wake.Equal(want) {
				t.Errorf("wakes at %v, want %v", wake.Sub(t0), want.Sub(t0))
			}
		})
	}
}

func TestBackoffIsBounded(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: 0, 2: 100 * time.Millisecond, 3: 200 * time.Millisecond, 7: 3200 * time.Millisecond, 8: maxBackoff, 1 << 30: maxBackoff} {
		if got := (&Machine{failures: failures}).backoff(); got != want {
			t.Errorf("after %d failures %s, want %s", failures, got, want)
		}
	}
}
