package control

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

func says(g int64, version string, phase controlv1.State_Phase, ports ...int32) Said {
	return Said{Generation: g, Version: version, State: &controlv1.State{Phase: phase, Listening: ports}}
}

func (s Said) ended(from, to int64, ok bool) Said {
	s.Handover = &controlv1.HandoverResult{From: from, To: to, Ok: ok, Step: "Move", Moved: 7}
	return s
}

func result(from, to int64, ok bool) *axlev1.HandoverResult {
	return &axlev1.HandoverResult{From: from, To: to, OK: ok, Step: "Move", Moved: 7}
}

func TestMerge(t *testing.T) {
	const (
		starting = controlv1.State_STARTING
		serving  = controlv1.State_SERVING
		handing  = controlv1.State_HANDING_OVER
		leaving  = controlv1.State_LEAVING
		left     = controlv1.State_LEFT
	)
	one := axlev1.PodStatus{Joined: "axle-g1", Generation: 1, Version: "v1", Phase: axlev1.PhaseServing, Listening: []int32{15200}}
	with := func(st axlev1.PodStatus, change func(*axlev1.PodStatus)) axlev1.PodStatus {
		st = *st.DeepCopy()
		change(&st)
		return st
	}
	cases := map[string]mergeCase{
		"nobody connected, nothing changes": {current: one, want: one},
		"a first sidecar connects": {
			current: axlev1.PodStatus{Joined: "axle-g1"}, said: []Said{says(1, "v1", starting)},
			want: axlev1.PodStatus{Joined: "axle-g1", Candidate: 1, Phase: axlev1.PhaseStarting},
		},
		"a first sidecar serves, its ports sorted and unique": {
			current: axlev1.PodStatus{Joined: "axle-g1", Candidate: 1, Phase: axlev1.PhaseStarting},
			said:    []Said{says(1, "v1", serving, 15201, 15200, 15201)},
			want:    with(one, func(s *axlev1.PodStatus) { s.Listening = []int32{15200, 15201} }),
		},
		"a candidate connects beside the serving one": {
			current: one, said: []Said{says(2, "v2", starting), says(1, "v1", serving, 15200)},
			want: with(one, func(s *axlev1.PodStatus) { s.Candidate = 2 }),
		},
		"a candidate connects to another replica than the serving one": {
			current: one, said: []Said{says(2, "v2", starting)},
			want: with(one, func(s *axlev1.PodStatus) { s.Candidate = 2 }),
		},
		"in a handover the old one owns phase and ports": {
			current: with(one, func(s *axlev1.PodStatus) { s.Candidate = 2 }),
			said:    []Said{says(1, "v1", handing, 15200), says(2, "v2", handing)},
			want:    with(one, func(s *axlev1.PodStatus) { s.Candidate, s.Phase = 2, axlev1.PhaseHandingOver }),
		},
		"the new one serves, and the old one's last words no longer count": {
			current: with(one, func(s *axlev1.PodStatus) { s.Candidate, s.Phase = 2, axlev1.PhaseHandingOver }),
			said:    []Said{says(1, "v1", handing, 15200), says(2, "v2", serving, 15200).ended(1, 2, true)},
			want: axlev1.PodStatus{Joined: "axle-g1", Generation: 2, Version: "v2", Phase: axlev1.PhaseServing,
				Listening: []int32{15200}, Handover: result(1, 2, true)},
		},
		"a failed handover leaves the old one serving and drops the candidate, even if it still says starting": {
			current: with(one, func(s *axlev1.PodStatus) { s.Candidate, s.Phase = 2, axlev1.PhaseHandingOver }),
			said:    []Said{says(1, "v1", serving, 15200).ended(1, 2, false), says(2, "v2", starting)},
			want:    with(one, func(s *axlev1.PodStatus) { s.Handover = result(1, 2, false) }),
		},
		"a failed candidate that claims to serve is not believed": {
			current: with(one, func(s *axlev1.PodStatus) { s.Handover = result(1, 2, false) }),
			said:    []Said{says(2, "v2", serving, 15200)},
			want:    with(one, func(s *axlev1.PodStatus) { s.Handover = result(1, 2, false) }),
		},
		"the old one takes back what a failed candidate had claimed": {
			current: with(one, func(s *axlev1.PodStatus) { s.Generation, s.Version = 2, "v2" }),
			said:    []Said{says(1, "v1", serving, 15200).ended(1, 2, false)},
			want:    with(one, func(s *axlev1.PodStatus) { s.Handover = result(1, 2, false) }),
		},
		"success replaces a failure that only one side saw": {
			current: with(one, func(s *axlev1.PodStatus) { s.Handover = result(1, 2, false) }),
			said:    []Said{says(2, "v2", serving, 15200).ended(1, 2, true)},
			want: with(one, func(s *axlev1.PodStatus) {
				s.Generation, s.Version, s.Handover = 2, "v2", result(1, 2, true)
			}),
		},
		"a result is recorded once: the second side changes nothing": {
			current: with(one, func(s *axlev1.PodStatus) { s.Handover = result(0, 1, true) }),
			said: []Said{{Generation: 1, Version: "v1", State: &controlv1.State{Phase: serving, Listening: []int32{15200}},
				Handover: &controlv1.HandoverResult{From: 0, To: 1, Ok: true, Moved: 99}}},
			want: with(one, func(s *axlev1.PodStatus) { s.Handover = result(0, 1, true) }),
		},
		"an old result that is repeated after a reconnect does not replace a newer one": {
			current: with(one, func(s *axlev1.PodStatus) { s.Generation, s.Version, s.Handover = 3, "v3", result(2, 3, true) }),
			said:    []Said{says(2, "v2", serving, 15200).ended(1, 2, true)},
			want:    with(one, func(s *axlev1.PodStatus) { s.Generation, s.Version, s.Handover = 3, "v3", result(2, 3, true) }),
		},
		"a proxy that its supervisor restarts is starting, with no port open": {
			current: one, said: []Said{says(1, "v1", starting)},
			want: with(one, func(s *axlev1.PodStatus) { s.Phase, s.Listening = axlev1.PhaseStarting, nil }),
		},
		"a leaving one stays the owner": {
			current: one, said: []Said{says(1, "v1", leaving, 15200)},
			want: with(one, func(s *axlev1.PodStatus) { s.Phase = axlev1.PhaseLeaving }),
		},
		"one that left listens nowhere": {
			current: one, said: []Said{says(1, "v1", left)},
			want: with(one, func(s *axlev1.PodStatus) { s.Phase, s.Listening = axlev1.PhaseLeft, nil }),
		},
		"a leftover that never served and left owns nothing": {
			current: one, said: []Said{says(2, "v2", left)}, want: one,
		},
		"one that served and left before anyone wrote it down": {
			said: []Said{says(1, "v1", left)}, want: axlev1.PodStatus{Generation: 1, Version: "v1", Phase: axlev1.PhaseLeft},
		},
		"a cold start after all earlier generations ended": {
			current: one, said: []Said{says(4, "v2", serving, 15200)},
			want: with(one, func(s *axlev1.PodStatus) { s.Generation, s.Version = 4, "v2" }),
		},
		"a status that someone deleted comes back in the middle of a handover": {
			said: []Said{says(2, "v2", handing), says(1, "v1", handing, 15200)},
			want: axlev1.PodStatus{Generation: 1, Version: "v1", Phase: axlev1.PhaseHandingOver, Listening: []int32{15200}, Candidate: 2},
		},
	}
	checkMerge(t, cases)
}

func TestMergeOfTerms(t *testing.T) {
	const (
		starting = controlv1.State_STARTING
		serving  = controlv1.State_SERVING
		handing  = controlv1.State_HANDING_OVER
		left     = controlv1.State_LEFT
	)
	in := func(term int64, s Said) Said {
		s.State.Term = term
		return s
	}
	two := axlev1.PodStatus{Term: 1, Generation: 2, Version: "v1", Phase: axlev1.PhaseServing, Listening: []int32{15200}}
	one := axlev1.PodStatus{Term: 2, Generation: 1, Version: "v1", Phase: axlev1.PhaseServing, Listening: []int32{15200}}
	with := func(st axlev1.PodStatus, change func(*axlev1.PodStatus)) axlev1.PodStatus {
		st = *st.DeepCopy()
		change(&st)
		return st
	}
	checkMerge(t, map[string]mergeCase{
		"the first term": {said: []Said{in(1, says(2, "v1", serving, 15200))}, want: two},
		"a lower generation serves in a later term, whatever the dead one said last": {
			current: two, said: []Said{in(1, says(2, "v1", serving, 15200)), in(2, says(1, "v1", serving, 15200))}, want: one,
		},
		"what an earlier term said does not come back": {current: one, said: []Said{in(1, says(2, "v1", serving, 15200))}, want: one},
		"even of the same generation": {
			current: with(one, func(s *axlev1.PodStatus) { s.Term = 3 }), said: []Said{in(2, says(1, "v1", left))},
			want: with(one, func(s *axlev1.PodStatus) { s.Term = 3 }),
		},
		"a candidate whose handover failed serves in a later term": {
			current: with(two, func(s *axlev1.PodStatus) { s.Handover = result(2, 3, false) }),
			said:    []Said{in(2, says(3, "v2", serving, 15200))},
			want: with(two, func(s *axlev1.PodStatus) {
				s.Term, s.Generation, s.Version, s.Handover = 2, 3, "v2", result(2, 3, false)
			}),
		},
		"a start in a later term owns nothing yet": {
			current: with(one, func(s *axlev1.PodStatus) { s.Term = 1 }), said: []Said{in(2, says(2, "v1", starting))},
			want: with(one, func(s *axlev1.PodStatus) { s.Term, s.Candidate = 1, 2 }),
		},
		"a candidate that left owns nothing": {current: one, said: []Said{in(3, says(3, "v2", left))}, want: one},
		"within a term generations decide": {
			current: one, said: []Said{in(2, says(1, "v1", handing, 15200)), in(2, says(2, "v1", serving, 15200).ended(1, 2, true))},
			want: with(one, func(s *axlev1.PodStatus) { s.Generation, s.Handover = 2, result(1, 2, true) }),
		},
		"restarts of the proxy": {
			current: one, said: []Said{{Generation: 1, Version: "v1", State: &controlv1.State{Phase: serving, Listening: []int32{15200}, Term: 2, Restarts: 3}}},
			want: with(one, func(s *axlev1.PodStatus) { s.Restarts = 3 }),
		},
	})
}

type mergeCase struct {
	current axlev1.PodStatus
	said    []Said
	want    axlev1.PodStatus
}

func checkMerge(t *testing.T, cases map[string]mergeCase) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := *tc.current.DeepCopy()
			got := Merge(tc.current, tc.said)
			if diff := cmp.Diff(normal(tc.want), normal(got)); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(got, Merge(got, tc.said)); diff != "" {
				t.Errorf("merging the same words again changed it:\n%s", diff)
			}
			if diff := cmp.Diff(before, tc.current); diff != "" {
				t.Errorf("the input was changed:\n%s", diff)
			}
		})
	}
}

func TestSameNews(t *testing.T) {
	base := func() *controlv1.Report {
		return &controlv1.Report{
			State:    &controlv1.State{Phase: controlv1.State_SERVING, Listening: []int32{1}, Requests: 5},
			Handover: &controlv1.HandoverResult{From: 1, To: 2, Ok: true},
		}
	}
	cases := map[string]struct {
		change func(*controlv1.Report)
		same   bool
	}{
		"counters":       {func(r *controlv1.Report) { r.State.Requests, r.State.Connections, r.State.Errors = 9, 9, 9 }, true},
		"phase":          {func(r *controlv1.Report) { r.State.Phase = controlv1.State_LEAVING }, false},
		"ports":          {func(r *controlv1.Report) { r.State.Listening = nil }, false},
		"a term":         {func(r *controlv1.Report) { r.State.Term = 2 }, false},
		"a restart":      {func(r *controlv1.Report) { r.State.Restarts = 2 }, false},
		"carrying":       {func(r *controlv1.Report) { r.State.Carrying = true }, false},
		"a handover":     {func(r *controlv1.Report) { r.Handover.To = 3 }, false},
		"another ending": {func(r *controlv1.Report) { r.Handover.Ok = false }, false},
	}
	for name, tc := range cases {
		r := base()
		tc.change(r)
		if got := sameNews(base(), r); got != tc.same {
			t.Errorf("%s: same = %v, want %v", name, got, tc.same)
		}
	}
}

func TestBoundedKeepsRunesWhole(t *testing.T) {
	if got := bounded("päy", 2); got != "p" {
		t.Errorf("bounded = %q, want %q", got, "p")
	}
	if got := bounded("pay", 3); got != "pay" {
		t.Errorf("bounded = %q, want %q", got, "pay")
	}
}

func TestConfirmed(t *testing.T) {
	status := axlev1.PodStatus{Generation: 3, Term: 2, Confirmed: 7}
	said := func(generation, term int64, phase controlv1.State_Phase, gone bool) []Said {
		return []Said{{Generation: generation, State: &controlv1.State{Phase: phase, Term: term}, Gone: gone}}
	}
	cases := map[string]struct {
		said  []Said
		asked int64
		want  int64
	}{
		"what serves is connected":         {said(3, 2, controlv1.State_SERVING, false), 8, 8},
		"it was":                           {said(3, 2, controlv1.State_SERVING, true), 8, 7},
		"it has served in an earlier term": {said(3, 1, controlv1.State_SERVING, false), 8, 7},
		"it waits to serve":                {said(3, 2, controlv1.State_STARTING, false), 8, 7},
		"another one is connected":         {said(2, 2, controlv1.State_SERVING, false), 8, 7},
		"nobody is":                        {nil, 8, 7},
		"nobody asked":                     {said(3, 2, controlv1.State_SERVING, false), 0, 7},
	}
	for name, tc := range cases {
		if got := confirmed(status, tc.said, tc.asked); got != tc.want {
			t.Errorf("%s: confirmed %d, want %d", name, got, tc.want)
		}
	}
}
