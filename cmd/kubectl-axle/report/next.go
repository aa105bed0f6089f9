package report

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// next says what will happen to the pod if nobody does anything, and what a person can do about it.
func (c *Cluster) next(s *stand) []string {
	var said []string
	if s.owner != nil && stale(s.owner) {
		said = append(said, fmt.Sprintf("The operator has not looked at the last change of fleet %s yet (generation %d, seen %d). If that lasts: kubectl get pods -n %s",
			s.owner.Name, s.owner.Generation, s.owner.Status.ObservedGeneration, c.OperatorNamespace))
	}
	if s.stage == away {
		return append(said, fmt.Sprintf("Nothing: %s, and the operator leaves such a pod alone.", whyAway(s.pod)))
	}
	if !s.wanted() {
		return append(said, s.nextUnwanted()...)
	}
	return append(said, c.nextWanted(s)...)
}

// nextUnwanted is for pods that no fleet wants a sidecar in.
func (s *stand) nextUnwanted() []string {
	switch {
	case s.stage == untouched:
		return []string{"Nothing: no fleet wants a sidecar in this pod."}
	case s.stage == leaving && s.serves != 0:
		return []string{fmt.Sprintf("%s exits when no caller is connected to it any more.", s.named(s.serves, s.version))}
	case s.stage == left || s.serves == 0 && !s.running():
		return []string{"The operator forgets the sidecar; its container's entry stays in the pod until the pod is replaced."}
	case s.stage == handover:
		return []string{"The handover that has begun ends first" + s.by() + "; then the sidecar is asked to leave."}
	case s.stage == leaving:
		return []string{"What still runs of the sidecar exits."}
	}
	return []string{"The operator asks the sidecar to leave: callers go back to the direct way, then it exits."}
}

// by is the deadline: ", in 9m at the latest".
func (s *stand) by() string {
	if s.deadline.IsZero() {
		return ""
	}
	return ", at the latest at " + s.deadline.UTC().Format("15:04:05 MST")
}

func (c *Cluster) nextWanted(s *stand) []string {
	d := s.desired
	switch s.stage {
	case fresh:
		return c.nextFirst(s)
	case starting:
		return []string{fmt.Sprintf("%s has to serve%s; else it counts as failed.", s.named(d.Generation, d.Version), s.by())}
	case orphaned:
		return []string{fmt.Sprintf("What it was to take over from has ended: the operator lets %s start cold.", s.named(d.Generation, d.Version))}
	case serving:
		return c.nextServing(s)
	case unsent, coming, ready:
		return c.nextCandidate(s)
	case handover:
		return []string{
			fmt.Sprintf("The handover to %s has to be over%s; else it counts as failed.", s.named(d.Generation, d.Version), s.by()),
			fmt.Sprintf("If it fails, %s serves on.", s.named(s.serves, s.version)),
		}
	case obsolete:
		return []string{fmt.Sprintf("%s is dismissed, and %s serves on. Then the pod goes to %s when its turn comes.", s.named(d.Generation, d.Version), s.named(s.serves, s.version), s.target)}
	case broken:
		return c.nextBroken(s)
	case leaving, left:
		return []string{"The sidecar leaves first. Then, because a fleet wants the pod again, it gets a new one."}
	}
	return []string{"Nothing that this program knows of."}
}

// nextFirst is for wanted pods in which nothing serves and nothing is on its way.
func (c *Cluster) nextFirst(s *stand) []string {
	if why := s.pod.Annotations[axlev1.SkippedAnnotation]; why != "" {
		return []string{"Nothing: the pod is passed over, see above. Its callers go the direct way."}
	}
	version := s.target
	if f := s.owner; s.pod.Annotations[axlev1.PinVersionAnnotation] == "" && f.Status.CurrentVersion != "" &&
		f.Status.CurrentVersion != f.Spec.Version && f.Status.Pods.Updated < f.Status.Pods.Injected && c.problem(f.Status.CurrentVersion) == "" {
		version = f.Status.CurrentVersion // during a rollout pods get what the others still run
	}
	if why := c.held(s.owner, version, version == s.owner.Spec.Version); len(why) > 0 {
		return why
	}
	said := []string{fmt.Sprintf("The operator adds %s to the running pod, as soon as not too many others are starting.", s.named(s.next(), version))}
	if s.slotted() {
		said = []string{fmt.Sprintf("The operator lets a slot of the pod start with %s.", version)}
	}
	if version != s.target {
		said = append(said, fmt.Sprintf("That is what other pods of the fleet still run; the pod goes to %s in its turn.", s.target))
	}
	return said
}

// nextServing is for wanted pods in which one generation serves and no other is on its way.
func (c *Cluster) nextServing(s *stand) []string {
	switch {
	case s.version == s.target:
		said := []string{fmt.Sprintf("Nothing: %s runs what the fleet wants.", s.name(s.serves))}
		if goesBack(s.owner) {
			said = []string{fmt.Sprintf("Nothing: the rollout of %s has stopped, and %s does not run it.", s.owner.Spec.Version, s.name(s.serves))}
		}
		for _, one := range s.sidecars {
			if one.Running && one.Slot == "" && one.Generation != s.serves {
				said = append(said, fmt.Sprintf("%s has yet to exit.", one.Container))
			}
		}
		return said
	case s.failure != "":
		return c.nextBroken(s)
	case s.pod.Annotations[axlev1.SkippedAnnotation] != "":
		return []string{fmt.Sprintf("Nothing: the pod cannot go to %s, see above; %s serves on.", s.target, s.named(s.serves, s.version))}
	}
	if why := c.held(s.owner, s.target, s.target == s.owner.Spec.Version); len(why) > 0 {
		return append(why, fmt.Sprintf("Until then %s serves on.", s.named(s.serves, s.version)))
	}
	limit := "10%"
	if m := s.owner.Spec.UpdateStrategy.MaxUpdating; m != nil {
		limit = m.String()
	}
	adds := "adds " + s.named(s.next(), s.target)
	if s.slotted() {
		adds = fmt.Sprintf("flips the slot that idles to %s", s.named(s.next(), s.target))
	}
	return []string{fmt.Sprintf("When its turn comes (maxUpdating is %s: of all pods, and of each workload, node and zone) and its node has the image, the operator %s, which takes over from %s.",
		limit, adds, s.named(s.serves, s.version))}
}

// nextCandidate is for pods whose next generation has not begun to take over.
func (c *Cluster) nextCandidate(s *stand) []string {
	if why := c.held(s.owner, s.desired.Version, s.desired.Version == s.owner.Spec.Version); len(why) > 0 && !isTrue(s.owner.Status.Conditions, axlev1.ConditionPaused, "StepPause") {
		return append(why, fmt.Sprintf("Until then %s serves on.", s.named(s.serves, s.version)))
	}
	mine := s.named(s.desired.Generation, s.desired.Version)
	switch s.stage {
	case unsent:
		return []string{fmt.Sprintf("The operator adds %s to the pod.", mine)}
	case ready:
		return []string{fmt.Sprintf("The operator lets %s take over.", mine)}
	}
	return []string{
		fmt.Sprintf("%s has to connect to the operator%s; else it counts as failed. Then the handover begins.", mine, s.by()),
		fmt.Sprintf("Until then %s serves on.", s.named(s.serves, s.version)),
	}
}

// nextBroken is for pods whose last attempt failed.
func (c *Cluster) nextBroken(s *stand) []string {
	state := "Nothing serves: callers go the direct way."
	if s.serves != 0 {
		state = fmt.Sprintf("%s serves on.", s.named(s.serves, s.version))
	}
	if !s.recorded {
		return []string{state, "The operator writes the failure down, and stops the rollout if it is one too many."}
	}
	said := []string{state, "It is not tried again before somebody asks for it, or for another version."}
	return append(said, retry(s.owner, s.desired.Failed.Version)...)
}

// held says what keeps a fleet from bringing a version to further pods; nil when nothing does. rollout says whether that is the
// fleet's own version, to which steps and failures apply.
func (c *Cluster) held(f *axlev1.SidecarFleet, version string, rollout bool) []string {
	if f.Spec.Paused {
		return []string{fmt.Sprintf("Nothing while fleet %s is paused. To go on: kubectl axle rollout resume %s", f.Name, f.Name)}
	}
	if why := c.problem(version); why != "" {
		return []string{fmt.Sprintf("Nothing before version %s can be used: %s", version, sentence(why))}
	}
	if !rollout || stale(f) {
		return nil
	}
	if why, ok := stopped(f); ok {
		return append([]string{fmt.Sprintf("Nothing: the rollout of %s has stopped. %s", f.Spec.Version, sentence(why))}, retry(f, f.Spec.Version)...)
	}
	if c := meta.FindStatusCondition(f.Status.Conditions, axlev1.ConditionPaused); c != nil && c.Status == metav1.ConditionTrue && c.Reason == "StepPause" {
		return []string{"Nothing while the rollout pauses: " + sentence(c.Message)}
	}
	return nil
}

// Reasons of the Progressing condition of a rollout that goes back.
const (
	rollingBack    = "RollingBack"
	rolledBack     = "RolledBack"
	rollbackFailed = "RollbackFailed"
)

// goesBack says whether the pods that run the fleet's version are to go back to its current one.
func goesBack(f *axlev1.SidecarFleet) bool {
	c := meta.FindStatusCondition(f.Status.Conditions, axlev1.ConditionProgressing)
	return c != nil && f.Tried() && slices.Contains([]string{rollingBack, rolledBack, rollbackFailed}, c.Reason)
}

// stopped says whether the controller has stopped the rollout of the fleet's version, and why.
func stopped(f *axlev1.SidecarFleet) (why string, ok bool) {
	progress := meta.FindStatusCondition(f.Status.Conditions, axlev1.ConditionProgressing)
	if progress == nil || !slices.Contains([]string{"Stopped", rollingBack, rolledBack, rollbackFailed}, progress.Reason) || !f.Tried() {
		return "", false
	}
	if d := meta.FindStatusCondition(f.Status.Conditions, axlev1.ConditionDegraded); d != nil && d.Status == metav1.ConditionTrue {
		// The controller's advice follows; this program has its own.
		why, _, _ := strings.Cut(d.Message, ". The rollout of "+f.Spec.Version+" has stopped")
		return why, true
	}
	return progress.Message, true
}

// retry lists the commands for a pod or a rollout that did not come to a version.
func retry(f *axlev1.SidecarFleet, failed string) []string {
	var said []string
	if f.Status.CurrentVersion != "" && f.Status.CurrentVersion != f.Spec.Version && failed == f.Spec.Version {
		said = append(said, fmt.Sprintf("To go back to %s: kubectl axle rollout undo %s", f.Status.CurrentVersion, f.Name))
	}
	return append(said, fmt.Sprintf("To try again: kubectl axle rollout retry %s", f.Name))
}
