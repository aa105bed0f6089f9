package control

import (
	"cmp"
	"slices"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Said is the latest word of one connected sidecar.
type Said struct {
	Generation int64
	Version    string
	State      *controlv1.State
	Handover   *controlv1.HandoverResult
	// Gone is true when these were its last words: it is not connected any more.
	Gone bool
}

var phases = map[controlv1.State_Phase]axlev1.Phase{
	controlv1.State_STARTING:     axlev1.PhaseStarting,
	controlv1.State_SERVING:      axlev1.PhaseServing,
	controlv1.State_HANDING_OVER: axlev1.PhaseHandingOver,
	controlv1.State_LEAVING:      axlev1.PhaseLeaving,
	controlv1.State_LEFT:         axlev1.PhaseLeft,
}

// Merge folds what the connected sidecars of one pod say into its status. It is pure, and idempotent: merging the same words
// again changes nothing, so that replicas which each hold one side's stream agree without talking.
//
// The serving generation owns everything but Candidate and Joined. Ownership moves up when a later generation says that
// it serves, and back down only when the handover between the two is known to have failed. A generation that is not connected keeps what it last said:
// losing the channel loses nothing but news.
//
// In a pod with slots a term begins with each cold start, and only its lock's holder serves in it: who serves in a later term owns, whatever the
// generations and whatever became of handovers before, and what an earlier term said no longer counts.
func Merge(current axlev1.PodStatus, said []Said) axlev1.PodStatus {
	next := *current.DeepCopy()
	said = slices.Clone(said)
	slices.SortStableFunc(said, func(a, b Said) int {
		return cmp.Or(cmp.Compare(a.State.GetTerm(), b.State.GetTerm()), cmp.Compare(a.Generation, b.Generation))
	})
	for _, s := range said {
		next.Handover = newer(next.Handover, s.Handover)
	}
	for _, s := range said {
		if owns(next, s) {
			own(&next, s)
		}
	}
	for _, s := range said {
		if waits(next, s) {
			next.Candidate = max(next.Candidate, s.Generation)
		}
	}
	if next.Candidate <= next.Generation || failed(next.Handover, next.Candidate) {
		next.Candidate = 0
	}
	if next.Generation == 0 && next.Candidate != 0 {
		next.Phase = axlev1.PhaseStarting
	}
	return next
}

// owns says whether s speaks for the pod.
func owns(status axlev1.PodStatus, s Said) bool {
	phase := s.State.GetPhase()
	switch {
	case phase == controlv1.State_PHASE_UNSPECIFIED, s.State.GetTerm() < status.Term:
		return false
	case s.State.GetTerm() > status.Term && serves(phase):
		return true
	case s.Generation == status.Generation:
		return true
	case s.Generation < status.Generation:
		h := status.Handover
		return phase == controlv1.State_SERVING && h != nil && !h.OK && h.From == s.Generation && h.To == status.Generation
	case failed(status.Handover, s.Generation):
		return false
	}
	switch phase {
	case controlv1.State_SERVING, controlv1.State_LEAVING:
		return true
	case controlv1.State_HANDING_OVER, controlv1.State_LEFT: // nobody else is known: the donor of a pod whose status was lost, or one that served briefly
		return status.Generation == 0
	}
	return false
}

// serves says whether only the one that holds the slots' lock can be in this phase.
func serves(p controlv1.State_Phase) bool {
	return p == controlv1.State_SERVING || p == controlv1.State_HANDING_OVER || p == controlv1.State_LEAVING
}

func own(status *axlev1.PodStatus, s Said) {
	status.Generation, status.Version, status.Restarts = s.Generation, s.Version, s.State.GetRestarts()
	if serves(s.State.GetPhase()) {
		status.Term = s.State.GetTerm()
	}
	status.Phase = phases[s.State.GetPhase()]
	status.Carrying = s.State.GetCarrying()
	status.Listening = slices.Compact(slices.Sorted(slices.Values(s.State.GetListening())))
}

// confirmed answers whether what serves is connected: with what was asked if it is, and with the last answer if it is not.
func confirmed(status axlev1.PodStatus, said []Said, asked int64) int64 {
	for _, s := range said {
		if asked != 0 && !s.Gone && s.Generation == status.Generation && s.State.GetTerm() == status.Term && serves(s.State.GetPhase()) {
			return asked
		}
	}
	return status.Confirmed
}

// waits says whether s is connected and could take over.
func waits(status axlev1.PodStatus, s Said) bool {
	phase := s.State.GetPhase()
	return s.Generation > status.Generation && !failed(status.Handover, s.Generation) &&
		(phase == controlv1.State_STARTING || phase == controlv1.State_HANDING_OVER)
}

func failed(h *axlev1.HandoverResult, to int64) bool {
	return h != nil && !h.OK && h.To == to
}

// newer returns the handover result to keep. Both sides report the same handover, and repeat it after a reconnect: the first word is
// kept, except that success replaces failure (who says DONE knows; who says that it failed may only have missed the end).
func newer(have *axlev1.HandoverResult, got *controlv1.HandoverResult) *axlev1.HandoverResult {
	if got == nil || got.GetTo() == 0 {
		return have
	}
	if have != nil {
		a, b := max(have.From, have.To), max(got.GetFrom(), got.GetTo())
		same := have.From == got.GetFrom() && have.To == got.GetTo()
		if b < a || b == a && (!same || have.OK || !got.GetOk()) {
			return have
		}
	}
	return &axlev1.HandoverResult{
		From: got.GetFrom(), To: got.GetTo(), OK: got.GetOk(),
		Step: bounded(got.GetStep(), 64), Reason: bounded(got.GetReason(), 512),
		Moved: got.GetMoved(), Lost: got.GetLost(),
		FreezeP99Micros: got.GetFreezeP99Micros(), DurationMicros: got.GetDurationMicros(),
	}
}

// bounded cuts a peer's text: it ends up in annotations and conditions.
func bounded(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 { // not inside a rune
		n--
	}
	return s[:n]
}

// sameNews says whether two reports differ in nothing but counters.
func sameNews(a, b *controlv1.Report) bool {
	as, bs := a.GetState(), b.GetState()
	ah, bh := a.GetHandover(), b.GetHandover()
	return as.GetPhase() == bs.GetPhase() && as.GetCarrying() == bs.GetCarrying() &&
		as.GetTerm() == bs.GetTerm() && as.GetRestarts() == bs.GetRestarts() &&
		slices.Equal(as.GetListening(), bs.GetListening()) &&
		ah.GetFrom() == bh.GetFrom() && ah.GetTo() == bh.GetTo() && ah.GetOk() == bh.GetOk()
}
