package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/supervisor"
)

func TestLife(t *testing.T) {
	begun, configured := event{begun: true}, event{configured: true}
	want := func(generation, predecessor int64, begin bool) event {
		w := wish{generation: generation, predecessor: predecessor, begin: begin}
		if begin {
			w.key = "k"
		}
		return event{wish: &w}
	}
	leave := event{wish: &wish{generation: 2, leave: true}}
	left, late := event{left: true}, event{deadline: true}
	took := event{taken: &handover.Result{OK: true, From: 1, To: 2}}
	failed := handover.Result{From: 1, To: 2, Step: "Warm", Reason: "no room"}
	const why = "handover from generation 1 to 2 failed at Warm: no room"
	term := func(d time.Duration) event { return event{term: &d} }
	finish := func(code int, why string) []action { return []action{{do: actFinish, code: code, why: why}} }
	operated := life{own: 2, operated: true, inPlace: true}
	inSlot, holder := life{own: 2, operated: true, slot: true}, life{own: 2, operated: true, slot: true, restarted: true}
	cold := []event{begun, configured, want(2, 0, false)}
	coldActs := [][]action{nil, nil, {{do: actServe}}}

	cases := map[string]struct {
		life   life
		events []event
		want   [][]action
		phase  phase
	}{
		"standalone serves as soon as it is configured": {
			life: life{own: 1}, events: []event{begun, configured}, want: [][]action{nil, {{do: actServe}}}, phase: serving,
		},
		"a standalone candidate takes at once": {
			life: life{own: 2, takeover: true}, events: []event{begun, configured, took}, want: [][]action{{{do: actTake}}, nil, {{do: actTook}}}, phase: serving,
		},
		"a cold start waits for the operator's word": {life: operated, events: cold, want: coldActs, phase: serving},
		"the word may come before the configuration": {
			life: operated, events: []event{begun, want(2, 0, false), configured}, want: [][]action{nil, nil, {{do: actServe}}}, phase: serving,
		},
		"a restarted child does not wait": {
			life: life{own: 2, operated: true, restarted: true}, events: []event{begun, configured, want(2, 1, true)}, want: [][]action{nil, {{do: actServe}}, nil}, phase: serving,
		},
		"a candidate waits for begin": {
			life: operated, events: []event{begun, configured, want(1, 0, false), want(2, 1, false), want(2, 1, true), want(2, 1, true), took},
			want:  [][]action{nil, nil, nil, nil, {{do: actTake, from: 1, key: "k"}}, nil, {{do: actTook}}},
			phase: serving,
		},
		"a failed candidate ends and says why": {
			life: operated, events: []event{begun, want(2, 1, true), {taken: &failed}},
			want: [][]action{nil, {{do: actTake, from: 1, key: "k"}}, finish(supervisor.ExitCandidate, why)}, phase: over,
		},
		"a failed candidate serves what it owns before it ends": {
			life: operated, events: []event{begun, want(2, 1, true), {taken: &failed, owns: true}, want(2, 0, false), left},
			want: [][]action{nil, {{do: actTake, from: 1, key: "k"}}, {{do: actLeave, why: why}, {do: actTimer, wait: lingerFor}}, nil,
				finish(supervisor.ExitCandidate, why)}, phase: over,
		},
		"a successor is offered once, and withdrawn": {
			life: operated, events: append(cold, want(3, 2, false), want(3, 2, true), want(3, 2, true), want(2, 0, false)),
			want: append(coldActs, nil, []action{{do: actOffer, to: 3, key: "k"}}, nil, []action{{do: actOffer}}), phase: serving,
		},
		"a failed handover is offered again while it is wanted": {
			life: operated, events: append(cold, want(3, 2, true), event{donated: &handover.Result{From: 2, To: 3}}),
			want: append(coldActs, []action{{do: actOffer, to: 3, key: "k"}}, []action{{do: actOffer, to: 3, key: "k"}}), phase: serving,
		},
		"after a handover the old one ends": {
			life: operated, events: append(cold, want(3, 2, true), event{donated: &handover.Result{OK: true, From: 2, To: 3}}, left),
			want: append(coldActs, []action{{do: actOffer, to: 3, key: "k"}}, finish(0, "handed over to generation 3"), nil), phase: over,
		},
		"a successor of somebody else makes it leave": {
			life: operated, events: append(cold, want(4, 3, true), left),
			want: append(coldActs, []action{{do: actOffer}, {do: actLeave, why: "generation 4 is wanted, and not from this one (2)"}, {do: actTimer, wait: leaveFor}},
				finish(0, "generation 4 is wanted, and not from this one (2), and its last client has gone")), phase: over,
		},
		"leaving ends with the last client": {
			life: operated, events: append(cold, leave, leave, left),
			want: append(coldActs, []action{{do: actOffer}, {do: actLeave, why: "asked to leave"}, {do: actTimer, wait: leaveFor}}, nil,
				finish(0, "asked to leave, and its last client has gone")), phase: over,
		},
		"leaving has an end for idle clients": {
			life: operated, events: append(cold, leave, late),
			want: append(coldActs, []action{{do: actOffer}, {do: actLeave, why: "asked to leave"}, {do: actTimer, wait: leaveFor}},
				finish(0, "asked to leave, and its time is up")), phase: over,
		},
		"asked to leave before it served": {
			life: operated, events: []event{begun, leave}, want: [][]action{nil, finish(0, "asked to leave before it served")}, phase: over,
		},
		"a generation that was passed over ends": {
			life: operated, events: []event{begun, configured, want(3, 1, true)},
			want: [][]action{nil, nil, finish(0, "generation 3 is wanted, this is 2 and never served")}, phase: over,
		},
		"a candidate that is not wanted any more ends": {
			life: operated, events: []event{begun, want(2, 1, false), want(1, 0, false), want(1, 0, false), late},
			want: [][]action{nil, nil, {{do: actTimer, wait: unwantedFor}}, nil,
				finish(0, "generation 1 serves on and this one (2) is not wanted any more, and its time is up")}, phase: over,
		},
		"what was wanted earlier is not believed at once": {
			life: operated, events: []event{begun, want(2, 1, false), want(1, 0, false), want(2, 1, false), late, want(2, 1, true)},
			want: [][]action{nil, nil, {{do: actTimer, wait: unwantedFor}}, nil, nil, {{do: actTake, from: 1, key: "k"}}}, phase: taking,
		},
		"a candidate of a generation that leaves ends, too": {
			life: operated, events: []event{begun, {wish: &wish{generation: 1, leave: true}}, late},
			want: [][]action{nil, {{do: actTimer, wait: unwantedFor}},
				finish(0, "generation 1 serves on and this one (2) is not wanted any more, and its time is up")}, phase: over,
		},
		"an earlier generation's leave is not this one's": {
			life: operated, events: append(cold, event{wish: &wish{generation: 1, leave: true}}), want: append(coldActs, nil), phase: serving,
		},
		"in place it outlives the application": {
			life: operated, events: append(cold, term(20*time.Second), event{appGone: true}, left),
			want: append(coldActs, []action{{do: actTimer, wait: 20 * time.Second}, {do: actWatchApp}},
				[]action{{do: actOffer}, {do: actLeave, why: "the application has gone"}},
				finish(0, "the application has gone, and its last client has gone")), phase: over,
		},
		"in place the grace period is the end": {
			life: operated, events: append(cold, term(20*time.Second), want(3, 2, true), late),
			want: append(coldActs, []action{{do: actTimer, wait: 20 * time.Second}, {do: actWatchApp}}, nil, finish(0, "terminated, and its time is up")), phase: over,
		},
		"standalone it drains": {
			life: life{own: 1}, events: []event{begun, configured, term(time.Second), left},
			want: [][]action{nil, {{do: actServe}}, {{do: actOffer}, {do: actLeave, why: "terminated"}, {do: actTimer, wait: time.Second}},
				finish(0, "terminated, and its last client has gone")}, phase: over,
		},
		"no time left": {
			life: life{own: 1}, events: []event{begun, configured, term(time.Second), term(0)},
			want: [][]action{nil, {{do: actServe}}, {{do: actOffer}, {do: actLeave, why: "terminated"}, {do: actTimer, wait: time.Second}}, finish(0, "terminated")}, phase: over,
		},
		"in a slot only the lock's holder starts cold": {
			life: inSlot, events: []event{begun, configured, want(2, 0, false)}, want: [][]action{nil, nil, nil}, phase: starting,
		},
		"and it asks nobody": {
			life: holder, events: []event{begun, configured}, want: [][]action{nil, {{do: actServe}}}, phase: serving,
		},
		"a slot that had to step in stays, whatever is wished": {
			life: holder, events: []event{begun, configured, want(3, 0, false), want(4, 3, true), want(3, 2, true)},
			want: [][]action{nil, {{do: actServe}}, nil, nil, {{do: actOffer, to: 3, key: "k"}}}, phase: serving,
		},
		"a slot leaves when the file says so, once": {
			life: holder, events: []event{begun, configured, {unserved: true}, {unserved: true}, left},
			want: [][]action{nil, {{do: actServe}}, {{do: actOffer}, {do: actLeave, why: "nobody is to serve this pod"}, {do: actTimer, wait: leaveFor}}, nil,
				finish(0, "nobody is to serve this pod, and its last client has gone")}, phase: over,
		},
		"a failed candidate in a slot lets go of the lock": {
			life: inSlot, events: []event{begun, want(2, 1, true), {taken: &failed, owns: true}},
			want: [][]action{nil, {{do: actTake, from: 1, key: "k"}}, {{do: actUnlock}, {do: actLeave, why: why}, {do: actTimer, wait: lingerFor}}}, phase: lingering,
		},
		"a slot that is terminated serves on until its clients have gone": {
			life: holder, events: []event{begun, configured, term(9 * time.Second), left},
			want: [][]action{nil, {{do: actServe}}, {{do: actOffer}, {do: actLeave, why: "terminated"}, {do: actTimer, wait: 9 * time.Second}},
				finish(0, "terminated, and its last client has gone")}, phase: over,
		},
		"terminated before it served": {
			life: operated, events: []event{begun, term(time.Second)}, want: [][]action{nil, finish(0, "terminated")}, phase: over,
		},
		"terminated in a handover": {
			life: operated, events: []event{begun, want(2, 1, true), term(time.Second), late},
			want: [][]action{nil, {{do: actTake, from: 1, key: "k"}}, {{do: actTimer, wait: time.Second}}, finish(0, "terminated, and its time is up")}, phase: over,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			l := tc.life
			var got [][]action
			for _, e := range tc.events {
				got = append(got, l.step(e))
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(action{})); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			if l.phase != tc.phase {
				t.Errorf("phase %s, want %s", l.phase, tc.phase)
			}
		})
	}
}
