package sidecarfleet

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

func since(d time.Duration) func(*Fleet) { return func(f *Fleet) { f.StepSince = t0.Add(d) } }

func TestARolloutThatStandsStillSaysSo(t *testing.T) {
	held := func(p *Pod) { down(&p.Sidecars[len(p.Sidecars)-1]) }
	cases := map[string]struct {
		fleet Fleet
		pods  []Pod
		pulls []Pull
		now   time.Duration
		// stands is the Progressing condition, says a part of its message.
		stands, says string
	}{
		"not before the deadline": {
			fleet: fleet(since(0)), pods: []Pod{upgraded("a"), slotPod("b", held)}, now: 9 * minute, stands: "True/Upgrading",
		},
		"a slot that is down": {
			fleet: fleet(since(0)), pods: []Pod{upgraded("a"), slotPod("b", held)}, now: 10 * minute, stands: "False/ProgressDeadlineExceeded",
			says: "1 of 2 pods serve with v2. Nothing has moved for 10m0s or longer. It waits for payments/b: axle-a (v1), which serves, is down",
		},
		"a slot that the operator does not hear of": {
			fleet: fleet(since(0)), pods: []Pod{upgraded("a"), slotPod("b", asksAt(0))}, now: 10 * minute, stands: "False/ProgressDeadlineExceeded",
			says: "It waits for payments/b: axle-a (v1), which serves, is not connected to the operator",
		},
		"nodes that do not take the pods that pull": {
			fleet: fleet(prepulls, since(0)), pods: []Pod{upgraded("a"), slotPod("b"), slotPod("c", on("node-2"))},
			pulls: []Pull{pull("v2", "node-1", unseen), pull("v2", "node-2", turnedAway, onceMore(9*minute+50*time.Second))}, now: 10 * minute,
			stands: "False/ProgressDeadlineExceeded", says: "payments/b: Blocked: node node-1 has not started the pod that pulls the image of v2, for 10m0s or longer",
		},
		"pods that are blocked, no more than three of them by name": {
			fleet: fleet(since(0), func(f *Fleet) { f.MaxGenerations = 1 }), pods: []Pod{pod("a"), pod("b"), pod("c"), pod("d"), pod("e")}, now: 10 * minute,
			stands: "False/ProgressDeadlineExceeded", says: "payments/c: Blocked: 1 sidecars were added to this pod in its life, and spec.inPlace.maxGenerations is 1; replace the pod; and 2 more pods",
		},
		"an old sidecar that does not end": {
			fleet: fleet(wantsV("v3"), since(-time.Hour)), pods: []Pod{upgraded("a", wants(2, "v2", 1, true, 0), func(p *Pod) { p.Sidecars[0].Running, p.Sidecars[0].Terminated = true, false })}, now: 9 * minute,
			stands: "False/ProgressDeadlineExceeded", says: "payments/a: axle-g1 has handed over and has not ended",
		},
		"a failure that is tolerated": {
			fleet: fleet(since(0), func(f *Fleet) { f.FailedHandovers = 1 }), pods: []Pod{failedPod("a"), upgraded("b")}, now: 10 * minute,
			stands: "False/ProgressDeadlineExceeded", says: "It waits for payments/a: HandoverFailed: it did",
		},
		"an upgrade that was begun in time": {
			fleet: fleet(since(0)), pods: []Pod{upgraded("a", wants(2, "v2", 0, false, 5*minute)), slotPod("b", held)}, now: 10 * minute, stands: "True/Upgrading",
		},
		"something moves now": {
			fleet: fleet(since(0)), pods: []Pod{upgraded("a"), pod("b")}, now: time.Hour, stands: "True/Upgrading",
		},
		"a pause of a step is no standstill": {
			fleet: fleet(halfway, func(f *Fleet) { f.Steps[0].Pause.Duration = time.Hour }), pods: []Pod{upgraded("a"), slotPod("b", held)}, now: 30 * minute, stands: "True/StepPause",
		},
		"the deadline counts from its end": {
			fleet: fleet(halfway), pods: []Pod{upgraded("a"), slotPod("b", held)}, now: 14 * minute, stands: "True/Upgrading",
		},
		"and no longer": {
			fleet: fleet(halfway), pods: []Pod{upgraded("a"), slotPod("b", held)}, now: 15 * minute, stands: "False/ProgressDeadlineExceeded",
		},
		"a paused fleet is paused": {
			fleet: fleet(since(0), isPaused), pods: []Pod{upgraded("a"), slotPod("b", held)}, now: time.Hour, stands: "False/Paused",
		},
		"nor does time count in which no operator was there": {
			fleet: fleet(since(0), awakeSince(time.Hour)), pods: []Pod{upgraded("a"), slotPod("b", held)}, now: time.Hour + minute, stands: "True/Upgrading",
		},
		"a rollout that is over stands": {
			fleet: fleet(since(0)), pods: []Pod{upgraded("a")}, now: time.Hour, stands: "False/Complete",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			seen := Observed{Fleet: tc.fleet, Versions: versions(), Pods: tc.pods, Pulls: tc.pulls}
			status := Summarize(t0.Add(tc.now), seen, axlev1.SidecarFleetStatus{CurrentVersion: "v1", UpdateVersion: tc.fleet.Version, Attempt: 2}, nil)
			c := meta.FindStatusCondition(status.Conditions, axlev1.ConditionProgressing)
			if got := string(c.Status) + "/" + c.Reason; got != tc.stands || !strings.Contains(c.Message, tc.says) {
				t.Errorf("progressing %s: %s; want %s with %q", got, c.Message, tc.stands, tc.says)
			}
		})
	}
}

// It is looked at again when the deadline is over, though nothing happens.
func TestAStandstillIsLookedFor(t *testing.T) {
	seen := Observed{Fleet: fleet(since(minute)), Versions: versions(), Pods: []Pod{upgraded("a"), slotPod("b", func(p *Pod) { down(&p.Sidecars[1]) })}}
	if steps, wake := Plan(t0.Add(2*minute), seen); len(steps) != 0 || wake != 9*minute {
		t.Errorf("steps %v, wake in %s; want none, and in 9m", steps, wake)
	}
}
