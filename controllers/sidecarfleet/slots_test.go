package sidecarfleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// slotPod is a pod as the webhook creates it, with v1, which serves with generation 2 in slot a; slot b is generation 1.
func slotPod(name string, changes ...change) Pod {
	p := pod(name)
	p.HasSlots, p.Slots = true, &axlev1.PodSlots{Serving: 2, A: axlev1.PodSlot{Generation: 2, Version: "v1"}, B: axlev1.PodSlot{Generation: 1, Version: "v1"}}
	p.Sidecars = []sidecars.Sidecar{
		{Generation: 1, Container: axlev1.SlotB, Slot: "b", Running: true}, {Generation: 2, Container: axlev1.SlotA, Slot: "a", Running: true},
	}
	p.Desired = &axlev1.PodDesired{Fleet: "default", Generation: 2, Version: "v1", Since: at(0)}
	p.Status = &axlev1.PodStatus{Joined: axlev1.SlotA, Generation: 2, Version: "v1", Phase: axlev1.PhaseServing, Term: 1}
	for _, c := range changes {
		c(&p)
	}
	if p.Desired != nil && p.Status != nil && p.Desired.Confirm == 0 {
		confirmedAt(1000 * time.Hour)(&p)
	}
	return p
}

// asksAt asks whether what serves is connected, and confirmedAt has the answer.
func asksAt(d time.Duration) change { return func(p *Pod) { p.Desired.Confirm = t0.Add(d).Unix() } }
func confirmedAt(d time.Duration) change {
	return func(p *Pod) {
		asksAt(d)(p)
		p.Status.Confirmed = p.Desired.Confirm
	}
}

// flipped makes slot b the next generation.
func flipped(version string, changes ...func(*sidecars.Sidecar)) change {
	return func(p *Pod) {
		p.Slots.B = axlev1.PodSlot{Generation: 3, Version: version}
		next := sidecars.Sidecar{Generation: 3, Container: axlev1.SlotB, Slot: "b", Running: true}
		for _, c := range changes {
			c(&next)
		}
		p.Sidecars = []sidecars.Sidecar{p.Sidecars[1], next}
	}
}

func hint(generation int64) change { return func(p *Pod) { p.Slots.Serving = generation } }
func gaveUp(s *sidecars.Sidecar)   { s.Failed, s.FailReason = true, "counters of batch 3 do not match" }
func fellBack(p *Pod)              { p.Status.Generation, p.Status.Version, p.Status.Term = 2, "v1", 2 }
func silent(p *Pod)                { p.Status = nil }
func down(s *sidecars.Sidecar)     { s.Running, s.Reason, s.ExitCode = false, "Error", 137 }

func TestSlots(t *testing.T) {
	cases := map[string]struct {
		fleet Fleet
		pods  []Pod
		now   time.Duration
		want  []string
		wake  time.Duration
	}{
		"a pod that was created just now is waited for": {
			fleet: fleet(wantsV("v1")), pods: []Pod{slotPod("a", silent)}, wake: 10 * minute,
		},
		"and does not hold up pods that are injected in place": {
			fleet: fleet(first), pods: []Pod{slotPod("a", silent), slotPod("b", silent), slotPod("c", silent), slotPod("d", silent), slotPod("e", silent), pod("f", bare)},
			want: []string{"Injecting f g1 v1 +stub"}, wake: 10 * minute,
		},
		"one that does not serve in time has failed": {
			fleet: fleet(wantsV("v1")), pods: []Pod{slotPod("a", silent)}, now: 10 * minute, want: []string{"SidecarFailed a g2 v1 (failed g2 v1)"},
		},
		"an upgrade is a flip of the slot that idles": {
			fleet: fleet(), pods: []Pod{slotPod("a")}, want: []string{"Upgrading a g3 v2 from g2 +flip axle-b"},
		},
		"and of the other one the next time": {
			fleet: fleet(wantsV("v3")), pods: []Pod{slotPod("a", flipped("v2"), hint(3), wants(3, "v2", 0, false, 0), serves(3, "v2"))},
			want: []string{"Upgrading a g4 v3 from g3 +flip axle-a"},
		},
		"in place switched off does not concern it": {
			fleet: fleet(func(f *Fleet) { f.InPlace = false }), pods: []Pod{slotPod("a"), pod("b", unwanted)},
			want: []string{"Leaving b g1 v1 leave", "Upgrading a g3 v2 from g2 +flip axle-b"},
		},
		"nor does the limit of generations": {
			fleet: fleet(func(f *Fleet) { f.MaxGenerations = 1 }), pods: []Pod{slotPod("a")}, want: []string{"Upgrading a g3 v2 from g2 +flip axle-b"},
		},
		"a candidate that has not connected is waited for": {
			fleet: fleet(), pods: []Pod{slotPod("a", flipped("v2"), wants(3, "v2", 2, false, 0))}, wake: 10 * minute,
		},
		"a connected candidate begins": {
			fleet: fleet(), pods: []Pod{slotPod("a", flipped("v2"), wants(3, "v2", 2, false, 0), candidate(3))}, want: []string{"HandoverBegun a g3 v2 from g2 begin"},
		},
		"when it is over the slots are told who serves; the old one idles and need not end": {
			fleet: fleet(), pods: []Pod{slotPod("a", flipped("v2"), wants(3, "v2", 2, true, 0), serves(3, "v2"), ended(2, 3, true))},
			want: []string{"Upgraded a g3 v2 +serving 3"},
		},
		"the next flip waits for that": {
			fleet: fleet(wantsV("v3")), pods: []Pod{slotPod("a", flipped("v2"), wants(3, "v2", 2, true, 0), serves(3, "v2"), ended(2, 3, true))},
			want: []string{"Upgraded a g3 v2 +serving 3"},
		},
		"a candidate that took over cold, for its server had died": {
			fleet: fleet(), pods: []Pod{slotPod("a", flipped("v2"), wants(3, "v2", 2, false, 0), serves(3, "v2"))},
			want: []string{"Upgraded a g3 v2 +serving 3"},
		},
		"slots that were told something else are told again": {
			fleet: fleet(wantsV("v1")), pods: []Pod{slotPod("a", hint(1))}, want: []string{"Settled a g2 v1 +serving 2"},
		},
		"a candidate that gave up has failed, and the desire goes back to what serves": {
			fleet: fleet(), pods: []Pod{slotPod("a", flipped("v2", gaveUp), wants(3, "v2", 2, true, 0)), slotPod("b")},
			want: []string{"HandoverFailed a g2 v1 (failed g3 v2)"},
		},
		"one whose image cannot be pulled has failed": {
			fleet: fleet(), pods: []Pod{slotPod("a", flipped("v2", pulls), wants(3, "v2", 2, false, 0))}, want: []string{"HandoverFailed a g2 v1 (failed g3 v2)"},
		},
		"the next try flips the same slot again": {
			fleet: fleet(func(f *Fleet) { f.Attempt = 3 }), pods: []Pod{slotPod("a", flipped("v2", gaveUp), failedOn(3, "v2", 2))},
			want: []string{"Upgrading a g4 v2 from g2 +flip axle-b"},
		},
		"a failed version goes back by a flip": {
			fleet: fleet(goesBack, stoppedBy(Fail)), pods: []Pod{slotPod("a", flipped("v2"), hint(3), wants(3, "v2", 0, false, 0), serves(3, "v2"))},
			want: []string{"Upgrading a g4 v1 from g3 +flip axle-a"},
		},
		"a serving slot that is down is replaced without the controller": {
			fleet: fleet(wantsV("v1")), pods: []Pod{slotPod("a", func(p *Pod) { down(&p.Sidecars[1]) })},
		},
		"a slot that was killed long after its upgrade is no failed upgrade": {
			fleet: fleet(func(f *Fleet) { f.Current = "v2" }), pods: []Pod{slotPod("a", flipped("v2"), hint(3), wants(3, "v2", 0, false, 0), fellBack), pod("b", bare)},
			now: 10 * 60 * minute, want: []string{"FailedOver a g2 v1 (1 of v2 died) +serving 2", "Injecting b g1 v2 +stub"},
		},
		"nor is it one that is on its way": {
			fleet: fleet(func(f *Fleet) { f.Current = "v2" }), pods: []Pod{slotPod("a", flipped("v2"), hint(3), wants(3, "v2", 0, false, 0), fellBack), pod("b")},
			now: minute, want: []string{"FailedOver a g2 v1 (1 of v2 died) +serving 2", "Upgrading b g2 v2 from g1 +stub"},
		},
		"its pod is upgraded again": {
			fleet: fleet(func(f *Fleet) { f.Current = "v2" }), pods: []Pod{slotPod("a", flipped("v2"), crashed("v2", 1, 0), fellBack)}, now: minute,
			want: []string{"Upgrading a g4 v2 from g2 (1 of v2 died) +flip axle-b"},
		},
		"in a pod whose slots have one version that is all": {
			fleet: fleet(wantsV("v1")), pods: []Pod{slotPod("a", serves(1, "v1"), func(p *Pod) { p.Status.Term = 2 })}, now: 10 * 60 * minute,
			want: []string{"FailedOver a g1 v1 (1 of v1 died) +serving 1"},
		},
		"one that was killed before its handover was written down": {
			fleet: fleet(), pods: []Pod{slotPod("a", flipped("v2"), wants(3, "v2", 2, true, 0), ended(2, 3, true), fellBack)},
			now: minute, want: []string{"FailedOver a g2 v1 (1 of v2 died)"},
		},
		"the last word of the old slot of a handover is no failover": {
			fleet: fleet(), pods: []Pod{slotPod("a", flipped("v2"), wants(3, "v2", 2, true, 0), ended(2, 3, true), phase(axlev1.PhaseHandingOver))}, wake: 10 * minute,
		},
		"another one within the deadline counts up": {
			fleet: fleet(), pods: []Pod{slotPod("a", flipped("v2"), hint(3), wants(3, "v2", 0, false, 0), crashed("v2", 1, 0), fellBack)}, now: 9 * minute,
			want: []string{"FailedOver a g2 v1 (2 of v2 died) +serving 2"},
		},
		"one after it begins anew": {
			fleet: fleet(), pods: []Pod{slotPod("a", flipped("v2"), hint(3), wants(3, "v2", 0, false, 0), crashed("v2", 2, 0), fellBack)}, now: 10 * minute,
			want: []string{"FailedOver a g2 v1 (1 of v2 died) +serving 2"},
		},
		"three are a crash loop: the rollout stops": {
			fleet: fleet(), pods: []Pod{slotPod("a", flipped("v2"), crashed("v2", 3, 0), fellBack), slotPod("b")}, now: 9 * minute,
			want: []string{"CrashLooping a g2 v1 (failed g3 v2)"},
		},
		"after a rollout they stop nothing, and the pod stays as it is": {
			fleet: fleet(func(f *Fleet) { f.Current = "v2" }), pods: []Pod{slotPod("a", flipped("v2"), suspectOf(Crash, 3, "v2"), crashed("v2", 0, 0), fellBack), slotPod("b")},
			now: 9 * minute, wake: minute, want: []string{"Upgrading b g3 v2 from g2 +flip axle-b"},
		},
		"until it was quiet for so long": {
			fleet: fleet(func(f *Fleet) { f.Current = "v2" }), pods: []Pod{slotPod("a", flipped("v2"), suspectOf(Crash, 3, "v2"), crashed("v2", 0, 0), fellBack)},
			now: 10 * minute, want: []string{"Settled a g2 v1"},
		},
		"before a flip it is asked whether what serves is connected": {
			fleet: fleet(), pods: []Pod{slotPod("a", confirmedAt(-31*time.Second)), slotPod("b")}, want: []string{"Asked a g2 v1"},
		},
		"the answer is waited for": {
			fleet: fleet(), pods: []Pod{slotPod("a", asksAt(0)), slotPod("b")}, now: time.Second, wake: 4 * time.Second,
		},
		"for a while; then it is the next pod's turn": {
			fleet: fleet(), pods: []Pod{slotPod("a", asksAt(0)), slotPod("b")}, now: 5 * time.Second, want: []string{"Upgrading b g3 v2 from g2 +flip axle-b"},
		},
		"an answer that came late is asked for again": {
			fleet: fleet(), pods: []Pod{slotPod("a", confirmedAt(0))}, now: minute, want: []string{"Asked a g2 v1"},
		},
		"no slot is flipped while the serving one is down: the other one may serve": {
			fleet: fleet(), pods: []Pod{slotPod("a", func(p *Pod) { down(&p.Sidecars[1]) }), slotPod("b")}, want: []string{"Upgrading b g3 v2 from g2 +flip axle-b"},
		},
		"a candidate that failed and has clients is not flipped": {
			fleet: fleet(inAttempt(3)), pods: []Pod{slotPod("a", flipped("v2"), failedOn(3, "v2", 2), ended(2, 3, false)), slotPod("b")}, now: 9 * minute,
			want: []string{"Upgrading b g3 v2 from g2 +flip axle-b"},
		},
		"one that died has none": {
			fleet: fleet(inAttempt(3)), pods: []Pod{slotPod("a", flipped("v2", func(s *sidecars.Sidecar) { s.Died = true }), failedOn(3, "v2", 2), ended(2, 3, false))}, now: minute,
			want: []string{"Upgrading a g4 v2 from g2 +flip axle-b"},
		},
		"before its time is over": {
			fleet: fleet(inAttempt(3)), pods: []Pod{slotPod("a", flipped("v2"), failedOn(3, "v2", 2), ended(2, 3, false))}, now: 10 * minute,
			want: []string{"Upgrading a g4 v2 from g2 +flip axle-b"},
		},
		"a dead candidate is started again by the kubelet": {
			fleet: fleet(), pods: []Pod{slotPod("a", flipped("v2", down), wants(3, "v2", 2, false, 0))}, wake: 10 * minute,
		},
		"who serves cannot be told: nothing is done": {
			fleet: fleet(), pods: []Pod{slotPod("a", func(p *Pod) { p.Status.Generation = 7 })},
		},
		"slots that cannot be read are said, and no container is sent": {
			fleet: fleet(), pods: []Pod{slotPod("a", func(p *Pod) { p.Slots = nil })}, want: []string{"Skipped a"},
		},
		"it leaves: the slots idle": {
			fleet: fleet(), pods: []Pod{slotPod("a", unwanted)}, want: []string{"Leaving a g2 v1 leave +serving 0"},
		},
		"one that never served leaves as well": {
			fleet: fleet(), pods: []Pod{slotPod("a", unwanted, silent)}, want: []string{"Leaving a g2 v1 leave +serving 0"},
		},
		"and is forgotten, although its slots run": {
			fleet: fleet(), pods: []Pod{slotPod("a", unwanted, hint(0), phase(axlev1.PhaseLeft), func(p *Pod) { p.Desired.Leave = true })}, want: []string{"Left a"},
		},
		"it is left alone afterwards": {
			fleet: fleet(), pods: []Pod{slotPod("a", unwanted, hint(0), phase(axlev1.PhaseLeft), func(p *Pod) { p.Desired = nil })},
		},
		"wanted again it starts cold without a flip": {
			fleet: fleet(wantsV("v1")), pods: []Pod{slotPod("a", hint(0), phase(axlev1.PhaseLeft), func(p *Pod) { p.Desired = nil })},
			want: []string{"Injecting a g2 v1 +serving 2"},
		},
		"with another version it is flipped": {
			fleet: fleet(func(f *Fleet) { f.Current = "v2" }), pods: []Pod{slotPod("a", hint(0), phase(axlev1.PhaseLeft), func(p *Pod) { p.Desired = nil })},
			want: []string{"Injecting a g3 v2 +flip axle-b +serving 3"},
		},
		"and so it is when the later slot has failed": {
			fleet: fleet(wantsV("v1")), pods: []Pod{slotPod("a", flipped("v1", gaveUp), hint(0), phase(axlev1.PhaseLeft), func(p *Pod) { p.Desired = nil })},
			want: []string{"Injecting a g4 v1 +flip axle-a +serving 4"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			steps, wake := Plan(t0.Add(tc.now), Observed{Fleet: tc.fleet, Versions: versions(), Pods: tc.pods})
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
