package report

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// exit says how a sidecar ended: "code 137 (OOMKilled), killed by signal 9".
func exit(s sidecars.Sidecar) string {
	text := fmt.Sprintf("code %d%s", s.ExitCode, because(s.Reason, s.Message))
	if s.ExitCode > 128 && s.ExitCode < 128+65 {
		text += fmt.Sprintf(", killed by signal %d", s.ExitCode-128)
	}
	return text
}

// because puts the kubelet's words into brackets.
func because(reason, message string) string {
	message = strings.Join(strings.Fields(message), " ")
	switch {
	case reason == "" && message == "":
		return ""
	case message == "":
		return " (" + reason + ")"
	case reason == "":
		return " (" + message + ")"
	}
	return " (" + reason + ": " + message + ")"
}

func failedIn(h *axlev1.HandoverResult) string {
	text := "failed"
	if h.Step != "" {
		text += " in " + h.Step
	}
	if h.Reason != "" {
		text += ": " + h.Reason
	}
	return text
}

// handoverShort is a handover in a table's cell.
func handoverShort(h *axlev1.HandoverResult) string {
	if h == nil {
		return ""
	}
	way := fmt.Sprintf("g%d->g%d", h.From, h.To)
	if !h.OK {
		return fmt.Sprintf("%s %s, %d lost", way, failedShort(h), h.Lost)
	}
	return fmt.Sprintf("%s ok, %d moved, %d lost", way, h.Moved, h.Lost)
}

func failedShort(h *axlev1.HandoverResult) string {
	if h.Step == "" {
		return "FAILED"
	}
	return "FAILED in " + h.Step
}

// handoverLong is a handover in sentences.
func (s *stand) handoverLong(h *axlev1.HandoverResult) []string {
	from, to := s.name(h.From), s.name(h.To)
	moved := fmt.Sprintf("%s moved, %d lost.", count(h.Moved, "connection"), h.Lost)
	if !h.OK {
		return []string{
			fmt.Sprintf("%s did not take over from %s: it %s.", to, from, strings.TrimRight(failedIn(h), ". ")),
			moved,
		}
	}
	if h.DurationMicros > 0 {
		moved = strings.TrimSuffix(moved, ".") + fmt.Sprintf(", in %s.", micros(h.DurationMicros))
	}
	said := []string{fmt.Sprintf("%s took over from %s.", to, from), moved}
	if h.FreezeP99Micros > 0 {
		said = append(said, fmt.Sprintf("99 of 100 connections stood still for at most %s.", micros(h.FreezeP99Micros)))
	}
	return said
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// versionOf is the SidecarVersion that a container of the pod was made from, or "". It reads nothing else of its environment, which holds a
// token.
func versionOf(pod *corev1.Pod, container string) string {
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name != container {
			continue
		}
		for _, e := range pod.Spec.EphemeralContainers[i].Env {
			if e.Name == axlev1.StubVersionEnv {
				return e.Value
			}
		}
	}
	return ""
}

// portsOf says "12200 (bolt) at 15200, 9090 (tcp) at 12090".
func portsOf(ports []axlev1.PortSpec) string {
	all := make([]string, 0, len(ports))
	for _, p := range ports {
		protocol := p.Protocol
		if protocol == "" {
			protocol = axlev1.ProtocolTCP
		}
		all = append(all, fmt.Sprintf("%d (%s) at %d", p.AppPort, protocol, p.Mesh()))
	}
	return strings.Join(all, ", ")
}

// sentence ends a text with one full stop; a text that ends with a command stays as it is, to be copied.
func sentence(text string) string {
	text = strings.TrimRight(text, ". ")
	if at := strings.LastIndex(text, ". "); strings.Contains(text[at+1:], ": kubectl ") {
		return text
	}
	return text + "."
}
