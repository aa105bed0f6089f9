// Package sidecars reads what a pod object says about the sidecars in it. Everything here is pure.
package sidecars

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Sidecar is one generation in a pod: an ephemeral container that Axle added, or a slot that the pod was created with.
type Sidecar struct {
	Generation int64
	Container  string
	// Slot is "a" or "b", and "" for a sidecar in place.
	Slot string
	// Terminated is true once it has ended for good: the kubelet never starts it again. A slot that has ended is started again while its pod
	// runs, so it is not terminated then, and neither Running for a moment.
	Terminated bool
	// Running is true while it runs. Neither means that it waits, or that the kubelet has not spoken yet.
	Running bool
	// ExitCode, when it has ended.
	ExitCode int32
	// Ended is when it did, as far as the kubelet knows.
	Ended time.Time
	// Reason and Message of the kubelet, for waiting and ended ones.
	Reason, Message string
	// Failed is true for a slot that gave up as the candidate of this very generation, and FailReason is why, in its own words. It
	// runs again since, and idles.
	Failed     bool
	FailReason string
	// Died is true for a slot that runs again after its container has ended with an exit code: whatever it had before, it has no more. A flip ends a slot
	// without one.
	Died bool
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

// Name of the container of an in-place generation. Of a pod that may have slots ask Container.
func Name(generation int64) string {
	return axlev1.InPlacePrefix + strconv.FormatInt(generation, 10)
}

// Container is the name of the container that runs a generation, among a pod's sidecars: a slot's or an in-place one's. A generation
// that the pod does not have is named as it would be in place, and by its number alone in a pod with slots, whose names it cannot have.
func Container(all []Sidecar, generation int64) string {
	if s, ok := Find(all, generation); ok {
		return s.Container
	}
	if slices.ContainsFunc(all, func(s Sidecar) bool { return s.Slot != "" }) {
		return "generation " + strconv.FormatInt(generation, 10)
	}
	return Name(generation)
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

// Of lists the sidecars of a pod, slots and in place, lowest generation first.
func Of(pod *corev1.Pod) []Sidecar {
	all := slots(pod)
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
			s.Terminated = true
			s.ended(st.State.Terminated)
		case st.State.Running != nil:
			s.Running = true
		case st.State.Waiting != nil:
			s.Reason, s.Message = st.State.Waiting.Reason, st.State.Waiting.Message
		}
	}
	slices.SortStableFunc(all, func(a, b Sidecar) int { return cmp.Compare(a.Generation, b.Generation) })
	return all
}

func (s *Sidecar) ended(t *corev1.ContainerStateTerminated) {
	s.ExitCode, s.Reason, s.Message, s.Ended = t.ExitCode, t.Reason, t.Message, t.FinishedAt.Time
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
// ended for good. A sidecar whose proxy is being restarted by its supervisor still counts, and so does a slot that is down while its pod
// runs: the other slot or the kubelet replaces it, and the report of a later term says which.
func Serving(status *axlev1.PodStatus, all []Sidecar) int64 {
	if status == nil || status.Generation == 0 || status.Phase == axlev1.PhaseLeft {
		return 0
	}
	if s, ok := Find(all, status.Generation); !ok || s.Terminated {
		return 0
	}
	return status.Generation
}
