package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// Explain writes all that is known about one pod, in sentences: for the person who was woken because of it.
func (c *Cluster) Explain(w io.Writer, pod *corev1.Pod) error {
	s := c.stand(pod)
	var t table
	t.line(headline(pod))
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		t.line("")
		t.line(title)
		for _, l := range lines {
			t.line("  " + l)
		}
	}
	section("Which fleet", c.explainSelection(&s))
	section("What the operator wants", c.explainDesired(&s))
	section("What the sidecar reported", explainStatus(&s))
	c.explainContainers(&t, &s)
	if s.status != nil && s.status.Handover != nil {
		section("Last handover", s.handoverLong(s.status.Handover))
	}
	section("Trouble", trouble(&s))
	section("What happens next", c.next(&s))
	section("Where to look", where(&s))
	return t.flush(w)
}

func headline(pod *corev1.Pod) string {
	text := fmt.Sprintf("Pod %s/%s is %s", pod.Namespace, pod.Name, orSay(string(pod.Status.Phase), "not known to any node"))
	if pod.Spec.NodeName != "" {
		text += " on node " + pod.Spec.NodeName
	}
	if pod.Status.PodIP != "" {
		text += ", address " + pod.Status.PodIP
	}
	if pod.DeletionTimestamp != nil {
		text += ", and is being deleted"
	}
	return text + "."
}

func orSay(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func (c *Cluster) explainSelection(s *stand) []string {
	var said []string
	switch {
	case s.barred != "":
		said = append(said, s.barred)
		if s.fix != "" {
			said = append(said, "To let it take part: "+s.fix)
		}
	default:
		said = append(said, fmt.Sprintf("Namespace %s takes part: its label says %s=%s.", s.pod.Namespace, axlev1.InjectionLabel, axlev1.InjectionEnabled))
	}
	if len(s.verdicts) == 0 {
		said = append(said, "There is no SidecarFleet in this cluster.")
	}
	for _, v := range s.verdicts {
		name := v.fleet.Name
		switch {
		case v.why != "":
			said = append(said, fmt.Sprintf("Fleet %s does not select it: %s.", name, v.why))
		case s.barred != "":
			said = append(said, fmt.Sprintf("Fleet %s would select it.", name))
		case v.fleet == s.owner:
			said = append(said, c.explainOwner(s))
		default:
			said = append(said, fmt.Sprintf("Fleet %s selects it too, but does not get it.", name))
		}
	}
	if s.has != "" && (s.owner == nil || s.owner.Name != s.has) {
		gone := "no longer selects it"
		if c.fleet(s.has) == nil {
			gone = "no longer exists"
		}
		said = append(said, fmt.Sprintf("Its sidecar came from fleet %s, which %s.", s.has, gone))
	}
	return said
}

func (c *Cluster) explainOwner(s *stand) string {
	f := s.owner
	text := fmt.Sprintf("Fleet %s selects it and owns it", f.Name)
	rivals := 0
	for _, v := range s.verdicts {
		if v.why == "" {
			rivals++
		}
	}
	switch {
	case rivals > 1 && s.has == f.Name:
		text += " (a pod stays with the fleet that it has)"
	case rivals > 1:
		text += fmt.Sprintf(" (of several by priority, here %d, then age, then name)", f.Spec.Priority)
	}
	if !f.Spec.InPlace.On() && !s.slotted() {
		text += ", but spec.inPlace.enabled is false: it wants no sidecar in running pods"
	}
	return text + "."
}

func (c *Cluster) explainDesired(s *stand) []string {
	var said []string
	if s.owner != nil {
		said = append(said, fmt.Sprintf("Fleet %s is to run version %s%s.", s.owner.Name, s.owner.Spec.Version, current(s.owner)))
	}
	if pin := s.pod.Annotations[axlev1.PinVersionAnnotation]; pin != "" {
		said = append(said, fmt.Sprintf("The annotation %s holds this pod on %s.", axlev1.PinVersionAnnotation, pin))
	}
	d := s.desired
	if d == nil {
		return append(said, "The operator has not asked this pod for a sidecar.")
	}
	since := ""
	if d.Since != nil {
		since = fmt.Sprintf(" (asked %s)", c.ago(d.Since.Time))
	}
	mine := s.named(d.Generation, d.Version)
	switch {
	case d.Leave:
		said = append(said, mine+" is to let its callers go back to the direct way, and to exit"+since+".")
	case d.Predecessor == 0:
		said = append(said, mine+" is to serve"+since+".")
	case d.Begin:
		said = append(said, fmt.Sprintf("%s is to take over from %s; the handover may begin%s.", mine, s.name(d.Predecessor), since))
	default:
		said = append(said, fmt.Sprintf("%s is to take over from %s, but not yet%s.", mine, s.name(d.Predecessor), since))
	}
	if len(d.Ports) == 0 {
		return append(said, "It serves no port: no Service selects this pod, and the fleet's spec.ports is empty.")
	}
	return append(said, "It serves the application's ports: "+portsOf(d.Ports)+".")
}

func current(f *axlev1.SidecarFleet) string {
	if f.Status.CurrentVersion == "" || f.Status.CurrentVersion == f.Spec.Version {
		return ""
	}
	return fmt.Sprintf("; before that it ran %s", f.Status.CurrentVersion)
}

func explainStatus(s *stand) []string {
	st := s.status
	switch {
	case st == nil:
		return []string{"Nothing yet: no sidecar of this pod has connected to the operator."}
	case st.Generation == 0 && st.Candidate == 0 && st.Joined != "":
		return []string{st.Joined + " has joined, and nothing serves yet."}
	}
	var said []string
	switch {
	case s.serves != 0:
		said = append(said, fmt.Sprintf("%s was %s when it last spoke.", s.named(s.serves, s.version), st.Phase))
		if len(st.Listening) == 0 {
			said = append(said, "It listens on no port.")
		} else {
			said = append(said, fmt.Sprintf("It listens on %s.", strings.Join(strings.Fields(strings.Trim(fmt.Sprint(st.Listening), "[]")), ", ")))
		}
		if st.Carrying {
			said = append(said, "Calls of the pod's own application go through it.")
		} else {
			said = append(said, "Calls of the pod's own application do not go through it.")
		}
	case st.Phase == axlev1.PhaseLeft:
		said = append(said, s.named(st.Generation, st.Version)+" has left: nothing goes through it any more.")
	case st.Generation != 0:
		said = append(said, fmt.Sprintf("%s was %s when it last spoke, but its container has ended: nothing serves.", s.named(st.Generation, st.Version), st.Phase))
	default:
		said = append(said, "Nothing serves.")
	}
	if st.Candidate != 0 {
		said = append(said, s.named(st.Candidate, s.versionOf(st.Candidate))+" is connected and waits to take over.")
	}
	return said
}

// explainContainers lists every generation that the pod ever got.
func (c *Cluster) explainContainers(t *table, s *stand) {
	t.line("")
	t.line("Sidecar containers")
	if len(s.sidecars) == 0 {
		t.line("  None was ever added to this pod.")
		return
	}
	t.row("  CONTAINER", "VERSION", "STATE", "ROLE")
	for _, one := range s.sidecars {
		t.row("  "+one.Container, s.versionOf(one.Generation), c.state(s.pod, one), s.role(one))
	}
}

func (c *Cluster) state(pod *corev1.Pod, one sidecars.Sidecar) string {
	switch {
	case one.Terminated:
		return fmt.Sprintf("ended %s with %s", c.ago(one.Ended), exit(one))
	case one.Running:
		started := time.Time{}
		for _, st := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses) {
			if st.Name == one.Container && st.State.Running != nil {
				started = st.State.Running.StartedAt.Time
			}
		}
		return "runs, started " + c.ago(started)
	case one.Stuck():
		return "cannot start" + because(one.Reason, one.Message)
	case one.Reason == "":
		return "sent; the kubelet has not spoken of it"
	}
	return "waits" + because(one.Reason, one.Message)
}

func (s *stand) role(one sidecars.Sidecar) string {
	d := s.desired
	switch {
	case one.Generation == s.serves && s.stage == leaving:
		return "leaves"
	case one.Generation == s.serves:
		return "serves"
	case one.Failed:
		return "gave up, and idles"
	case one.Terminated:
		return ""
	case d != nil && d.Generation == one.Generation && s.serves == 0:
		return "starts"
	case d != nil && d.Generation == one.Generation:
		return "is to take over"
	case one.Slot != "":
		return "idles"
	}
	return "is to end"
}

// trouble is everything that went wrong.
func trouble(s *stand) []string {
	var said []string
	for _, err := range s.unread {
		said = append(said, fmt.Sprintf("An annotation cannot be read and counts as absent: %v.", err))
	}
	if why := s.pod.Annotations[axlev1.SkippedAnnotation]; why != "" {
		said = append(said, "The operator passes this pod over: "+sentence(why))
	}
	switch d := s.desired; {
	case s.failure != "" && s.recorded:
		said = append(said, sentence(s.failure))
	case s.failure != "":
		said = append(said, fmt.Sprintf("%s %s.", s.named(d.Generation, d.Version), s.failure))
	case d != nil && d.Failed != nil:
		said = append(said, "An earlier attempt failed. "+sentence(d.Failed.Message))
	}
	return said
}

// where lists the commands that tell more.
func where(s *stand) []string {
	logs := func(container string) string {
		return fmt.Sprintf("kubectl logs -n %s %s -c %s", s.pod.Namespace, s.pod.Name, container)
	}
	var said []string
	for i, one := range s.sidecars {
		recent := i >= len(s.sidecars)-2
		if recent || one.Alive() || one.Generation == s.serves {
			said = append(said, logs(one.Container))
		}
	}
	return append(said, fmt.Sprintf("kubectl events -n %s --for pod/%s", s.pod.Namespace, s.pod.Name))
}
