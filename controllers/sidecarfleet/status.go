package sidecarfleet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Reasons of the conditions that are not a Kind.
const (
	reasonAllServing    = "AllServing"
	reasonNoPods        = "NoPods"
	reasonMissing       = "SidecarsMissing"
	reasonComplete      = "Complete"
	reasonInjecting     = "Injecting"
	reasonUpgrading     = "Upgrading"
	reasonNode          = "NodeDoesNotPull"
	reasonFailed        = "RolloutFailed"
	reasonNoWayBack     = "NotRolledBack"
	reasonNotNeeded     = "NotNeeded"
	reasonVerifying     = "Verifying"
	reasonDeadline      = "ProgressDeadlineExceeded"
	reasonPaused        = "Paused"
	reasonStepPause     = "StepPause"
	reasonNotPaused     = "NotPaused"
	reasonVersion       = "VersionUnavailable"
	reasonBlocked       = "PodsBlocked"
	reasonTrouble       = "PodsNotChanged"
	reasonHealthy       = "Healthy"
	reasonOtherFleet    = "OtherFleetOwnsPods"
	reasonNoOther       = "NoOtherFleet"
	maxConditionMessage = 2000
)

// tally is what a status is made of.
type tally struct {
	*planner
	pods                    axlev1.FleetPods
	total, there            int // pods that follow the fleet's version and have a sidecar, and those that serve with it
	wanted, unserved        int // pods that can have a sidecar, and those without one
	pending                 int // those of the latter that have not failed
	firstFailure, firstKind string
	firstBlocked            string
	firstBack               string // how a pod failed to go back
	outcome                 outcome
	remaining               int // pods that have yet to leave the fleet's version
	trouble                 error
}

// Summarize turns the facts into the fleet's status. It is pure: old is only where things stood, trouble is what kept steps from being taken, and the
// same facts give the same status, so that a status is written only when something changed.
func Summarize(now time.Time, seen Observed, old axlev1.SidecarFleetStatus, trouble error) axlev1.SidecarFleetStatus {
	t := count(newPlanner(now, seen))
	t.trouble = trouble
	f := t.Fleet
	next := *old.DeepCopy()
	next.CurrentVersion = f.Current
	next.ObservedGeneration, next.Pods, next.UpdateVersion = f.Generation, t.pods, f.Version
	next.Attempt, next.UpdateHash = f.Attempt, f.Hash
	next.Handover = t.handovers()
	if t.arrived() {
		next.CurrentVersion = f.Version
	}
	next.Step = t.step(old)
	for _, c := range []metav1.Condition{t.available(), t.progressing(), t.degraded(), t.paused(), t.rolledBack(), t.conflicted()} {
		c.ObservedGeneration, c.LastTransitionTime = f.Generation, metav1.NewTime(now.Truncate(time.Second))
		if len(c.Message) > maxConditionMessage {
			c.Message = c.Message[:maxConditionMessage]
		}
		meta.SetStatusCondition(&next.Conditions, c)
	}
	return next
}

// arrived says that new pods may be created with the fleet's version: every pod serves with it, for a while. Where there is no pod, one has to
// have been served by it at some time, somewhere: an image that nobody has seen work would keep applications from starting.
func (t *tally) arrived() bool {
	v := t.Fleet.Version
	return !t.stopped[v] && t.problem(v) == "" && t.there == t.total && (t.there > 0 || t.wanted == 0 && t.Versions[v].Served) && t.soaking().IsZero()
}

func count(p *planner) *tally {
	t := &tally{planner: p, outcome: p.outcome()}
	t.total, t.there, _ = p.progress()
	t.remaining, _ = p.retreat()
	for i := range p.views {
		v := &p.views[i]
		if !v.Wanted || v.stage == away {
			continue
		}
		t.pods.Matched++
		blocked := p.blocked(v)
		if blocked != "" {
			t.pods.Blocked++
		}
		if t.firstBlocked == "" && strings.HasPrefix(blocked, "Blocked") {
			t.firstBlocked = fmt.Sprintf("%s: %s", v.NamespacedName, blocked)
		}
		if blocked == "" || v.serves != 0 {
			t.wanted++
		}
		if v.serves != 0 {
			t.pods.Injected++
			if v.slotted() {
				t.pods.Slots++
			} else {
				t.pods.InPlace++
			}
			if v.Status.Carrying {
				t.pods.Carrying++
			}
			if v.version == p.Fleet.Version {
				t.pods.Updated++
			}
		} else if blocked == "" {
			t.unserved++
			if v.failure == "" {
				t.pending++
			}
		}
		if v.failure != "" {
			t.pods.Failed++
			t.failed(v)
		}
	}
	return t
}

// failed picks the failure that the status tells of: the first one of a pod that serves, if there is one.
func (t *tally) failed(v *view) {
	switch {
	case t.back && v.missed != t.Fleet.Version:
		if t.firstBack == "" {
			t.firstBack = v.failure
		}
	case t.firstFailure == "" || t.firstKind == string(NoStart) && v.serves != 0:
		t.firstFailure, t.firstKind = v.failure, string(NoStart)
		if v.serves != 0 {
			t.firstKind = string(kindOf(v.failure))
		}
	}
}

// handovers sums up those that brought the fleet's version, and what the others have cost.
func (t *tally) handovers() axlev1.FleetHandover {
	var sum axlev1.FleetHandover
	var worst int64
	for i := range t.views {
		v := &t.views[i]
		if !v.Wanted || v.Status == nil || v.Status.Handover == nil {
			continue
		}
		if h := v.Status.Handover; !h.OK && h.From == v.serves {
			sum.ConnectionsLost += h.Lost
		}
		if v.version != t.Fleet.Version || v.Status.Handover.To != v.serves {
			continue
		}
		sum.ConnectionsMoved += v.Status.Handover.Moved
		sum.ConnectionsLost += v.Status.Handover.Lost
		worst = max(worst, v.Status.Handover.FreezeP99Micros)
	}
	if worst > 0 {
		sum.FreezeP99 = &metav1.Duration{Duration: time.Duration(worst) * time.Microsecond}
	}
	return sum
}

func (t *tally) step(old axlev1.SidecarFleetStatus) axlev1.FleetStep {
	same := old.Attempt == t.Fleet.Attempt
	index := int32(stepsDone(t.Fleet.Steps, t.total, t.there))
	if same && t.Fleet.through() && t.outcome == going {
		index = t.Fleet.StepIndex
	}
	reason := reasonUpgrading
	if int(index) == len(t.Fleet.Steps) {
		reason = reasonComplete
	}
	if reason == reasonComplete && !t.soaking().IsZero() {
		reason = reasonVerifying
	}
	if same && old.Step.Index == index && old.Step.Since != nil {
		return axlev1.FleetStep{Index: index, Since: old.Step.Since, Reason: reason}
	}
	return axlev1.FleetStep{Index: index, Since: t.stamp(), Reason: reason}
}

func condition(kind string, status bool, reason, message string) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message}
	if status {
		c.Status = metav1.ConditionTrue
	}
	return c
}

func (t *tally) available() metav1.Condition {
	switch {
	case t.wanted == 0 && t.Fleet.Current == "" && !t.Versions[t.Fleet.Version].Served:
		return condition(axlev1.ConditionAvailable, true, reasonNoPods, fmt.Sprintf(
			"No running pod is selected. %s has served nowhere yet: the first pods get it when they run, and those that are created after that with slots.", t.Fleet.Version))
	case t.wanted == 0:
		return condition(axlev1.ConditionAvailable, true, reasonNoPods, "No running pod is selected.")
	case t.unserved == 0:
		return condition(axlev1.ConditionAvailable, true, reasonAllServing, fmt.Sprintf("All %d pods have a serving sidecar.", t.wanted))
	}
	return condition(axlev1.ConditionAvailable, false, reasonMissing,
		fmt.Sprintf("%d of %d pods have no serving sidecar; their callers go the direct way.", t.unserved, t.wanted))
}

func (t *tally) progressing() metav1.Condition {
	f := t.Fleet
	where := fmt.Sprintf("%d of %d pods serve with %s.", t.there, t.total, f.Version)
	switch {
	case t.outcome != going:
		return condition(axlev1.ConditionProgressing, t.outcome == reverting && !f.Paused, string(t.outcome), where)
	case t.problem(f.Version) != "":
		return condition(axlev1.ConditionProgressing, false, reasonVersion, t.problem(f.Version))
	case f.Paused:
		return condition(axlev1.ConditionProgressing, false, reasonPaused, where)
	case t.there < t.total && !pauseEnd(f, stepsDone(f.Steps, t.total, t.there), t.now).IsZero():
		return condition(axlev1.ConditionProgressing, true, reasonStepPause, where)
	case t.there < t.total && t.stuck():
		return condition(axlev1.ConditionProgressing, false, reasonDeadline,
			fmt.Sprintf("%s Nothing has moved for %s or longer. It waits for %s", where, f.Deadline, t.awaits()))
	case t.there < t.total:
		return condition(axlev1.ConditionProgressing, true, reasonUpgrading, where)
	case !t.soaking().IsZero():
		return condition(axlev1.ConditionProgressing, true, reasonVerifying, fmt.Sprintf(
			"%s They have to serve well for %s (spec.updateStrategy.analysis.interval) before the rollout is complete.", where, f.Soak))
	case t.pending > 0:
		return condition(axlev1.ConditionProgressing, true, reasonInjecting, fmt.Sprintf("%d of %d pods wait for their first sidecar.", t.unserved, t.wanted))
	}
	return condition(axlev1.ConditionProgressing, false, reasonComplete, where)
}

// stuck says whether nothing has moved for the progress deadline, and nothing moves now.
func (t *tally) stuck() bool {
	if !t.still() {
		return false
	}
	steps, _ := Plan(t.now, t.Observed)
	return !slices.ContainsFunc(steps, Step.moves)
}

// cause is what stopped the rollout, or failed without stopping it, and the reason that stands for it; "" when nothing failed.
func (t *tally) cause() (message, reason string) {
	if image := t.noImage[t.Fleet.Version]; t.firstFailure == "" && image != "" {
		return image, string(NoImage)
	}
	if t.firstFailure == "" {
		return t.Fleet.Stopped, t.Fleet.StoppedBy
	}
	if n := t.pods.Failed - 1; n > 0 && t.firstBack == "" {
		return fmt.Sprintf("%s (and %d more pods)", t.firstFailure, n), t.firstKind
	}
	return t.firstFailure, t.firstKind
}

func (t *tally) degraded() metav1.Condition {
	f := t.Fleet
	cause, reason := t.cause()
	switch {
	case t.outcome != going:
		return condition(axlev1.ConditionDegraded, true, reason, cause+t.advice())
	case cause != "":
		return condition(axlev1.ConditionDegraded, true, reason, cause)
	case t.problem(f.Version) != "":
		return condition(axlev1.ConditionDegraded, true, reasonVersion, t.problem(f.Version))
	case t.trouble != nil:
		return condition(axlev1.ConditionDegraded, true, reasonTrouble, fmt.Sprintf("Pods could not be changed; trying again: %v", t.trouble))
	case t.firstBlocked != "":
		return condition(axlev1.ConditionDegraded, true, reasonBlocked, t.firstBlocked)
	case t.waiting() != "":
		return condition(axlev1.ConditionDegraded, true, reasonNode, t.waiting())
	}
	return condition(axlev1.ConditionDegraded, false, reasonHealthy, "Nothing has failed.")
}

// advice says what became of a rollout that has stopped, and what a person can do.
func (t *tally) advice() string {
	f := t.Fleet
	text := stoppedPhrase(f.Version)
	undo := fmt.Sprintf(`kubectl patch sidecarfleet %s --type merge -p '{"spec":{"version":"%s"}}'.`, f.Name, f.Current)
	switch t.outcome {
	case reverting:
		return text + fmt.Sprintf("; pods that run it go back to %s: %d to go.", f.Current, t.remaining)
	case reverted:
		return text + fmt.Sprintf("; no pod runs it, and spec.version still names it. To settle for %s: ", f.Current) + undo + t.again()
	case stranded:
		return text + fmt.Sprintf(", and going back to %s as well: %s", f.Current, t.stranding()) + t.again()
	}
	text += "; no further pod is touched."
	if f.Current != "" && f.Current != f.Version {
		text += " To undo: " + undo
	}
	return text + t.again()
}

// again says how a version is tried again that has failed.
func (t *tally) again() string {
	return fmt.Sprintf(" To try again: kubectl axle rollout retry %s, or: kubectl annotate --overwrite sidecarfleet %s %s=%s/%d.",
		t.Fleet.Name, t.Fleet.Name, axlev1.RetryAnnotation, t.Fleet.Version, t.Fleet.Attempt+1)
}

// stranding says why pods stay with a version that failed.
func (t *tally) stranding() string {
	text := fmt.Sprintf("%d pods still run %s", t.remaining, t.Fleet.Version)
	switch {
	case t.firstBack != "":
		return text + "; " + t.firstBack + "."
	case t.noImage[t.Fleet.Current] != "":
		return text + "; " + t.noImage[t.Fleet.Current] + "."
	case t.firstBlocked != "":
		return text + "; " + t.firstBlocked + "."
	}
	return text + "."
}

func (t *tally) rolledBack() metav1.Condition {
	f := t.Fleet
	cause, _ := t.cause()
	switch t.outcome {
	case reverted:
		return condition(axlev1.ConditionRolledBack, true, reasonFailed, cause+t.advice())
	case reverting, stranded:
		return condition(axlev1.ConditionRolledBack, false, string(t.outcome), fmt.Sprintf("%d pods still run %s.", t.remaining, f.Version))
	case halted:
		return condition(axlev1.ConditionRolledBack, false, reasonNoWayBack, t.noWayBack())
	}
	return condition(axlev1.ConditionRolledBack, false, reasonNotNeeded, "The rollout has not failed.")
}

// noWayBack says why a rollout that has stopped is not rolled back.
func (t *tally) noWayBack() string {
	f := t.Fleet
	switch {
	case !f.Rollback:
		return "spec.updateStrategy.onFailure is Pause."
	case f.Current == "" || f.Current == f.Version:
		return "There is no version before this one."
	}
	return fmt.Sprintf("The version before this one cannot be used: %s.", t.problem(f.Current))
}

func (t *tally) paused() metav1.Condition {
	f := t.Fleet
	index := stepsDone(f.Steps, t.total, t.there)
	end := pauseEnd(f, index, t.now)
	switch {
	case f.Paused:
		return condition(axlev1.ConditionPaused, true, reasonPaused, "spec.paused is true: no pod is changed, except that sidecars which are not wanted leave.")
	case t.outcome == going && t.there < t.total && !end.IsZero():
		return condition(axlev1.ConditionPaused, true, reasonStepPause, fmt.Sprintf(
			"Step %d of %d is complete and its pause holds until %s. To go on now: kubectl axle rollout promote %s, or: kubectl annotate --overwrite sidecarfleet %s %s=%s/%d@%d",
			index, len(f.Steps), end.UTC().Format(time.RFC3339), f.Name, f.Name, axlev1.PromoteAnnotation, f.Version, index, f.Attempt))
	}
	return condition(axlev1.ConditionPaused, false, reasonNotPaused, "The rollout is not paused.")
}

func (t *tally) conflicted() metav1.Condition {
	if len(t.Rivals) == 0 {
		return condition(axlev1.ConditionConflicted, false, reasonNoOther, "No other fleet owns pods that this one selects.")
	}
	return condition(axlev1.ConditionConflicted, true, reasonOtherFleet,
		fmt.Sprintf("%d pods that this fleet selects belong to %s (priority, then age, then name; a pod stays with the fleet it has).",
			t.Contested, strings.Join(t.Rivals, ", ")))
}
