package sidecarfleet

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

func soaks(f *Fleet) { f.Soak, f.StepIndex, f.StepSince = 15*time.Second, 1, t0 }

func TestSoak(t *testing.T) {
	last := func(f *Fleet) { f.Soak = 15 * time.Second }
	cases := map[string]struct {
		fleet   Fleet
		pods    []Pod
		now     time.Duration
		current string
		stands  string // the Progressing condition
		wake    time.Duration
	}{
		"the last pod has just got it":           {fleet: fleet(last), pods: []Pod{upgraded("a")}, current: "v1", stands: "True/Verifying", wake: 15 * time.Second},
		"it has to serve well for a while":       {fleet: fleet(soaks), pods: []Pod{upgraded("a")}, now: 10 * time.Second, current: "v1", stands: "True/Verifying", wake: 5 * time.Second},
		"then the rollout is complete":           {fleet: fleet(soaks), pods: []Pod{upgraded("a")}, now: 15 * time.Second, current: "v2", stands: "False/Complete"},
		"what fails meanwhile goes back":         {fleet: fleet(soaks, goesBack), pods: []Pod{upgraded("a", restarted(3))}, now: 10 * time.Second, current: "v1", stands: "True/RollingBack"},
		"a first version has nothing before it":  {fleet: fleet(last, func(f *Fleet) { f.Current = "" }), pods: []Pod{upgraded("a")}, current: "v2", stands: "False/Complete"},
		"an undo has proven itself":              {fleet: fleet(last, wantsV("v1")), pods: []Pod{pod("a")}, current: "v1", stands: "False/Complete"},
		"no pods, nothing to look at":            {fleet: fleet(last), current: "v2", stands: "False/Complete"},
		"a pod that joins does not start anew":   {fleet: fleet(soaks), pods: []Pod{upgraded("a"), pod("b")}, now: 10 * time.Second, current: "v1", stands: "True/Upgrading", wake: 10*minute - 10*time.Second},
		"when it has the version that was all":   {fleet: fleet(soaks), pods: []Pod{upgraded("a"), upgraded("b", func(p *Pod) { p.Desired.Since = at(20 * time.Second) })}, now: 20 * time.Second, current: "v2", stands: "False/Complete"},
		"an unset interval does not hold it":     {fleet: fleet(), pods: []Pod{upgraded("a")}, current: "v2", stands: "False/Complete"},
		"one that was replaced in it is current": {fleet: fleet(soaks, wantsV("v3"), func(f *Fleet) { f.Served, f.StepIndex = "v2", 0 }), pods: []Pod{upgraded("a")}, current: "v2", stands: "True/Upgrading", wake: 10 * minute},
		"unless a pod does not run it":           {fleet: fleet(wantsV("v3"), func(f *Fleet) { f.Served = "v2" }), pods: []Pod{upgraded("a"), pod("b")}, current: "v1", stands: "True/Upgrading"},
		"or it is undone":                        {fleet: fleet(wantsV("v1"), func(f *Fleet) { f.Served = "v2" }), pods: []Pod{upgraded("a")}, current: "v1", stands: "True/Upgrading"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			seen := Observed{Fleet: tc.fleet, Versions: versions(), Pods: tc.pods}
			_, wake := Plan(t0.Add(tc.now), seen)
			if wake != tc.wake {
				t.Errorf("wake in %s, want %s", wake, tc.wake)
			}
			old := axlev1.SidecarFleetStatus{CurrentVersion: tc.fleet.Current, UpdateVersion: tc.fleet.Version, Attempt: tc.fleet.Attempt}
			old.Step = axlev1.FleetStep{Index: tc.fleet.StepIndex, Since: &metav1.Time{Time: tc.fleet.StepSince}}
			got := Summarize(t0.Add(tc.now), seen, old, nil)
			if got.CurrentVersion != tc.current {
				t.Errorf("current version %s, want %s", got.CurrentVersion, tc.current)
			}
			c := meta.FindStatusCondition(got.Conditions, axlev1.ConditionProgressing)
			if stands := string(c.Status) + "/" + c.Reason; stands != tc.stands {
				t.Errorf("progressing %s: %s; want %s", stands, c.Message, tc.stands)
			}
			if tc.fleet.through() && !tc.fleet.Rollback && got.Step.Index != tc.fleet.StepIndex {
				t.Errorf("step %d, want that a complete step stays so", got.Step.Index)
			}
		})
	}
}

func TestServed(t *testing.T) {
	cases := map[string]struct {
		change func(*axlev1.SidecarFleet)
		want   string
	}{
		"another version":              {func(*axlev1.SidecarFleet) {}, "v2"},
		"the same one":                 {func(f *axlev1.SidecarFleet) { f.Spec.Version = "v2" }, ""},
		"one that was not everywhere":  {func(f *axlev1.SidecarFleet) { f.Status.Step.Reason = reasonUpgrading }, ""},
		"one that has failed":          {func(f *axlev1.SidecarFleet) { f.Status.Conditions[0].Reason = string(halted) }, ""},
		"one that was complete":        {func(f *axlev1.SidecarFleet) { f.Status.Step.Reason = reasonComplete }, "v2"},
		"a status that says nothing":   {func(f *axlev1.SidecarFleet) { f.Status.Conditions = nil }, ""},
		"one that was never a rollout": {func(f *axlev1.SidecarFleet) { f.Status = axlev1.SidecarFleetStatus{} }, ""},
	}
	for name, tc := range cases {
		f := &axlev1.SidecarFleet{}
		f.Spec.Version, f.Status.UpdateVersion, f.Status.UpdateHash, f.Status.Step.Reason = "v3", "v2", "of v2", reasonVerifying
		f.Status.Conditions = []metav1.Condition{{Type: axlev1.ConditionProgressing, Reason: reasonVerifying}}
		tc.change(f)
		if got := fleetFacts(f).Served; got != tc.want {
			t.Errorf("%s: served %q, want %q", name, got, tc.want)
		}
	}
}
