// Package sidecars reads what a pod object says about the sidecars in it. Everything here is pure.
package sidecars

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Sidecar is one generation in a pod: an ephemeral container that Axle added.
type Sidecar struct {
	Generation int64
	Container  string
	// Terminated is true once it has ended; the kubelet never starts it again.
	Terminated bool
	// Running is true while it runs. Neither means that it waits, or that the kubelet has not spoken yet.
	Running bool
	// ExitCode, when it has ended.
	ExitCode int32
	// Ended is when it did, as far as the kubelet knows.
	Ended time.Time
	// Reason and Message of the kubelet, for waiting and ended ones.
	Reason, Message string
}

// Alive says whether it runs or may still start.
func (s Sidecar) Alive() bool { return !s.Terminated }

// Stuck says whether the kubelet reports that it cannot start it. A pull that has failed once is not stuck yet.
func (s Sidecar) Stuck() bool {
	if s.Terminated || s.Running {
		return false
	}
	switch s.Reason {
	case "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
		"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError", "CrashLoopBackOff":
		return true
	}
	return false
}

// Name of the container of an in-place generation.
func Name(generation int64) string {
	return axlev1.InPlacePrefix + strconv.FormatInt(generation, 10)
}

// Generation that a container's name stands for; ok is false when it is no in-place sidecar's.
func Generation(container string) (generation int64, ok bool) {
	digits, ok := strings.CutPrefix(container, axlev1.InPlacePrefix)
	if !ok || digits == "" || digits[0] == '0' || digits[0] == '+' || digits[0] == '-' {
		return 0, false
	}
	generation, err := strconv.ParseInt(digits, 10, 64)
	return generation, err == nil && generation > 0
}

// Of lists the sidecars of a pod, lowest generation first.
func Of(pod *corev1.Pod) []Sidecar {
	var all []Sidecar
	for i := range pod.Spec.EphemeralContainers {
		name := pod.Spec.EphemeralContainers[i].Name
		if g, ok := Generation(name); ok {
			all = append(all, Sidecar{Generation: g, Container: name})
		}
	}
	for i := range pod.Status.EphemeralContainerStatuses {
		st := &pod.Status.EphemeralContainerStatuses[i]
		at := slices.IndexFunc(all, func(s Sidecar) bool { return s.Container == st.Name })
		if at < 0 {
			continue
		}
		switch s := &all[at]; {
		case st.State.Terminated != nil:
			s.Terminated, s.ExitCode = true, st.State.Terminated.ExitCode
			s.Reason, s.Message, s.Ended = st.State.Terminated.Reason, st.State.Terminated.Message, st.State.Terminated.FinishedAt.Time
		case st.State.Running != nil:
			s.Running = true
		case st.State.Waiting != nil:
			s.Reason, s.Message = st.State.Waiting.Reason, st.State.Waiting.Message
		}
	}
	slices.SortFunc(all, func(a, b Sidecar) int { return int(a.Generation - b.Generation) })
	return all
}

// Find returns the sidecar of that generation.
func Find(all []Sidecar, generation int64) (Sidecar, bool) {
	at := slices.IndexFunc(all, func(s Sidecar) bool { return s.Generation == generation })
	if at < 0 {
		return Sidecar{}, false
	}
	return all[at], true
}

// Serving returns the generation that serves a pod now, or 0: the one that last reported so, if its container has not
// ended. A sidecar whose proxy is being restarted by its supervisor still counts.
func Serving(status *axlev1.PodStatus, all []Sidecar) int64 {
	if status == nil || status.Generation == 0 || status.Phase == axlev1.PhaseLeft {
		return 0
	}
	if s, ok := Find(all, status.Generation); !ok || s.Terminated {
		return 0
	}
	return status.Generation
}
