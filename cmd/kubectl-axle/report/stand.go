package report

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// stage is where a pod stands, in the words of the fleet controller.
type stage string

const (
	away      stage = "away"      // cannot be changed now
	fresh     stage = "fresh"     // nothing serves and nothing is on its way
	starting  stage = "starting"  // a cold start is on its way
	orphaned  stage = "orphaned"  // a candidate whose predecessor has ended: it may start cold
	serving   stage = "serving"   // one generation serves, no other is wanted
	unsent    stage = "unsent"    // an upgrade was decided and its container not sent yet
	coming    stage = "coming"    // the candidate has not connected yet
	ready     stage = "ready"     // the candidate is connected: the handover may begin
	handover  stage = "handover"  // it has begun
	obsolete  stage = "obsolete"  // a candidate of a version that nobody wants any more
	broken    stage = "broken"    // the attempt failed
	leaving   stage = "leaving"   // callers are going back to the direct way
	left      stage = "left"      // and are gone
	untouched stage = "untouched" // no fleet wants it or ever touched it
)

// defaultDeadline is what the schema sets too.
const defaultDeadline = 600 * time.Second

// lostSandbox is the kubelet's reason for a container whose end it did not see, as when the pod's sandbox was made anew.
const lostSandbox = "ContainerStatusUnknown"

// stand is a pod with what follows from it.
type stand struct {
	selection
	pod     *corev1.Pod
	desired *axlev1.PodDesired
	status  *axlev1.PodStatus
	// unread are annotations that are not what they should be.
	unread   []error
	sidecars []sidecars.Sidecar
	stage    stage
	// serves is the generation that serves, or 0, and version what it runs. target is the version it is to run; "" when no fleet wants it.
	serves          int64
	version, target string
	// failure says how the attempt failed; recorded is true when the operator has written it down.
	failure  string
	recorded bool
	// deadline of the attempt; zero when there is none.
	deadline time.Time
}

// stand finds out where a pod stands, by the rules of the fleet controller.
func (c *Cluster) stand(pod *corev1.Pod) stand {
	s := stand{pod: pod, sidecars: sidecars.Of(pod)}
	var err error
	if s.desired, err = axlev1.ParseDesired(pod.Annotations); err != nil {
		s.desired, s.unread = nil, append(s.unread, err)
	}
	if s.status, err = axlev1.ParseStatus(pod.Annotations); err != nil {
		s.status, s.unread = nil, append(s.unread, err)
	}
	has := ""
	if s.desired != nil {
		has = s.desired.Fleet
	}
	s.selection = c.selection(pod, has)
	if s.serves = sidecars.Serving(s.status, s.sidecars); s.serves != 0 {
		s.version = s.status.Version
	}
	s.target = s.aim()
	s.assess(c.Now)
	return s
}

// aim is the version that the pod is to run; "" when no fleet wants it.
func (s *stand) aim() string {
	if s.owner == nil {
		return ""
	}
	version := s.owner.Spec.Version
	switch pin := s.pod.Annotations[axlev1.PinVersionAnnotation]; {
	case pin != "":
		return pin
	case !goesBack(s.owner):
		return version
	case s.serves != 0 && s.version != version:
		return s.version // what does not run the version that failed is not touched
	}
	return s.owner.Status.CurrentVersion
}

func (s *stand) assess(now time.Time) {
	d := s.desired
	switch {
	case whyAway(s.pod) != "":
		s.stage = away
	case d == nil && !s.wanted() && s.serves == 0:
		s.stage = untouched
	case d != nil && d.Leave:
		s.stage = leaving
		if s.serves == 0 && (s.status != nil && s.status.Phase == axlev1.PhaseLeft || s.slotted() || !s.running()) {
			s.stage = left
		}
	case s.serves == 0:
		s.assessCold(now)
	case d == nil || d.Generation <= s.serves || s.fallen():
		s.stage = serving
		if d != nil && d.Failed != nil && s.version != s.target && d.Failed.Version == s.target && !s.retries() {
			s.failure, s.recorded = d.Failed.Message, true
		}
	default:
		s.assessUpgrade(now)
	}
}

// fallen says that a slot which had served is down and the other one serves in its place.
func (s *stand) fallen() bool {
	d, h := s.desired, s.status.Handover
	return s.slotted() && d.Generation > s.serves && (d.Predecessor == 0 && !d.Begin || h != nil && h.OK && h.To == d.Generation && s.status.Phase == axlev1.PhaseServing)
}

// assessCold is for pods in which nothing serves.
func (s *stand) assessCold(now time.Time) {
	s.stage = fresh
	d := s.desired
	if d == nil {
		return
	}
	mine, sent := sidecars.Find(s.sidecars, d.Generation)
	served := s.status != nil && s.status.Generation == d.Generation
	if !sent || mine.Terminated && (served || mine.Reason == lostSandbox) {
		return
	}
	failed := d.Failed != nil && d.Failed.Generation == d.Generation
	problem := s.attempt(mine)
	if problem == "" && s.late(now) {
		problem = "did not serve in time"
	}
	switch {
	case problem == "" && d.Predecessor != 0 && !d.Begin:
		s.stage = orphaned
	case problem == "":
		s.stage = starting
	case failed && s.retries(): // stays fresh
	case failed:
		s.stage, s.failure, s.recorded = broken, d.Failed.Message, true
	default:
		s.stage, s.failure = broken, problem
	}
}

// assessUpgrade is for pods in which one generation serves and a later one is wanted.
func (s *stand) assessUpgrade(now time.Time) {
	d := s.desired
	if h := s.status.Handover; h != nil && h.To == d.Generation && !h.OK {
		s.stage, s.failure = broken, failedIn(h)
		return
	}
	mine, sent := sidecars.Find(s.sidecars, d.Generation)
	connected := s.status.Candidate == d.Generation
	problem := s.attempt(mine)
	switch late := s.late(now); {
	case problem == "" && late && d.Begin:
		problem = "did not finish its handover in time"
	case problem == "" && late && sent && !connected:
		problem = "did not connect to the operator in time"
	}
	switch {
	case problem != "":
		s.stage, s.failure = broken, problem
	case d.Begin:
		s.stage = handover
	case d.Version != s.target || !s.wanted():
		s.stage = obsolete
	case !sent:
		s.stage = unsent
	case connected:
		s.stage = ready
	default:
		s.stage = coming
	}
}

// attempt sets the deadline, and says what the kubelet reports of a sidecar that will not come up, or "".
func (s *stand) attempt(mine sidecars.Sidecar) string {
	since := s.desired.Since
	if since == nil && s.slotted() {
		since = s.pod.Status.StartTime // the webhook does not know when its pod will run
	}
	if since != nil {
		s.deadline = since.Add(s.patience())
	}
	switch {
	case mine.Failed:
		return "gave up: " + orSay(mine.FailReason, "it did not say why")
	case mine.Terminated:
		return "ended with " + exit(mine)
	case mine.Stuck():
		return "cannot start" + because(mine.Reason, mine.Message)
	}
	return ""
}

func (s *stand) late(now time.Time) bool { return !s.deadline.IsZero() && !now.Before(s.deadline) }

func (s *stand) patience() time.Duration {
	if s.owner == nil || s.owner.Spec.UpdateStrategy.ProgressDeadlineSeconds == 0 {
		return defaultDeadline
	}
	return time.Duration(s.owner.Spec.UpdateStrategy.ProgressDeadlineSeconds) * time.Second
}

// retries says whether the fleet makes another attempt since the recorded failure, so that it is tried again.
func (s *stand) retries() bool {
	if s.owner == nil {
		return false
	}
	attempt, _ := s.owner.Try()
	return s.desired.Failed.Attempt != attempt
}

func (s *stand) running() bool {
	for _, one := range s.sidecars {
		if one.Running {
			return true
		}
	}
	return false
}

// next is the generation that a further sidecar would have.
func (s *stand) next() int64 {
	if len(s.sidecars) == 0 {
		return 1
	}
	return s.sidecars[len(s.sidecars)-1].Generation + 1
}

// phase of what serves, or why nothing does, in a word.
func (s *stand) phase() string {
	switch {
	case s.serves != 0:
		return string(s.status.Phase)
	case s.stage == starting || s.stage == orphaned:
		return string(axlev1.PhaseStarting)
	case s.status == nil || s.status.Generation == 0:
		return ""
	case s.status.Phase == axlev1.PhaseLeft:
		return string(axlev1.PhaseLeft)
	}
	return "Ended"
}

// whyAway says why a pod cannot be changed now, or "".
func whyAway(pod *corev1.Pod) string {
	switch {
	case pod.DeletionTimestamp != nil:
		return "it is being deleted"
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return fmt.Sprintf("it has ended (%s)", pod.Status.Phase)
	case pod.Status.Phase != corev1.PodRunning:
		return "it does not run yet"
	case pod.Status.PodIP == "":
		return "it has no address yet"
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionFalse {
			return "its sandbox is being made anew"
		}
	}
	return ""
}
