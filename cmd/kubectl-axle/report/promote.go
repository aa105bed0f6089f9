package report

import (
	"fmt"
	"strings"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Promote ends the pause that holds a rollout now; with full, all of its pauses.
func Promote(f *axlev1.SidecarFleet, full bool) (Change, error) {
	steps, done := f.Spec.UpdateStrategy.Steps, int(f.Status.Step.Index)
	nothing := func(format string, args ...any) (Change, error) {
		return Change{Said: []string{fmt.Sprintf("SidecarFleet %s: ", f.Name) + fmt.Sprintf(format, args...)}}, nil
	}
	if stale(f) || !f.Tried() || f.Status.UpdateVersion != f.Spec.Version {
		return Change{}, fmt.Errorf("promote %s: the operator has not looked at its last change yet; try again in a moment", f.Name)
	}
	if why, ok := stopped(f); ok {
		c, err := nothing("the rollout of %s has stopped: %s", f.Spec.Version, sentence(why))
		c.Said = append(c.Said, retry(f, f.Spec.Version)...)
		return c, err
	}
	if done >= len(steps) {
		return nothing("all %d steps of %s are complete.", len(steps), f.Spec.Version)
	}
	to, what := done, fmt.Sprintf("the pause after step %d of %d is over", done, len(steps))
	switch {
	case full:
		to, what = len(steps), "no further pause holds it"
	case !isTrue(f.Status.Conditions, axlev1.ConditionPaused, "StepPause"):
		return nothing("no pause of a step holds it: step %d of %d is under way. --full ends the pauses that are to come.", done+1, len(steps))
	}
	value := fmt.Sprintf("%s/%d@%d", f.Spec.Version, to, f.Status.Attempt)
	raw, err := annotate(f, axlev1.PromoteAnnotation, value)
	said := []string{fmt.Sprintf("SidecarFleet %s goes on with %s: %s (annotation %s=%s).", f.Name, f.Spec.Version, what, axlev1.PromoteAnnotation, value)}
	if f.Spec.Paused {
		said = append(said, fmt.Sprintf("But it is paused: nothing happens before kubectl axle rollout resume %s", f.Name))
	}
	return Change{Patch: raw, Said: append(said, watch(f))}, err
}

// Retry lets the fleet bring its version once more to where that failed.
func Retry(f *axlev1.SidecarFleet) (Change, error) {
	if stale(f) || !f.Tried() {
		return Change{}, fmt.Errorf("retry %s: the operator has not looked at its last change yet; try again in a moment", f.Name)
	}
	if _, ok := stopped(f); !ok && f.Status.Pods.Failed == 0 {
		return Change{Said: []string{fmt.Sprintf("SidecarFleet %s: nothing has failed with %s.", f.Name, f.Spec.Version)}}, nil
	}
	value := fmt.Sprintf("%s/%d", f.Spec.Version, f.Status.Attempt+1)
	raw, err := annotate(f, axlev1.RetryAnnotation, value)
	said := []string{fmt.Sprintf("SidecarFleet %s brings %s to its pods once more, and tries again where that failed (annotation %s=%s).", f.Name, f.Spec.Version, axlev1.RetryAnnotation, value)}
	if f.Spec.Paused {
		said = append(said, fmt.Sprintf("But it is paused: nothing happens before kubectl axle rollout resume %s", f.Name))
	}
	return Change{Patch: raw, Said: append(said, watch(f))}, err
}

// annotate is the patch that sets an annotation if the fleet's version is still what it was.
func annotate(f *axlev1.SidecarFleet, annotation, value string) ([]byte, error) {
	operations := []operation{{"test", "/spec/version", f.Spec.Version}}
	if f.Annotations == nil { // a map that someone else adds meanwhile is not to be replaced
		operations = append(operations, operation{"test", "/metadata/resourceVersion", f.ResourceVersion}, operation{"add", "/metadata/annotations", map[string]string{}})
	}
	path := "/metadata/annotations/" + strings.ReplaceAll(annotation, "/", "~1")
	return patch(append(operations, operation{"add", path, value})...)
}
