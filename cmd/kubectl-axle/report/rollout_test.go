package report

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// TestRollout compares the patch and the first line that is said, or the error.
func TestRollout(t *testing.T) {
	rolling := axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: "default", Generation: 4}}
	rolling.Spec.Version, rolling.Status.CurrentVersion, rolling.Status.ObservedGeneration = "v2", "v1", 4
	rolling.Status.UpdateVersion, rolling.Status.Attempt = "v2", 7
	with := func(change func(*axlev1.SidecarFleet)) *axlev1.SidecarFleet {
		f := rolling.DeepCopy()
		change(f)
		return f
	}
	version := func(name string) axlev1.SidecarVersion {
		v := axlev1.SidecarVersion{ObjectMeta: metav1.ObjectMeta{Name: name}}
		v.Status.Digest = "sha256:aa"
		v.Status.Conditions = []metav1.Condition{{Type: axlev1.ConditionVerified, Status: metav1.ConditionTrue}}
		return v
	}
	unverified := version("v3")
	unverified.Status.Conditions[0] = metav1.Condition{Type: axlev1.ConditionVerified, Status: metav1.ConditionFalse, Message: "no such manifest"}
	c := &Cluster{Versions: []axlev1.SidecarVersion{version("v2"), version("v0"), version("v1"), unverified}}
	lonely := &Cluster{Versions: []axlev1.SidecarVersion{version("v2")}}
	undo := func(c *Cluster, to string) func(*axlev1.SidecarFleet) (Change, error) {
		return func(f *axlev1.SidecarFleet) (Change, error) { return c.Undo(f, to) }
	}
	paused := with(func(f *axlev1.SidecarFleet) { f.Spec.Paused = true })
	finished := with(func(f *axlev1.SidecarFleet) { f.Status.CurrentVersion = "v2" })
	back := func(to string) string {
		return `[{"op":"test","path":"/spec/version","value":"v2"},{"op":"replace","path":"/spec/version","value":"` + to + `"}]`
	}
	stopped := with(func(f *axlev1.SidecarFleet) {
		f.Status.Conditions = []metav1.Condition{
			{Type: axlev1.ConditionProgressing, Status: metav1.ConditionFalse, Reason: "Stopped", ObservedGeneration: 4},
			{Type: axlev1.ConditionDegraded, Status: metav1.ConditionTrue, Message: "HandoverFailed: a/b: died. The rollout of v2 has stopped; no further pod is touched."},
		}
	})
	returning := stopped.DeepCopy()
	returning.Status.Conditions[0].Reason = "RollingBack"
	promote := func(full bool) func(*axlev1.SidecarFleet) (Change, error) {
		return func(f *axlev1.SidecarFleet) (Change, error) { return Promote(f, full) }
	}
	waits := with(func(f *axlev1.SidecarFleet) {
		f.ResourceVersion, f.Status.UpdateVersion, f.Status.Step.Index = "77", "v2", 1
		f.Spec.UpdateStrategy.Steps = []axlev1.UpdateStep{{Percent: 1}, {Percent: 10}, {Percent: 100}}
		f.Status.Conditions = []metav1.Condition{{Type: axlev1.ConditionPaused, Status: metav1.ConditionTrue, Reason: "StepPause", ObservedGeneration: 4}}
	})
	annotated, goes, done, unseen := waits.DeepCopy(), waits.DeepCopy(), waits.DeepCopy(), waits.DeepCopy()
	annotated.Annotations = map[string]string{"a": "b"}
	goes.Status.Conditions, done.Status.Step.Index, unseen.Generation = nil, 3, 5
	cases := map[string]struct {
		do          func(*axlev1.SidecarFleet) (Change, error)
		fleet       *axlev1.SidecarFleet
		patch, said string
	}{
		"pause":              {Pause, &rolling, `[{"op":"add","path":"/spec/paused","value":true}]`, "SidecarFleet default is paused: spec.paused is true."},
		"pause, paused":      {Pause, paused, "", "SidecarFleet default is paused already."},
		"resume":             {Resume, paused, `[{"op":"add","path":"/spec/paused","value":false}]`, "It brings v2 to its pods."},
		"resume, not paused": {Resume, &rolling, "", "SidecarFleet default is not paused."},
		"resume, stopped":    {Resume, stopped, "", "But the rollout of v2 has stopped. HandoverFailed: a/b: died.\nTo go back to v1: kubectl axle rollout undo default"},
		"pause, going back":  {Pause, returning, `[{"op":"add","path":"/spec/paused","value":true}]`, "Warning: that holds the way back from v2, which has failed, to v1 as well"},
		"resume, going back": {Resume, with(func(f *axlev1.SidecarFleet) { *f = *returning.DeepCopy(); f.Spec.Paused = true }), `[{"op":"add","path":"/spec/paused","value":false}]`,
			"The rollout of v2 has failed: pods that still run it go back to v1."},
		"resume, stopped and paused": {Resume, with(func(f *axlev1.SidecarFleet) { *f = *stopped.DeepCopy(); f.Spec.Paused = true }), `[{"op":"add","path":"/spec/paused","value":false}]`,
			"But the rollout of v2 has stopped, and stays so.\nTo go back to v1: kubectl axle rollout undo default\nTo try again: kubectl axle rollout retry default"},
		"retry": {Retry, with(func(f *axlev1.SidecarFleet) {
			*f = *stopped.DeepCopy()
			f.Annotations = map[string]string{"a": "b"}
		}), `[{"op":"test","path":"/spec/version","value":"v2"},{"op":"add","path":"/metadata/annotations/axlemesh.io~1retry","value":"v2/8"}]`,
			"SidecarFleet default brings v2 to its pods once more, and tries again where that failed (annotation axlemesh.io/retry=v2/8)."},
		"retry, nothing failed": {Retry, &rolling, "", "nothing has failed with v2."},
		"retry, not seen":       {Retry, unseen, "", "retry default: the operator has not looked at its last change yet"},
		"promote, another try": {promote(false), with(func(f *axlev1.SidecarFleet) {
			*f = *waits.DeepCopy()
			_, f.Status.UpdateHash = f.Try()
			f.Annotations = map[string]string{axlev1.RetryAnnotation: "v2/8"}
		}), "", "promote default: the operator has not looked at its last change yet"},
		"promote": {promote(false), annotated, `[{"op":"test","path":"/spec/version","value":"v2"},{"op":"add","path":"/metadata/annotations/axlemesh.io~1promote","value":"v2/1@7"}]`,
			"SidecarFleet default goes on with v2: the pause after step 1 of 3 is over"},
		"promote, all the way": {promote(true), annotated, `[{"op":"test","path":"/spec/version","value":"v2"},{"op":"add","path":"/metadata/annotations/axlemesh.io~1promote","value":"v2/3@7"}]`,
			"no further pause holds it"},
		"promote, the first annotation": {promote(false), waits, `[{"op":"test","path":"/spec/version","value":"v2"},{"op":"test","path":"/metadata/resourceVersion","value":"77"},` +
			`{"op":"add","path":"/metadata/annotations","value":{}},{"op":"add","path":"/metadata/annotations/axlemesh.io~1promote","value":"v2/1@7"}]`, "(annotation axlemesh.io/promote=v2/1@7)"},
		"promote, nothing waits": {promote(false), goes, "", "no pause of a step holds it: step 2 of 3 is under way."},
		"promote, complete":      {promote(false), done, "", "all 3 steps of v2 are complete."},
		"promote, not seen":      {promote(false), unseen, "", "promote default: the operator has not looked at its last change yet"},
		"promote, stopped": {promote(false), with(func(f *axlev1.SidecarFleet) {
			f.Status.UpdateVersion, f.Status.Conditions = "v2", stopped.Status.Conditions
		}), "",
			"the rollout of v2 has stopped: HandoverFailed: a/b: died."},
		"undo":                {undo(c, ""), &rolling, back("v1"), "SidecarFleet default goes from v2 back to v1."},
		"undo, paused":        {undo(c, ""), paused, back("v1"), "But it is paused: nothing happens before kubectl axle rollout resume default"},
		"undo to a version":   {undo(c, "v0"), finished, back("v0"), "SidecarFleet default goes from v2 back to v0."},
		"undo to where it is": {undo(c, "v2"), &rolling, "", "The version of SidecarFleet default is v2 already."},
		"undo, finished":      {undo(c, ""), finished, "", "undo default: it is at v2, the last version that was rolled out in full; name the version with --to: v0, v1, v3"},
		"undo, never finished": {undo(c, ""), with(func(f *axlev1.SidecarFleet) { f.Status.CurrentVersion = "" }), "",
			"undo default: it has never finished a rollout; name the version with --to: v0, v1, v3"},
		"undo, one version":         {undo(lonely, ""), finished, "", "undo default: it is at v2, the last version that was rolled out in full, and there is no other SidecarVersion"},
		"undo to nothing":           {undo(c, "v9"), &rolling, "", `undo default: no SidecarVersion "v9": there is v0, v1, v2, v3`},
		"undo to what is not right": {undo(c, "v3"), &rolling, "", `undo default: SidecarVersion "v3" is not verified: no such manifest`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := tc.do(tc.fleet)
			said := strings.Join(got.Said, "\n")
			if err != nil {
				said = err.Error()
			}
			if diff := cmp.Diff(tc.patch, string(got.Patch)); diff != "" {
				t.Errorf("patch (-want +got):\n%s", diff)
			}
			if !strings.Contains(said, tc.said) {
				t.Errorf("said:\n%s\nwant in it:\n%s", said, tc.said)
			}
		})
	}
}
