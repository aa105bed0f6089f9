package sidecarfleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

func TestPlan(t *testing.T) {
	cases := map[string]struct {
		fleet Fleet
		pods  []Pod
		now   time.Duration
		want  []string
		wake  time.Duration
	}{
		"nothing to do": {fleet: fleet(wantsV("v1")), pods: []Pod{pod("a"), pod("b")}},

		// First sidecars.
		"a running pod gets its first sidecar": {
			fleet: fleet(first), pods: []Pod{pod("a", bare)}, want: []string{"Injecting a g1 v1 +stub"},
		},
		"a pod that has not started is waited for": {fleet: fleet(first), pods: []Pod{pod("a", bare, isAwayNow)}},
		"a stub that was decided and never sent is sent with the same generation": {
			fleet: fleet(first), pods: []Pod{pod("a", bare, wants(1, "v1", 0, false, 0))}, want: []string{"Injecting a g1 v1 +stub"},
		},
		"a first sidecar on its way is waited for until its deadline": {
			fleet: fleet(first), pods: []Pod{pod("a", bare, wants(1, "v1", 0, false, 0), has(1))}, now: minute, wake: 9 * minute,
		},
		"a first sidecar that does not serve in time has failed": {
			fleet: fleet(first), pods: []Pod{pod("a", bare, wants(1, "v1", 0, false, 0), has(1))}, now: 10 * minute,
			want: []string{"SidecarFailed a g1 v1 (failed g1 v1)"},
		},
		"an unpullable image of a version that serves nowhere stops before the next pod": {
			fleet: fleet(first), pods: []Pod{pod("a", bare, wants(1, "v1", 0, false, 0), has(1, pulls)), pod("b", bare)},
			want: []string{"SidecarFailed a g1 v1 (failed g1 v1)"},
		},
		"a start that fails where others succeed is that pod's problem": {
			fleet: fleet(first), pods: []Pod{pod("a", bare, wants(1, "v1", 0, false, 0), has(1, pulls), failedOn(1, "v1", 2)), pod("b", bare), pod("c")},
			want: []string{"Injecting b g1 v1 +stub"},
		},
		"a failed start is tried again when the fleet changes": {
			fleet: fleet(first, func(f *Fleet) { f.Attempt = 3 }),
			pods:  []Pod{pod("a", bare, wants(1, "v1", 0, false, 0), has(1, exited(1, "Error")), failedOn(1, "v1", 2))},
			want:  []string{"Injecting a g2 v1 +stub"},
		},
		"all generations ended with the sandbox: inject again": {
			fleet: fleet(wantsV("v1")), pods: []Pod{pod("a", ends(1, 137))}, want: []string{"Injecting a g2 v1 +stub"},
		},
		"the sandbox went in the middle of an upgrade: inject again": {
			fleet: fleet(), pods: []Pod{pod("a", ends(1, 137), has(2, exited(137, lost)), wants(2, "v2", 1, false, 0))},
			want: []string{"Injecting a g3 v2 +stub"},
		},
		"a pod created during a rollout gets what the others still run": {
			fleet: fleet(upTo("1")), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2)), pod("b", bare), pod("c")},
			want: []string{"Injecting b g1 v1 +stub"}, wake: 10 * minute,
		},
		"a broken first version that nobody runs is not what new pods get": {
			fleet: fleet(), pods: []Pod{pod("a", bare)}, want: []string{"Injecting a g1 v2 +stub"},
		},
		"a version that cannot be rendered reaches nobody": {
			fleet: fleet(wantsV("broken")), pods: []Pod{pod("a"), pod("b", bare, func(p *Pod) { p.Node = "n2" })},
			want: []string{"Injecting b g1 v1 +stub"},
		},
		"a paused fleet changes nothing": {
			fleet: fleet(isPaused), pods: []Pod{pod("a"), pod("b", bare), pod("c", wants(2, "v2", 1, false, 0), has(2), candidate(2))},
		},
		"a handover that has begun ends although the fleet is paused": {
			fleet: fleet(isPaused), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2), serves(2, "v2"), ended(1, 2, true), ends(1, 0))},
			want: []string{"Upgraded a g2 v2"},
		},

		// An upgrade, step by step.
		"the first pod gets the next generation": {
			fleet: fleet(), pods: []Pod{pod("a"), pod("b")}, want: []string{"Upgrading a g2 v2 from g1 +stub"},
		},
		"an upgrade that was decided is sent after a restart, with the same generation": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, false, 0)), pod("b")}, want: []string{"Upgrading a g2 v2 from g1 +stub"},
		},
		"a candidate that has not connected is waited for": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, false, 0), has(2)), pod("b")}, now: 4 * minute, wake: 6 * minute,
		},
		"a connected candidate begins": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, false, 0), has(2), candidate(2)), pod("b")},
			want: []string{"HandoverBegun a g2 v2 from g1 begin"},
		},
		"a candidate that connected late, after a pause, still begins": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, false, 0), has(2), candidate(2))}, now: 60 * minute,
			want: []string{"HandoverBegun a g2 v2 from g1 begin"},
		},
		"a handover is waited for": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2), candidate(2), phase(axlev1.PhaseHandingOver)), pod("b")},
			wake: 10 * minute,
		},
		"when it is over the next pod starts, and the desire waits for the old side's end": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2), serves(2, "v2"), ended(1, 2, true)), pod("b")},
			want: []string{"Upgrading b g2 v2 from g1 +stub"}, wake: 10 * minute,
		},
		"when the old side has ended the desire says so": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2), serves(2, "v2"), ended(1, 2, true), ends(1, 0))},
			want: []string{"Upgraded a g2 v2"},
		},
		"the next upgrade of a pod waits for the old side's end": {
			fleet: fleet(wantsV("v3")), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2), serves(2, "v2"), ended(1, 2, true))},
			wake: 10 * minute,
		},
		"a pod that is deleted in its handover does not count as failed": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2, exited(137, "Error")), ends(1, 0), isAwayNow), pod("b")},
			want: []string{"Upgrading b g2 v2 from g1 +stub"},
		},
		"the old side died before the handover began: the candidate starts cold": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, false, 0), has(2), candidate(2), ends(1, 1))},
			want: []string{"Settled a g2 v2"},
		},

		// Failures.
		"a failed handover is written down and stops the rollout": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2, exited(1, "Error")), ended(1, 2, false)), pod("b")},
			want: []string{"HandoverFailed a g1 v1 (failed g2 v2)"},
		},
		"a rollout that has stopped stays so": {
			fleet: fleet(), pods: []Pod{pod("a", has(2, exited(1, "Error")), ended(1, 2, false), failedOn(2, "v2", 2)), pod("b")},
		},
		"it stays so when the failed pod is gone": {
			fleet: fleet(func(f *Fleet) { f.Stopped = "HandoverFailed: a" }), pods: []Pod{pod("b")},
		},
		"a failure that is tolerated stops nothing, and the pod is not tried again": {
			fleet: fleet(func(f *Fleet) { f.FailedHandovers = 1 }),
			pods:  []Pod{pod("a", has(2, exited(1, "Error")), ended(1, 2, false), failedOn(2, "v2", 2)), pod("b")},
			want:  []string{"Upgrading b g2 v2 from g1 +stub"},
		},
		"a stop sends candidates that have not begun home, and lets a handover end": {
			fleet: fleet(upTo("5")), pods: []Pod{
				pod("a", has(2, exited(1, "Error")), failedOn(2, "v2", 2)),
				pod("b", wants(2, "v2", 1, false, 0), has(2), candidate(2)),
				pod("c", wants(2, "v2", 1, true, 0), has(2), candidate(2)),
			},
			want: []string{"Settled b g1 v1"}, wake: 10 * minute,
		},
		"a candidate that exits before it connects has failed": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, false, 0), has(2, exited(3, "Error")))},
			want: []string{"HandoverFailed a g1 v1 (failed g2 v2)"},
		},
		"a candidate whose image cannot be pulled has failed": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, false, 0), has(2, pulls))},
			want: []string{"HandoverFailed a g1 v1 (failed g2 v2)"},
		},
		"a candidate that does not connect in time has failed": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, false, 0), has(2))}, now: 10 * minute,
			want: []string{"HandoverFailed a g1 v1 (failed g2 v2)"},
		},
		"a handover that does not end in time has failed": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2), candidate(2))}, now: 10 * minute,
			want: []string{"HandoverFailed a g1 v1 (failed g2 v2)"},
		},
		"a candidate that exited a moment ago may have said why": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2, exited(1, "Error"), func(s *sidecars.Sidecar) { s.Ended = t0 }))},
			now: time.Second, wake: 2 * time.Second,
		},
		"and if it did not, the exit code has to do": {
			fleet: fleet(), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2, exited(1, "Error"), func(s *sidecars.Sidecar) { s.Ended = t0 }))},
			now: 3 * time.Second, want: []string{"HandoverFailed a g1 v1 (failed g2 v2)"},
		},
		"another version starts again from where the pods are": {
			fleet: fleet(wantsV("v3"), func(f *Fleet) { f.Attempt = 3 }),
			pods:  []Pod{pod("a", has(2, exited(1, "Error")), ended(1, 2, false), failedOn(2, "v2", 2)), pod("b", runs("v2"))},
			want:  []string{"Upgrading a g3 v3 from g1 +stub"},
		},
		"undo leaves pods alone that run the old version": {
			fleet: fleet(wantsV("v1"), func(f *Fleet) { f.Attempt = 3 }),
			pods:  []Pod{pod("a", has(2, exited(1, "Error")), failedOn(2, "v2", 2)), pod("b", runs("v2")), pod("c")},
			want:  []string{"Upgrading b g2 v1 from g1 +stub"},
		},
		"undo in the middle sends home a candidate that has not begun": {
			fleet: fleet(wantsV("v1")), pods: []Pod{pod("a", wants(2, "v2", 1, false, 0), has(2), candidate(2))},
			want: []string{"Settled a g1 v1"},
		},
		"a candidate of a version that was replaced makes way": {
			fleet: fleet(wantsV("v3")), pods: []Pod{pod("a", wants(2, "v2", 1, false, 0), has(2), candidate(2))},
			want: []string{"Settled a g1 v1"},
		},
		"a handover that has begun ends although its version was replaced": {
			fleet: fleet(wantsV("v3")), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2), candidate(2))}, wake: 10 * minute,
		},

		// Limits.
		"as many as maxUpdating at once": {
			fleet: fleet(upTo("2")), pods: []Pod{pod("a"), pod("b"), pod("c")},
			want: []string{"Upgrading a g2 v2 from g1 +stub", "Upgrading b g2 v2 from g1 +stub"},
		},
		"those on their way count": {
			fleet: fleet(upTo("2")), pods: []Pod{pod("a"), pod("b", wants(2, "v2", 1, true, 0), has(2)), pod("c")},
			want: []string{"Upgrading a g2 v2 from g1 +stub"}, wake: 10 * minute,
		},
		"a percentage is of each workload, node and the fleet, rounded up": {
			fleet: fleet(upTo("40%")), pods: []Pod{
				pod("a", of("Deployment/x"), on("n1")), pod("b", of("Deployment/x"), on("n2")),
				pod("c", of("Deployment/y"), on("n1")), pod("d", of("Deployment/y"), on("n3")), pod("e", of("Deployment/z"), on("n4")),
			},
			// 2 of 5 in all; b shares a workload with a, c shares a node with a.
			want: []string{"Upgrading a g2 v2 from g1 +stub", "Upgrading d g2 v2 from g1 +stub"},
		},
		"and of each zone": {
			fleet: fleet(upTo("40%")), pods: []Pod{
				pod("a", of("Deployment/x"), on("n1"), in("z1")), pod("b", of("Deployment/y"), on("n2"), in("z1")),
				pod("c", of("Deployment/z"), on("n3"), in("z2")), pod("d", of("Deployment/w"), on("n4"), in("z2")),
			},
			want: []string{"Upgrading a g2 v2 from g1 +stub", "Upgrading c g2 v2 from g1 +stub"},
		},
		"1 % of few pods is one pod": {
			fleet: fleet(upTo("1%")), pods: []Pod{pod("a"), pod("b")}, want: []string{"Upgrading a g2 v2 from g1 +stub"},
		},
		"a step's share is the limit": {
			fleet: fleet(upTo("9"), func(f *Fleet) { f.Steps = []axlev1.UpdateStep{{Percent: 30}, {Percent: 100}} }),
			pods:  []Pod{pod("a"), pod("b"), pod("c"), pod("d")},
			want:  []string{"Upgrading a g2 v2 from g1 +stub", "Upgrading b g2 v2 from g1 +stub"},
		},
		"a step's pause holds the next": {
			fleet: fleet(upTo("9"), func(f *Fleet) {
				f.Steps = []axlev1.UpdateStep{{Percent: 50, Pause: &metav1.Duration{Duration: 5 * minute}}, {Percent: 100}}
				f.StepIndex, f.StepSince = 1, t0
			}),
			pods: []Pod{pod("a", runs("v2")), pod("b")}, now: minute, wake: 4 * minute,
		},
		"after the pause it goes on": {
			fleet: fleet(upTo("9"), func(f *Fleet) {
				f.Steps = []axlev1.UpdateStep{{Percent: 50, Pause: &metav1.Duration{Duration: 5 * minute}}, {Percent: 100}}
				f.StepIndex, f.StepSince = 1, t0
			}),
			pods: []Pod{pod("a", runs("v2")), pod("b")}, now: 5 * minute, want: []string{"Upgrading b g2 v2 from g1 +stub"}, wake: 10 * minute,
		},

		"a promoted step's pause is over": {
			fleet: fleet(halfway, func(f *Fleet) { f.Promoted = 1 }), pods: []Pod{pod("a", runs("v2")), pod("b")}, now: minute,
			want: []string{"Upgrading b g2 v2 from g1 +stub"}, wake: 9 * minute,
		},
		"a promotion of an earlier step ends no later pause": {
			fleet: fleet(halfway, func(f *Fleet) {
				f.Steps = append([]axlev1.UpdateStep{{Percent: 1}}, f.Steps...)
				f.StepIndex, f.Promoted = 2, 1
			}),
			pods: []Pod{pod("a", runs("v2")), pod("b")}, now: minute, wake: 4 * minute,
		},
		"undo in mid-rollout knows no steps: pods of the old version are no step that has just been completed": {
			fleet: fleet(halfway, wantsV("v1"), upTo("9"), func(f *Fleet) { f.StepIndex, f.StepSince = 0, time.Time{} }),
			pods:  []Pod{pod("a", runs("v2")), pod("b")}, want: []string{"Upgrading a g2 v1 from g1 +stub"},
		},
		"nor does one while a handover is on its way": {
			fleet: fleet(halfway, wantsV("v1"), upTo("9")),
			pods:  []Pod{pod("a", runs("v2")), pod("b", wants(2, "v2", 1, true, 0), has(2), candidate(2)), pod("c")},
			want:  []string{"Upgrading a g2 v1 from g1 +stub"}, wake: 10 * minute,
		},
		"a pause that was made shorter is over": {
			fleet: fleet(halfway, func(f *Fleet) { f.Steps[0].Pause.Duration = minute }), pods: []Pod{pod("a", runs("v2")), pod("b")}, now: minute,
			want: []string{"Upgrading b g2 v2 from g1 +stub"}, wake: 10 * minute,
		},
		"pods that come with the old version when all steps are behind it do not pause it again": {
			fleet: fleet(halfway, func(f *Fleet) { f.StepIndex = 2 }), pods: []Pod{pod("a", runs("v2")), pod("b")}, now: minute,
			want: []string{"Upgrading b g2 v2 from g1 +stub"}, wake: 9 * minute,
		},
		"another version while a step pauses begins with its own first step": {
			fleet: fleet(halfway, wantsV("v3"), upTo("9"), func(f *Fleet) { f.StepIndex, f.StepSince = 0, time.Time{} }),
			pods:  []Pod{pod("a", runs("v2")), pod("b"), pod("c"), pod("d")},
			want:  []string{"Upgrading a g2 v3 from g1 +stub", "Upgrading b g2 v3 from g1 +stub"},
		},
		"and pauses after it": {
			fleet: fleet(halfway, wantsV("v3"), upTo("9")), pods: []Pod{pod("a", runs("v3")), pod("b", runs("v2"))}, now: minute, wake: 4 * minute,
		},
		"another version beside a handover that has begun": {
			fleet: fleet(wantsV("v3"), upTo("2")), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2), candidate(2)), pod("b"), pod("c")},
			want: []string{"Upgrading b g2 v3 from g1 +stub"}, wake: 10 * minute,
		},
		"which is settled when it is over": {
			fleet: fleet(wantsV("v3")), pods: []Pod{pod("a", wants(2, "v2", 1, true, 0), has(2), serves(2, "v2"), ended(1, 2, true), ends(1, 0)), pod("b", runs("v3"))},
			want: []string{"Upgraded a g2 v2"},
		},
		"and then goes on to the other version": {
			fleet: fleet(wantsV("v3")), pods: []Pod{upgraded("a"), pod("b", runs("v3"))}, want: []string{"Upgrading a g3 v3 from g2 +stub"},
		},
		"and when it fails, its pod goes on all the same": {
			fleet: fleet(wantsV("v3"), inAttempt(3)), pods: []Pod{failedPod("a"), pod("b", runs("v3"))}, want: []string{"Upgrading a g3 v3 from g1 +stub"},
		},

		// Pods that are different.
		"a pinned pod goes to its version and no further": {
			fleet: fleet(), pods: []Pod{pod("a", func(p *Pod) { p.Pin = "v1" }), pod("b", func(p *Pod) { p.Pin = "v3" })},
			want: []string{"Upgrading b g2 v3 from g1 +stub"},
		},
		"a pin on a version that does not exist is said": {
			fleet: fleet(), pods: []Pod{pod("a", func(p *Pod) { p.Pin = "v7" })}, want: []string{"Skipped a"},
		},
		"a pod that cannot have a sidecar is skipped once": {
			fleet: fleet(first), pods: []Pod{pod("a", bare, func(p *Pod) { p.Skip = "HostNetwork: x" }), pod("b", bare, func(p *Pod) { p.Skip, p.Skipped = "HostNetwork: x", "HostNetwork: x" })},
			want: []string{"Skipped a"},
		},
		"what kept the webhook from giving a pod its sidecar is not erased": {
			fleet: fleet(wantsV("v1")), pods: []Pod{pod("a", bare, unwanted, func(p *Pod) { p.Skipped = "NameConflict: x" }), pod("b", bare, unwanted, func(p *Pod) { p.Skipped = "NoAccount: x" })},
		},
		"a label that is gone is": {
			fleet: fleet(wantsV("v1")), pods: []Pod{pod("a", bare, unwanted, func(p *Pod) { p.Skipped = "Disabled: x" })}, want: []string{"Unskipped a"},
		},
		"a pod that was skipped at its creation gets its event": {
			fleet: fleet(wantsV("v1"), awakeSince(0)), pods: []Pod{
				pod("a", bare, unwanted, createdAt(minute), func(p *Pod) { p.Skipped = "NameConflict: x" }),
				pod("b", bare, createdAt(minute), func(p *Pod) { p.Skip, p.Skipped = "HostNetwork: x", "HostNetwork: x" }),
				pod("c", bare, createdAt(minute), func(p *Pod) { p.Skip, p.Skipped, p.Told = "HostNetwork: x", "HostNetwork: x", "HostNetwork: x" }),
				pod("d", bare, createdAt(-5*minute), func(p *Pod) { p.Skip, p.Skipped = "HostNetwork: x", "HostNetwork: x" }),
			},
			want: []string{"Skipped a", "Skipped b"},
		},
		"a pod that had as many sidecars as it may is blocked": {
			fleet: fleet(func(f *Fleet) { f.MaxGenerations = 1 }), pods: []Pod{pod("a"), pod("b", ends(1, 0))},
			want: []string{"Skipped a", "Skipped b"},
		},
		"versions that do not understand each other are not handed over": {
			fleet: fleet(wantsV("v9")), pods: []Pod{pod("a")}, want: []string{"Skipped a"},
		},
		"a reason that has passed is taken away": {
			fleet: fleet(wantsV("v1")), pods: []Pod{pod("a", func(p *Pod) { p.Skipped = "Blocked: x" })}, want: []string{"Unskipped a"},
		},
		"a pod whose ports changed is told": {
			fleet: fleet(wantsV("v1")), pods: []Pod{pod("a", func(p *Pod) { p.Ports = []axlev1.PortSpec{{AppPort: 12200, MeshPort: 15200}} })},
			want: []string{"Settled a g1 v1"},
		},
		"a pod of a fleet that lost it is taken over as it is": {
			fleet: fleet(wantsV("v1")), pods: []Pod{pod("a", func(p *Pod) { p.Desired.Fleet = "other" })}, want: []string{"Settled a g1 v1"},
		},
		"a desire that someone deleted is written again": {
			fleet: fleet(wantsV("v1")), pods: []Pod{pod("a", func(p *Pod) { p.Desired = nil })}, want: []string{"Settled a g1 v1"},
		},

		// Leaving.
		"a pod that is not wanted any more is asked to leave": {
			fleet: fleet(), pods: []Pod{pod("a", unwanted)}, want: []string{"Leaving a g1 v1 leave"},
		},
		"even while the fleet is paused": {
			fleet: fleet(isPaused), pods: []Pod{pod("a", unwanted)}, want: []string{"Leaving a g1 v1 leave"},
		},
		"it is asked once": {
			fleet: fleet(), pods: []Pod{pod("a", unwanted, func(p *Pod) { p.Desired.Leave = true }, phase(axlev1.PhaseLeaving))},
		},
		"a candidate that has not begun leaves with it": {
			fleet: fleet(), pods: []Pod{pod("a", unwanted, wants(2, "v2", 1, false, 0), has(2), candidate(2))}, want: []string{"Leaving a g1 v1 leave"},
		},
		"a handover that has begun ends first": {
			fleet: fleet(), pods: []Pod{pod("a", unwanted, wants(2, "v2", 1, true, 0), has(2), candidate(2))}, wake: 10 * minute,
		},
		"when it has left it is forgotten": {
			fleet: fleet(), pods: []Pod{pod("a", unwanted, func(p *Pod) { p.Desired.Leave = true }, phase(axlev1.PhaseLeft), ends(1, 0))},
			want: []string{"Left a"},
		},
		"one that ended without a word is forgotten too": {
			fleet: fleet(), pods: []Pod{pod("a", unwanted, func(p *Pod) { p.Desired.Leave = true }, ends(1, 137))}, want: []string{"Left a"},
		},
		"a pod that is wanted again while it leaves is left to finish": {
			fleet: fleet(wantsV("v1")), pods: []Pod{pod("a", func(p *Pod) { p.Desired.Leave = true }, phase(axlev1.PhaseLeaving))},
		},
		"and starts anew": {
			fleet: fleet(first), pods: []Pod{pod("a", func(p *Pod) { p.Desired = nil }, phase(axlev1.PhaseLeft), ends(1, 0))},
			want: []string{"Injecting a g2 v1 +stub"},
		},
		"a pod that was never touched is left alone": {fleet: fleet(), pods: []Pod{pod("a", unwanted, bare)}},
		"a pod that its label keeps out says so": {
			fleet: fleet(), pods: []Pod{pod("a", unwanted, bare, func(p *Pod) { p.Skip = "Disabled: x" })}, want: []string{"Skipped a"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			seen := Observed{Fleet: tc.fleet, Versions: versions(), Pods: tc.pods}
			steps, wake := Plan(t0.Add(tc.now), seen)
			var got []string
			for _, s := range steps {
				got = append(got, say(s))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if wake != tc.wake {
				t.Errorf("wake in %s, want %s", wake, tc.wake)
			}
		})
	}
}

// halfway has one of two steps behind it, whose pause of five minutes has just begun.
func halfway(f *Fleet) {
	f.Steps = []axlev1.UpdateStep{{Percent: 50, Pause: &metav1.Duration{Duration: 5 * minute}}, {Percent: 100}}
	f.StepIndex, f.StepSince = 1, t0
}
