package sidecarfleet

import (
	"fmt"
	"time"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// stage is where one pod stands.
type stage string

const (
	away      stage = "away"      // cannot be changed now
	fresh     stage = "fresh"     // nothing serves and nothing is on its way
	starting  stage = "starting"  // a cold start is on its way
	orphaned  stage = "orphaned"  // a candidate waits for a predecessor that has ended: it may start cold
	serving   stage = "serving"   // one generation serves, no other is wanted
	unsent    stage = "unsent"    // an upgrade was decided and its container not sent yet
	coming    stage = "coming"    // the candidate has not connected yet
	ready     stage = "ready"     // the candidate is connected: the handover may begin
	handover  stage = "handover"  // it has begun
	obsolete  stage = "obsolete"  // a candidate of a version that nobody wants any more; it has not begun
	broken    stage = "broken"    // the attempt failed
	leaving   stage = "leaving"   // callers are going back to the direct way
	left      stage = "left"      // and are gone
	untouched stage = "untouched" // a pod that the fleet does not want and never touched
)

// lost is the kubelet's reason for a container whose end it did not see, as when the pod's sandbox was made anew.
const lost = "ContainerStatusUnknown"

// lastWords is how long after the end of a candidate its report of what happened is waited for: it says more than an exit code.
const lastWords = 3 * time.Second

// reconnects is how long after a break of the operator its sidecars may take to come back and say what happened: they try again at least every 15 s.
const reconnects = 20 * time.Second

// view is a pod with what follows from its facts.
type view struct {
	Pod
	stage stage
	// serves is the generation that serves, or 0, and version what it runs.
	serves  int64
	version string
	// target is the version that it is to run, once it has a sidecar.
	target string
	// failure says how the attempt at version missed failed, or what speaks against it; recorded is true when the pod's annotation has it.
	failure, missed string
	recorded        bool
	// deadline of the attempt, when there is one.
	deadline time.Time
	// fell is true when the other slot serves in place of the one that is desired, which had served.
	fell bool
}

// underway says whether the pod is between two generations.
func (v view) underway() bool {
	switch v.stage {
	case unsent, coming, ready, handover:
		return true
	}
	return false
}

// assess finds out where a pod stands. It decides nothing. With back, the fleet's version has failed and makes way for the current one.
func (f Fleet) assess(p Pod, now time.Time, back bool) view {
	v := view{Pod: p, serves: sidecars.Serving(p.Status, p.Sidecars), target: f.Version}
	if v.serves != 0 {
		v.version = p.Status.Version
	}
	switch {
	case p.Pin != "":
		v.target = p.Pin
	case back && v.serves != 0 && v.version != f.Version:
		v.target = v.version
	case back:
		v.target = f.Current
	}
	d := p.Desired
	switch {
	case p.Away:
		v.stage = away
	case d == nil && !p.Wanted && v.serves == 0:
		v.stage = untouched
	case d != nil && d.Leave:
		v.stage = leaving
		if v.serves == 0 && (p.Status != nil && p.Status.Phase == axlev1.PhaseLeft || p.slotted() && !v.unclear() || !p.running(0)) {
			v.stage = left
		}
	case v.unclear():
		v.stage = starting
	case v.serves == 0:
		f.assessCold(&v, now)
	case d == nil || d.Generation <= v.serves || v.fallen():
		v.stage, v.fell = serving, d != nil && d.Generation > v.serves
		f.evidence(&v, now)
	default:
		f.assessUpgrade(&v, now)
	}
	if v.stage == serving || back {
		v.remember(f, back)
	}
	return v
}

// assessCold is for pods in which nothing serves.
func (f Fleet) assessCold(v *view, now time.Time) {
	v.stage = fresh
	d := v.Desired
	if d == nil {
		return
	}
	s, sent := sidecars.Find(v.Sidecars, d.Generation)
	served := v.Status != nil && v.Status.Generation == d.Generation
	if !sent || s.Terminated && (served || s.Reason == lost) { // never sent, or lost with the pod's sandbox
		return
	}
	v.deadline = f.deadline(d)
	problem := v.stuck(s)
	if problem == "" && !now.Before(v.deadline) {
		problem = fmt.Sprintf("did not serve within %s", f.Deadline)
	}
	switch {
	case problem == "" && d.Predecessor != 0 && !d.Begin:
		v.stage = orphaned
	case problem == "":
		v.stage = starting
	case d.Failed != nil && d.Failed.Generation == d.Generation && d.Failed.Attempt != f.Attempt:
		// It failed for what the fleet was then: try again.
	case d.Failed != nil && d.Failed.Generation == d.Generation && d.Version == f.Version && d.Version != v.target:
		// Its version makes way for another, which starts afresh; the failure is remembered.
	case d.Failed != nil && d.Failed.Generation == d.Generation:
		v.stage, v.failure, v.missed, v.recorded = broken, d.Failed.Message, d.Version, true
	default:
		v.stage, v.missed, v.failure = broken, d.Version, v.failed("SidecarFailed", d, problem, "nothing was served through it, and callers go the direct way")
	}
}

// assessUpgrade is for pods in which one generation serves and a later one is wanted.
func (f Fleet) assessUpgrade(v *view, now time.Time) {
	d := v.Desired
	stays := fmt.Sprintf("%s (%s) serves on", v.name(v.serves), v.version)
	if h := v.Status.Handover; h != nil && h.To == d.Generation && !h.OK {
		v.stage, v.missed = broken, d.Version
		problem := fmt.Sprintf("failed in %s: %s", orUnknown(h.Step), orUnknown(h.Reason))
		v.failure = v.failed("HandoverFailed", d, problem, fmt.Sprintf("%s, %d connections lost", stays, h.Lost))
		return
	}
	s, sent := sidecars.Find(v.Sidecars, d.Generation)
	connected := v.Status.Candidate == d.Generation
	v.deadline = f.deadline(d)
	if heard := f.heard(s.Ended).Add(lastWords); d.Begin && s.Terminated && now.Before(heard) {
		v.stage, v.deadline = handover, heard
		return
	}
	problem := v.stuck(s)
	switch late := !now.Before(v.deadline); {
	case problem == "" && late && d.Begin:
		problem = fmt.Sprintf("did not finish its handover within %s", f.Deadline)
	case problem == "" && late && sent && !connected:
		problem = fmt.Sprintf("did not connect to the operator within %s", f.Deadline)
	}
	switch {
	case problem != "":
		v.stage, v.missed, v.failure = broken, d.Version, v.failed("HandoverFailed", d, problem, stays)
	case d.Begin:
		v.stage = handover
	case d.Version != v.target || !v.Wanted:
		v.stage = obsolete
	case !sent:
		v.stage = unsent
	case connected:
		v.stage = ready
	default:
		v.stage = coming
	}
}

// stuck says what the kubelet reports of a sidecar that will not come up, or "".
func (v view) stuck(s sidecars.Sidecar) string {
	switch {
	case s.Failed:
		return "gave up: " + orUnknown(s.FailReason)
	case s.Terminated:
		return fmt.Sprintf("exited with code %d%s", s.ExitCode, because(s.Reason, s.Message))
	case s.Stuck():
		return "cannot start" + because(s.Reason, s.Message)
	}
	return ""
}

// failed renders a failure for the person at 3 a.m.
func (v view) failed(reason string, d *axlev1.PodDesired, problem, state string) string {
	return fmt.Sprintf("%s: %s: %s (%s) %s; %s. %s",
		reason, v.NamespacedName, v.name(d.Generation), d.Version, problem, state, v.logs(d.Generation))
}

func (f Fleet) deadline(d *axlev1.PodDesired) time.Time {
	if d.Since == nil {
		return time.Unix(1<<40, 0) // written by someone who does not keep time: never
	}
	return f.heard(d.Since.Time).Add(f.Deadline)
}

// heard is when the operator can be expected to know what happened at t: what happened in a break it hears after it.
func (f Fleet) heard(t time.Time) time.Time {
	if back := f.Awake.Add(reconnects); !f.Awake.IsZero() && back.After(t) {
		return back
	}
	return t
}

func because(reason, message string) string {
	switch {
	case reason == "":
		return ""
	case message == "":
		return " (" + reason + ")"
	}
	const most = 300
	if len(message) > most {
		message = message[:most] + "..."
	}
	return " (" + reason + ": " + message + ")"
}

func orUnknown(s string) string {
	if s == "" {
		return "an unknown step"
	}
	return s
}
