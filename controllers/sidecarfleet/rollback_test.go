package sidecarfleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

func goesBack(f *Fleet) { f.Rollback = true }

func lostSome(p *Pod)              { p.Status.Handover.Lost = 3 }
func restarted(times int64) change { return func(p *Pod) { p.Status.Restarts = times } }
func stoppedBy(k Kind) func(*Fleet) {
	return func(f *Fleet) { f.Stopped, f.StoppedBy = string(k)+": payments/gone: it did", string(k) }
}
func inAttempt(n int64) func(*Fleet) { return func(f *Fleet) { f.Generation, f.Attempt = n, n } }

// upgraded is a pod that v2 came to by a handover.
func upgraded(name string, changes ...change) Pod {
	all := []change{wants(2, "v2", 0, false, 0), has(2), serves(2, "v2"), ended(1, 2, true), ends(1, 0)}
	return pod(name, append(all, changes...)...)
}

// failedPod could not be upgraded to v2.
func failedPod(name string, changes ...change) Pod {
	return pod(name, append([]change{has(2, exited(1, "Error")), ended(1, 2, false), failedOn(2, "v2", 2)}, changes...)...)
}

// suspect says that the generation that serves is on record as a failure.
func suspect(kind Kind, attempt int64) change {
	return func(p *Pod) {
		p.Desired.Failed = &axlev1.PodFailure{Generation: p.Status.Generation, Version: p.Status.Version, Attempt: attempt, Message: string(kind) + ": it did"}
	}
}

// suspectOf is the same of a generation that does not serve.
func suspectOf(kind Kind, generation int64, version string) change {
	return func(p *Pod) {
		p.Desired.Failed = &axlev1.PodFailure{Generation: generation, Version: version, Attempt: 2, Message: string(kind) + ": it did"}
	}
}

// crashed has slots that died on record.
func crashed(version string, slots int64, since time.Duration) change {
	return func(p *Pod) {
		p.Desired.Crashes = &axlev1.PodCrashes{Version: version, Slots: slots, Since: *at(since)}
	}
}

// crashedSince has crashes counted from so many restarts on.
func crashedSince(since time.Duration, restarts int64) change {
	return func(p *Pod) {
		p.Desired.Crashes = &axlev1.PodCrashes{Version: p.Status.Version, Since: *at(since), Generation: p.Status.Generation, Restarts: restarts}
	}
}

func TestRollback(t *testing.T) {
	cases := map[string]struct {
		fleet Fleet
		pods  []Pod
		now   time.Duration
		want  []string
		// stands are Progressing, Degraded and RolledBack; says is part of RolledBack's message, or of Degraded's.
		stands, says string
	}{
		"pods that run a version which failed go back, as many at once as the fleet allows": {
			fleet: fleet(goesBack), pods: []Pod{failedPod("a"), upgraded("b"), upgraded("c"), pod("d")},
			want:   []string{"Upgrading b g3 v1 from g2 +stub"},
			stands: "True/RollingBack True/HandoverFailed False/RollingBack", says: "pods that run it go back to v1: 2 to go",
		},
		"steps and their pauses do not hold the way back": {
			fleet:  fleet(goesBack, upTo("5"), func(f *Fleet) { f.Steps = []axlev1.UpdateStep{{Percent: 1}, {Percent: 100}} }),
			pods:   []Pod{failedPod("a"), upgraded("b"), upgraded("c")},
			want:   []string{"Upgrading b g3 v1 from g2 +stub", "Upgrading c g3 v1 from g2 +stub"},
			stands: "True/RollingBack True/HandoverFailed False/RollingBack",
		},
		"a candidate on its way back is let in": {
			fleet: fleet(goesBack), pods: []Pod{failedPod("a"), upgraded("b", wants(3, "v1", 2, false, 0), has(3), candidate(3))},
			want:   []string{"HandoverBegun b g3 v1 from g2 begin"},
			stands: "True/RollingBack True/HandoverFailed False/RollingBack",
		},
		"a candidate that has not begun is sent home": {
			fleet: fleet(goesBack), pods: []Pod{failedPod("a"), pod("b", wants(2, "v2", 1, false, 0), has(2), candidate(2))},
			want:   []string{"Settled b g1 v1"},
			stands: "False/RolledBack True/HandoverFailed True/RolloutFailed",
		},
		"a handover that has begun ends first": {
			fleet: fleet(goesBack, upTo("5")), pods: []Pod{failedPod("a"), pod("b", wants(2, "v2", 1, true, 0), has(2), candidate(2))},
			stands: "True/RollingBack True/HandoverFailed False/RollingBack",
		},
		"when no pod runs it the rollout is rolled back, and says what to do": {
			fleet: fleet(goesBack), pods: []Pod{failedPod("a"), pod("b", wants(3, "v1", 0, false, 0), has(3), serves(3, "v1"))},
			stands: "False/RolledBack True/HandoverFailed True/RolloutFailed",
			says:   `HandoverFailed: it did. The rollout of v2 has stopped; no pod runs it, and spec.version still names it. To settle for v1: kubectl patch sidecarfleet default --type merge -p '{"spec":{"version":"v1"}}'. To try again: kubectl axle rollout retry default, or: kubectl annotate --overwrite sidecarfleet default axlemesh.io/retry=v2/3.`,
		},
		"it stays so when the pod that failed is gone, and new pods get what the others run": {
			fleet: fleet(goesBack, stoppedBy(Fail)), pods: []Pod{pod("a"), pod("b", bare)},
			want:   []string{"Injecting b g1 v1 +stub"},
			stands: "False/RolledBack True/HandoverFailed True/RolloutFailed", says: "payments/gone",
		},
		"the way back goes on when the pod that failed is gone": {
			fleet: fleet(goesBack, stoppedBy(Fail)), pods: []Pod{pod("a"), upgraded("b")},
			want:   []string{"Upgrading b g3 v1 from g2 +stub"},
			stands: "True/RollingBack True/HandoverFailed False/RollingBack",
		},
		"a pod on a third version is not touched": {
			fleet: fleet(goesBack, stoppedBy(Fail), wantsV("v3")), pods: []Pod{pod("a"), upgraded("b")},
			stands: "False/RolledBack True/HandoverFailed True/RolloutFailed",
		},
		"a pinned pod stays where it is": {
			fleet: fleet(goesBack, stoppedBy(Fail)), pods: []Pod{pod("a"), upgraded("b", func(p *Pod) { p.Pin = "v2" })},
			stands: "False/RolledBack True/HandoverFailed True/RolloutFailed",
		},
		"with onFailure Pause nothing goes back": {
			fleet: fleet(), pods: []Pod{failedPod("a"), upgraded("b")},
			stands: "False/Stopped True/HandoverFailed False/NotRolledBack", says: "onFailure is Pause",
		},
		"a first version has nothing before it": {
			fleet: fleet(goesBack, first), pods: []Pod{pod("a", bare, wants(1, "v1", 0, false, 0), has(1, pulls), failedOn(1, "v1", 2)), pod("b", bare)},
			stands: "False/Stopped True/SidecarFailed False/NotRolledBack", says: "no version before",
		},
		"a version that is gone is nothing to go back to": {
			fleet: fleet(goesBack, func(f *Fleet) { f.Current = "v0" }), pods: []Pod{failedPod("a", runs("v0")), upgraded("b")},
			stands: "False/Stopped True/HandoverFailed False/NotRolledBack", says: `SidecarVersion "v0" does not exist`,
		},
		"a pod that could not start with the version starts with the one before": {
			fleet: fleet(goesBack), pods: []Pod{pod("a", bare, wants(1, "v2", 0, false, 0), has(1, pulls), failedOn(1, "v2", 2))},
			want:   []string{"Injecting a g2 v1 (failed g1 v2) +stub"},
			stands: "False/RolledBack True/SidecarFailed True/RolloutFailed",
		},
		"a way back that fails is written down": {
			fleet: fleet(goesBack, stoppedBy(Fail)), pods: []Pod{upgraded("b", wants(3, "v1", 2, true, 0), has(3, exited(1, "Error")), ended(2, 3, false)), upgraded("c")},
			want:   []string{"HandoverFailed b g2 v2 (failed g3 v1)"},
			stands: "False/RollbackFailed True/HandoverFailed False/RollbackFailed", says: "and going back to v1 as well: 2 pods still run v2; HandoverFailed: payments/b: axle-g3 (v1) failed in Move",
		},
		"and stops": {
			fleet: fleet(goesBack, stoppedBy(Fail)), pods: []Pod{upgraded("b", has(3, exited(1, "Error")), failedOn(3, "v1", 2)), upgraded("c")},
			stands: "False/RollbackFailed True/HandoverFailed False/RollbackFailed", says: "payments/gone: it did. The rollout of v2 has stopped, and going back",
		},
		"a pod for which there is no room to go back is said": {
			fleet: fleet(goesBack, stoppedBy(Fail), func(f *Fleet) { f.MaxGenerations = 2 }), pods: []Pod{upgraded("b"), pod("c")},
			want:   []string{"Skipped b"},
			stands: "False/RollbackFailed True/HandoverFailed False/RollbackFailed", says: "maxGenerations",
		},

		// A person steps in.
		"undo while it goes back: the current version is wanted anyway": {
			fleet: fleet(goesBack, wantsV("v1"), inAttempt(3)), pods: []Pod{failedPod("a"), upgraded("b"), upgraded("c", wants(3, "v1", 2, false, 0), has(3), candidate(3))},
			want: []string{"HandoverBegun c g3 v1 from g2 begin"}, stands: "True/Upgrading False/Healthy False/NotNeeded",
		},
		"another version while it goes back takes over": {
			fleet: fleet(goesBack, wantsV("v3"), inAttempt(3)), pods: []Pod{failedPod("a"), upgraded("b", wants(3, "v1", 2, false, 0), has(3), candidate(3))},
			want: []string{"Settled b g2 v2", "Upgrading a g3 v3 from g1 +stub"}, stands: "True/Upgrading False/Healthy False/NotNeeded",
		},
		"a pause holds the way back and forgets nothing": {
			fleet:  fleet(goesBack, isPaused, stoppedBy(Fail), func(f *Fleet) { f.Generation = 3 }),
			pods:   []Pod{failedPod("a"), upgraded("b"), pod("c")},
			stands: "False/RollingBack True/HandoverFailed False/RollingBack", says: "1 to go",
		},
		"and it goes on afterwards": {
			fleet:  fleet(goesBack, stoppedBy(Fail), func(f *Fleet) { f.Generation = 4 }),
			pods:   []Pod{failedPod("a"), upgraded("b"), pod("c")},
			want:   []string{"Upgrading b g3 v1 from g2 +stub"},
			stands: "True/RollingBack True/HandoverFailed False/RollingBack",
		},
		"a retry tries again": {
			fleet: fleet(goesBack, inAttempt(3)), pods: []Pod{failedPod("a"), pod("b")},
			want: []string{"Upgrading a g3 v2 from g1 +stub"}, stands: "True/Upgrading False/Healthy False/NotNeeded",
		},
		"a change during the first rollout replaces it, and the old version was nobody's": {
			fleet: fleet(goesBack, wantsV("v3"), inAttempt(3)), pods: []Pod{upgraded("a"), pod("b")},
			want: []string{"Upgrading a g3 v3 from g2 +stub"}, stands: "True/Upgrading False/Healthy False/NotNeeded",
		},

		// Evidence.
		"lost connections are written down": {
			fleet: fleet(goesBack), pods: []Pod{upgraded("a", lostSome), pod("b")},
			want:   []string{"ConnectionsLost a g2 v2 (failed g2 v2)"},
			stands: "True/RollingBack True/ConnectionsLost False/RollingBack", says: "payments/a: axle-g2 (v2) took over from axle-g1, and the sidecars report lost connections: 3, beside 100 that moved.",
		},
		"and the pod that reported them goes back with the reason": {
			fleet: fleet(goesBack), pods: []Pod{upgraded("a", lostSome, suspect(Lost, 2)), pod("b")},
			want:   []string{"Upgrading a g3 v1 from g2 (failed g2 v2) +stub"},
			stands: "True/RollingBack True/ConnectionsLost False/RollingBack",
		},
		"which stays with it": {
			fleet: fleet(goesBack), pods: []Pod{upgraded("a", wants(3, "v1", 0, false, 0), failedOn(2, "v2", 2), has(3), serves(3, "v1")), pod("b")},
			stands: "False/RolledBack True/HandoverFailed True/RolloutFailed",
		},
		"lost connections that are tolerated stop nothing": {
			fleet: fleet(goesBack, func(f *Fleet) { f.FailedHandovers = 1 }), pods: []Pod{upgraded("a", lostSome, suspect(Lost, 2)), pod("b")},
			want:   []string{"Upgrading b g2 v2 from g1 +stub"},
			stands: "True/Upgrading True/ConnectionsLost False/NotNeeded",
		},
		"what is on record of an earlier spec does not count again": {
			fleet: fleet(goesBack, inAttempt(3)), pods: []Pod{upgraded("a", lostSome, suspect(Lost, 2)), pod("b")},
			want:   []string{"Upgrading b g2 v2 from g1 +stub"},
			stands: "True/Upgrading False/Healthy False/NotNeeded",
		},
		"lost connections of a rollout that is over do not stop it afterwards": {
			fleet: fleet(goesBack, func(f *Fleet) { f.Current = "v2" }), pods: []Pod{upgraded("a", lostSome)},
			stands: "False/Complete False/Healthy False/NotNeeded",
		},
		"a proxy that is restarted again and again is written down": {
			fleet: fleet(goesBack), pods: []Pod{upgraded("a", restarted(3)), pod("b")}, now: 9 * minute,
			want:   []string{"CrashLooping a g2 v2 (failed g2 v2)"},
			stands: "True/RollingBack True/CrashLooping False/RollingBack", says: "axle-g2 (v2) crashed 3 times within 10m0s",
		},
		"a restart now and then is not": {
			fleet: fleet(goesBack), pods: []Pod{upgraded("a", restarted(2)), upgraded("b", restarted(3), func(p *Pod) { p.Desired.Since = at(-minute) })}, now: 9 * minute,
			want:   []string{"Settled b g2 v2"},
			stands: "False/Complete False/Healthy False/NotNeeded",
		},
		"one whose rollout is over is said as well, and stops nothing": {
			fleet: fleet(goesBack, func(f *Fleet) { f.Current = "v2" }), pods: []Pod{upgraded("a", restarted(33), crashedSince(0, 30)), pod("b", bare)}, now: minute,
			want:   []string{"CrashLooping a g2 v2 (failed g2 v2)", "Injecting b g1 v2 +stub"},
			stands: "True/Injecting True/CrashLooping False/NotNeeded", says: "axle-g2 (v2) crashed 3 times within 10m0s",
		},
		"it is said until it was quiet for a deadline": {
			fleet: fleet(goesBack, func(f *Fleet) { f.Current = "v2" }), pods: []Pod{upgraded("a", restarted(34), suspect(Crash, 2), crashedSince(0, 33))}, now: 10 * minute,
			want:   []string{"Settled a g2 v2 (failed g2 v2)"},
			stands: "False/Complete True/CrashLooping False/NotNeeded",
		},
		"and then no more": {
			fleet: fleet(goesBack, func(f *Fleet) { f.Current = "v2" }), pods: []Pod{upgraded("a", restarted(33), suspect(Crash, 2), crashedSince(0, 33))}, now: 10 * minute,
			want:   []string{"Settled a g2 v2"},
			stands: "False/Complete True/CrashLooping False/NotNeeded",
		},

		// The operator was away.
		"an operator that comes back waits for sidecars that did not find it": {
			fleet: fleet(goesBack, awakeSince(11*minute)), pods: []Pod{pod("a", wants(2, "v2", 1, false, 0), has(2)), upgraded("b")}, now: 11 * minute,
			stands: "True/Upgrading False/Healthy False/NotNeeded",
		},
		"and for the news of a handover": {
			fleet: fleet(goesBack, awakeSince(11*minute)), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2), candidate(2), ends(1, 0)), upgraded("b")}, now: 11 * minute,
			stands: "True/Injecting False/Healthy False/NotNeeded",
		},
		"and for the last words of a candidate": {
			fleet: fleet(goesBack, awakeSince(11*minute)), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), candidate(2), has(2, exited(1, "Error"), func(s *sidecars.Sidecar) { s.Ended = t0 })), upgraded("b")},
			now: 11 * minute, stands: "True/Upgrading False/Healthy False/NotNeeded",
		},
		"as long as ever": {
			fleet: fleet(awakeSince(11 * minute)), pods: []Pod{pod("a", wants(2, "v2", 1, false, 0), has(2)), upgraded("b")}, now: 21*minute + reconnects,
			want:   []string{"HandoverFailed a g1 v1 (failed g2 v2)"},
			stands: "False/Stopped True/HandoverFailed False/NotRolledBack",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			seen := Observed{Fleet: tc.fleet, Versions: versions(), Pods: tc.pods}
			steps, _ := Plan(t0.Add(tc.now), seen)
			var got []string
			for _, s := range steps {
				got = append(got, say(s))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			status := Summarize(t0.Add(tc.now), seen, axlev1.SidecarFleetStatus{CurrentVersion: tc.fleet.Current, UpdateVersion: tc.fleet.Version}, nil)
			var stands []string
			said := ""
			for _, kind := range []string{axlev1.ConditionProgressing, axlev1.ConditionDegraded, axlev1.ConditionRolledBack} {
				c := meta.FindStatusCondition(status.Conditions, kind)
				stands = append(stands, fmt.Sprintf("%s/%s", c.Status, c.Reason))
				said += c.Message + "\n"
			}
			if got := strings.Join(stands, " "); got != tc.stands {
				t.Errorf("stands %s, want %s", got, tc.stands)
			}
			if !strings.Contains(said, tc.says) {
				t.Errorf("said:\n%s\nwant in it: %s", said, tc.says)
			}
		})
	}
}

// What stopped a rollout is read back from the status alone, by an operator that has just started.
func TestAStopOutlivesTheOperator(t *testing.T) {
	f := &axlev1.SidecarFleet{}
	f.Name, f.Generation, f.Spec.Version = "default", 2, "v2"
	_, hash := f.Try()
	seen := Observed{Fleet: fleet(goesBack, func(f *Fleet) { f.Hash = hash }), Versions: versions(), Pods: []Pod{failedPod("a"), upgraded("b")}}
	f.Status = Summarize(t0, seen, axlev1.SidecarFleetStatus{CurrentVersion: "v1"}, nil)
	facts := fleetFacts(f)
	if facts.Stopped != "HandoverFailed: it did" || facts.StoppedBy != "HandoverFailed" || !facts.Rollback {
		t.Errorf("read back %q by %q", facts.Stopped, facts.StoppedBy)
	}
	seen.Fleet.Stopped, seen.Fleet.StoppedBy, seen.Pods = facts.Stopped, facts.StoppedBy, []Pod{pod("b")}
	f.Status = Summarize(t0, seen, f.Status, nil)
	if again := fleetFacts(f); again.Stopped != facts.Stopped {
		t.Errorf("after the way back: read back %q", again.Stopped)
	}
	f.Generation, f.Spec.Paused = 3, true
	if facts := fleetFacts(f); facts.Stopped == "" || facts.Attempt != 2 {
		t.Errorf("paused, it is forgotten: attempt %d", facts.Attempt)
	}
	f.Annotations = map[string]string{axlev1.RetryAnnotation: "v2/3"}
	if facts := fleetFacts(f); facts.Stopped != "" || facts.Attempt != 3 {
		t.Errorf("attempt %d is held by %q", facts.Attempt, facts.Stopped)
	}
}

func TestPromoted(t *testing.T) {
	for annotation, want := range map[string]int{
		"v2/1@3": 1, "v2/12@3": 12, "v1/1@3": 0, "v2/1@2": 0, "v2/1": 0, "v2": 0, "v2/": 0, "v2/x@3": 0, "v2/-1@3": 0, "v2/1/2@3": 0, "v2/1@": 0, "": 0,
	} {
		f := &axlev1.SidecarFleet{}
		f.Spec.Version, f.Annotations = "v2", map[string]string{axlev1.PromoteAnnotation: annotation}
		if got := promoted(f, 3); got != want {
			t.Errorf("%q promotes step %d, want %d", annotation, got, want)
		}
	}
}
