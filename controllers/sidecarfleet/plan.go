package sidecarfleet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/webhook/inject"
)

// Kind of a step; it is the reason of the event that the step leaves on the pod.
type Kind string

// The kinds of steps.
const (
	Inject  Kind = "Injecting"        // write the desire, send the stub of a first sidecar
	Upgrade Kind = "Upgrading"        // write the desire, send the stub of the next generation
	Begin   Kind = "HandoverBegun"    // let the connected candidate take over
	Ask     Kind = "Asked"            // ask whether what serves is connected, before the other slot is flipped
	Settle  Kind = "Settled"          // make the desire say what serves
	Done    Kind = "Upgraded"         // the same, after a handover
	Fail    Kind = "HandoverFailed"   // write the failure down; what serves goes on
	NoStart Kind = "SidecarFailed"    // the same where nothing serves
	Over    Kind = "FailedOver"       // the same, after one slot died and the other one took its place
	Lost    Kind = "ConnectionsLost"  // write down that an upgrade has cost connections
	Crash   Kind = "CrashLooping"     // write down that what serves does not stay up
	NoImage Kind = "ImageUnavailable" // a node cannot get a version's image; no pod is concerned
	Leave   Kind = "Leaving"
	Forget  Kind = "Left"
	Skip    Kind = "Skipped"
	Unskip  Kind = "Unskipped"
	Pulling Kind = "ImagePulling"   // create the pod that makes an image present on a node
	Erring  Kind = "ImagePullFails" // write down on it since when the kubelet cannot pull
	Pulled  Kind = "ImagePulled"    // and remove it
)

// Step is one change of one pod.
type Step struct {
	Kind Kind
	Pod  types.NamespacedName
	UID  types.UID
	// Desired to write; nil removes it (Forget) or leaves it alone (Skip, Unskip).
	Desired *axlev1.PodDesired
	// Stub is true when the container of Desired.Generation has to be sent too.
	Stub bool
	// Flip is what changes in a pod with slots; nil when that is nothing.
	Flip *Flip
	// Version and Node of a pull. With Pulling, Since and Record are when the node was asked first and why it did not take the pod, which is
	// replaced; with NoImage, Record is the failure that is written on the pod, which stays.
	Version, Node, Record string
	Since                 time.Time
	// Note is the event's text, and for Skip the annotation's.
	Note string
}

// Plan decides what to do now, in order, and when to look again if nothing happens before; 0 means never. It is pure.
func Plan(now time.Time, seen Observed) (steps []Step, wake time.Duration) {
	p := newPlanner(now, seen)
	for i := range p.views {
		if step, ok := p.upkeep(&p.views[i]); ok {
			p.steps = append(p.steps, step)
		}
	}
	p.start()
	if end := p.soaking(); !end.IsZero() {
		p.look(end)
	}
	p.still()
	return p.steps, p.wake
}

// planner is one run of Plan.
type planner struct {
	Observed
	now   time.Time
	views []view
	// stopped versions get no further pods.
	stopped map[string]bool
	// back is true when pods that run the fleet's version go back to its current one.
	back bool
	// noImage says of versions that some node cannot get their image.
	noImage map[string]string
	pulls   map[place]Pull
	steps   []Step
	wake    time.Duration
}

func newPlanner(now time.Time, seen Observed) *planner {
	p := &planner{Observed: seen, now: now}
	p.succeed()
	for _, pod := range seen.Pods {
		p.views = append(p.views, p.Fleet.assess(pod, now, false))
	}
	p.unpullable()
	p.stopped = stopped(p.Fleet, p.views)
	p.halt()
	p.revert()
	return p
}

// upkeep is what one pod needs whatever the others do.
func (p *planner) upkeep(v *view) (Step, bool) {
	if !v.Wanted {
		return p.unwanted(v)
	}
	if v.stage == away {
		return Step{}, false
	}
	if why := p.blocked(v); why != "" && (why != v.Skipped || p.untold(v, why)) {
		return v.step(Skip, nil, why), true
	} else if why == "" && v.Skipped != "" && v.stage != fresh {
		return v.step(Unskip, nil, ""), true
	}
	switch v.stage {
	case broken:
		if !v.recorded {
			return p.fail(v, v.failure), true
		}
	case left:
		return v.step(Forget, nil, "the sidecar has left"), true
	case orphaned:
		d := p.desire(v, v.Desired.Generation, v.Desired.Version)
		return v.hint(v.step(Settle, d, fmt.Sprintf("%s starts cold: its predecessor has ended", v.name(d.Generation))), d.Generation), true
	case serving:
		if evident(kindOf(v.failure)) && !v.recorded {
			return p.record(v), true
		}
		if step, ok := p.settle(v); ok {
			return step, true
		}
		return p.recount(v)
	case obsolete:
		return v.step(Settle, p.served(v), fmt.Sprintf("%s (%s) is not wanted any more; %s (%s) serves on",
			v.name(v.Desired.Generation), v.Desired.Version, v.name(v.serves), v.version)), true
	case unsent, coming, ready:
		return p.candidate(v)
	case starting, handover:
		p.look(v.deadline)
	}
	return Step{}, false
}

// candidate brings an upgrade that has not begun one step further.
func (p *planner) candidate(v *view) (Step, bool) {
	d := v.Desired
	switch {
	case p.stopped[d.Version]:
		return v.step(Settle, p.served(v), fmt.Sprintf("the rollout of %s has stopped; %s (%s) serves on",
			d.Version, v.name(v.serves), v.version)), true
	case p.Fleet.Paused:
		return Step{}, false
	case v.stage == unsent:
		return v.renew(Upgrade, p.upgrade(v), upgradeNote(v)), true
	case v.stage == ready:
		next := *d.DeepCopy()
		next.Fleet, next.Begin, next.Since = p.Fleet.Name, true, p.stamp()
		return v.step(Begin, &next, fmt.Sprintf("%s (%s) takes over from %s (%s)",
			v.name(d.Generation), d.Version, v.name(d.Predecessor), v.version)), true
	}
	p.look(v.deadline)
	return Step{}, false
}

// settle makes the desire of a pod in which one generation serves say exactly that.
func (p *planner) settle(v *view) (Step, bool) {
	d := v.Desired
	if p.ending(v) {
		return Step{}, false
	}
	next := p.served(v)
	if d != nil {
		next.Failed, next.Since = d.Failed, d.Since
	}
	if v.fell {
		next.Crashes, next.Since = v.died(p.now, p.Fleet.Deadline), p.stamp()
		return v.hint(v.step(Over, next, fmt.Sprintf("%s (%s) serves in place of %s (%s), which is down. %s",
			v.name(v.serves), v.version, v.name(d.Generation), d.Version, v.previousLogs(d.Generation))), v.serves), true
	}
	switch {
	case d == nil || d.Generation != next.Generation || d.Version != next.Version || d.Fleet != next.Fleet || !slices.Equal(d.Ports, next.Ports):
		return v.hint(v.step(Settle, next, fmt.Sprintf("%s (%s) serves", v.name(v.serves), v.version)), v.serves), true
	case d.Predecessor == 0 && !d.Begin && !v.hinted():
		return v.hint(v.step(Settle, next, fmt.Sprintf("%s (%s) serves", v.name(v.serves), v.version)), v.serves), true
	case d.Predecessor == 0 && !d.Begin:
		return Step{}, false
	}
	note := fmt.Sprintf("%s (%s) serves", v.name(v.serves), v.version)
	if h := v.Status.Handover; h != nil && h.OK && h.To == v.serves {
		note = fmt.Sprintf("%s (%s) took over from %s: %d connections moved, %d lost, in %s",
			v.name(v.serves), v.version, v.name(h.From), h.Moved, h.Lost, time.Duration(h.DurationMicros)*time.Microsecond)
	}
	return v.hint(v.step(Done, next, note), v.serves), true
}

// ending says that the old generation of a finished handover still has to end. That is waited for until the deadline and
// no longer: a proxy that crashed in its handover is restarted by its supervisor, and leaves when it is no longer named.
func (p *planner) ending(v *view) bool {
	d := v.Desired
	if d == nil || d.Predecessor == 0 || v.slotted() || !v.running(v.serves) { // a slot does not end: it idles
		return false
	}
	end := p.Fleet.deadline(d)
	if p.now.Before(end) {
		p.look(end)
		return true
	}
	return false
}

// fail writes a failure down and lets the generation that serves stay.
func (p *planner) fail(v *view, message string) Step {
	d := v.Desired.DeepCopy()
	d.Failed = &axlev1.PodFailure{Generation: d.Generation, Version: d.Version, Attempt: p.Fleet.Attempt, Message: message}
	if v.serves == 0 {
		return v.step(NoStart, d, message)
	}
	back := p.served(v)
	back.Failed = d.Failed
	return v.step(Fail, back, message)
}

// record writes down what speaks against the version that serves.
func (p *planner) record(v *view) Step {
	d := v.Desired.DeepCopy()
	d.Failed = &axlev1.PodFailure{Generation: v.serves, Version: v.missed, Attempt: p.Fleet.Attempt, Message: v.failure}
	if v.version != v.missed { // the slot that ran it has died
		d.Failed.Generation = v.highest()
	}
	if kindOf(v.failure) == Crash {
		d.Crashes = v.anew(p.now, v.missed)
	}
	return v.step(kindOf(v.failure), d, v.failure)
}

// unwanted takes the sidecar out of a pod that the fleet does not want.
func (p *planner) unwanted(v *view) (Step, bool) {
	d := v.Desired
	switch v.stage {
	case away:
		return Step{}, false
	case untouched:
		return p.passedOver(v)
	case leaving:
		return Step{}, false
	case left:
		return v.step(Forget, nil, "the sidecar has left"), true
	case handover: // it ends first
		p.look(v.deadline)
		return Step{}, false
	case serving:
		if p.ending(v) {
			return Step{}, false
		}
	}
	if v.serves == 0 && !v.slotted() && !v.running(0) {
		return v.step(Forget, nil, "no sidecar is left"), true
	}
	next := p.served(v)
	if v.serves == 0 {
		next.Generation, next.Version = d.Generation, d.Version
	}
	next.Leave = true
	return v.hint(v.step(Leave, next, "callers go back to the direct way, and the sidecar leaves"), 0), true
}

// passedOver is for pods that have no sidecar and are to have none. What kept the webhook from giving them one when they were created holds as
// long as they live.
func (p *planner) passedOver(v *view) (Step, bool) {
	why := v.Skip
	if own := strings.HasPrefix(v.Skipped, "Blocked") || strings.HasPrefix(v.Skipped, string(inject.Disabled)+":"); why == "" && !own {
		why = v.Skipped
	}
	switch {
	case why != "" && (why != v.Skipped || p.untold(v, why)):
		return v.step(Skip, nil, why), true
	case why == "" && v.Skipped != "":
		return v.step(Unskip, nil, ""), true
	}
	return Step{}, false
}

// untold says that no event has said yet why a pod is skipped which the webhook skipped when it was created, a short time ago at most.
func (p *planner) untold(v *view, why string) bool {
	const recent = 5 * time.Minute
	return v.Told != why && !p.Fleet.Awake.IsZero() && v.Created.After(p.Fleet.Awake.Add(-recent))
}

// blocked says why a wanted pod cannot have a sidecar, or another one; "" when it can.
func (p *planner) blocked(v *view) string {
	if why := p.barred(v); why != "" {
		return why
	}
	return p.unreachable(v)
}

// barred says why not, as far as the pod itself and its versions go.
func (p *planner) barred(v *view) string {
	if v.Skip != "" {
		return v.Skip
	}
	if why := v.garbled(); why != "" {
		return why
	}
	if v.stage != fresh && (v.stage != serving || v.version == v.target) {
		return ""
	}
	if p.Secret && !v.Secret {
		return "Blocked: images of sidecars are pulled with a secret (value sidecar.imagePullSecrets of the Axle chart), and this pod names none in " +
			"spec.imagePullSecrets; its kubelet would not let it use what another pod has pulled"
	}
	if n := len(v.Sidecars); n >= p.Fleet.MaxGenerations && !v.slotted() {
		return fmt.Sprintf("Blocked: %d sidecars were added to this pod in its life, and spec.inPlace.maxGenerations is %d; replace the pod", n, p.Fleet.MaxGenerations)
	}
	if v.Pin != "" {
		if problem := p.problem(v.Pin); problem != "" {
			return fmt.Sprintf("Blocked: annotation %s: %s", axlev1.PinVersionAnnotation, problem)
		}
	}
	from, knowsFrom := p.Versions[v.version]
	to, knowsTo := p.Versions[v.target]
	if v.stage == serving && knowsFrom && knowsTo && p.problem(v.target) == "" && !from.Handover.Overlaps(to.Handover) {
		return fmt.Sprintf("Blocked: %s speaks handover protocols %d to %d and %s, which serves, %d to %d; go by a version between them",
			v.target, to.Handover.Min, to.Handover.Max, v.version, from.Handover.Min, from.Handover.Max)
	}
	return ""
}

// problem says why a version cannot be rendered, or "".
func (p *planner) problem(version string) string {
	v, ok := p.Versions[version]
	if !ok {
		return fmt.Sprintf("SidecarVersion %q does not exist", version)
	}
	return v.Problem
}

// desire is the wish for a generation, nothing more.
func (p *planner) desire(v *view, generation int64, version string) *axlev1.PodDesired {
	d := &axlev1.PodDesired{Fleet: p.Fleet.Name, Generation: generation, Version: version, Ports: v.Ports, Since: p.stamp()}
	if v.Desired != nil {
		d.Crashes = v.Desired.Crashes
	}
	return d
}

// served is the wish that what serves goes on serving.
func (p *planner) served(v *view) *axlev1.PodDesired {
	d := p.desire(v, v.serves, v.version)
	d.Failed = p.reason(v)
	return d
}

// upgrade is the wish for the next generation. The ports stay: configuration waits until the handover is over.
func (p *planner) upgrade(v *view) *axlev1.PodDesired {
	d := p.desire(v, v.highest()+1, v.target)
	d.Predecessor, d.Failed = v.serves, p.reason(v)
	return d
}

// reason is the failure that a pod goes back for; it stays with the pod on its way.
func (p *planner) reason(v *view) *axlev1.PodFailure {
	if !p.back || !v.recorded || v.missed != p.Fleet.Version {
		return nil
	}
	return v.Desired.Failed
}

func upgradeNote(v *view) string {
	from := fmt.Sprintf("to take over from %s (%s)", v.name(v.serves), v.version)
	if v.slotted() {
		return fmt.Sprintf("%s becomes generation %d (%s) %s", v.idle(v.serves), v.highest()+1, v.target, from)
	}
	return fmt.Sprintf("%s (%s) is added %s", v.name(v.highest()+1), v.target, from)
}

func (p *planner) stamp() *metav1.Time { return &metav1.Time{Time: p.now.Truncate(time.Second)} }

// look makes sure that the plan is made again at t.
func (p *planner) look(t time.Time) {
	if d := t.Sub(p.now); d > 0 && (p.wake == 0 || d < p.wake) {
		p.wake = d
	}
}

func (v *view) step(kind Kind, desired *axlev1.PodDesired, note string) Step {
	return Step{Kind: kind, Pod: v.NamespacedName, UID: v.UID, Desired: desired, Note: note}
}
