package sidecars

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// The exit codes of a slot whose candidate gave up: the handover failed, what it was started with can never work, the serving side cannot
// be taken over from. With them its last words are "generation N: reason".
const (
	firstFailure = 10
	lastFailure  = 12
)

// HasSlots says whether a pod was created with slots.
func HasSlots(pod *corev1.Pod) bool {
	return initContainer(pod, axlev1.SlotA) != nil && initContainer(pod, axlev1.SlotB) != nil
}

func initContainer(pod *corev1.Pod, name string) *corev1.Container {
	at := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name })
	if at < 0 {
		return nil
	}
	return &pod.Spec.InitContainers[at]
}

// slots lists the slots of a pod. Their generations are in the annotation; the images tell them too, should somebody have broken that.
func slots(pod *corev1.Pod) []Sidecar {
	if !HasSlots(pod) {
		return nil
	}
	annotated, err := axlev1.ParseSlots(pod.Annotations)
	if err != nil || annotated == nil {
		annotated = &axlev1.PodSlots{}
	}
	var all []Sidecar
	for _, slot := range []struct {
		name, container string
		generation      int64
	}{{"a", axlev1.SlotA, annotated.A.Generation}, {"b", axlev1.SlotB, annotated.B.Generation}} {
		s := Sidecar{Slot: slot.name, Container: slot.container, Generation: slot.generation}
		if s.Generation == 0 {
			s.Generation = tagged(initContainer(pod, slot.container).Image)
		}
		at := slices.IndexFunc(pod.Status.InitContainerStatuses, func(st corev1.ContainerStatus) bool { return st.Name == slot.container })
		if at >= 0 {
			s.observe(&pod.Status.InitContainerStatuses[at], over(pod))
		}
		all = append(all, s)
	}
	return all
}

func over(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// observe reads what the kubelet says of a slot. Right after a flip it still speaks of the image before, which says nothing of this generation.
func (s *Sidecar) observe(st *corev1.ContainerStatus, podIsOver bool) {
	last := st.LastTerminationState.Terminated
	if st.State.Terminated != nil {
		last = st.State.Terminated
	}
	spoken, reason := lastWords(last)
	if spoken == s.Generation && last.ExitCode >= firstFailure && last.ExitCode <= lastFailure {
		s.Failed, s.FailReason = true, reason
	}
	switch {
	case st.State.Running != nil:
		s.Running, s.Died = true, last != nil && last.ExitCode != 0
	case st.State.Terminated != nil:
		s.Terminated = podIsOver
		s.ended(st.State.Terminated)
	case st.State.Waiting != nil:
		w, pulled := st.State.Waiting, tagged(st.Image)
		if pulled != 0 && pulled != s.Generation || w.Reason == "CrashLoopBackOff" && spoken != 0 && spoken != s.Generation {
			return
		}
		s.Reason, s.Message = w.Reason, w.Message
	}
}

// lastWords reads "generation N: reason"; 0 when it is something else.
func lastWords(t *corev1.ContainerStateTerminated) (generation int64, reason string) {
	if t == nil {
		return 0, ""
	}
	rest, ok := strings.CutPrefix(t.Message, "generation ")
	digits, reason, ok2 := strings.Cut(rest, ": ")
	generation, err := strconv.ParseInt(digits, 10, 64)
	if !ok || !ok2 || err != nil || generation < 1 {
		return 0, ""
	}
	return generation, strings.TrimSpace(reason)
}

// tagged is the generation in a slot's image, repository:g<generation>@sha256:digest; 0 when it is written otherwise.
func tagged(image string) int64 {
	ref, _, ok := strings.Cut(image, "@")
	colon := strings.LastIndex(ref, ":g")
	if !ok || colon < 0 {
		return 0
	}
	generation, err := strconv.ParseInt(ref[colon+len(":g"):], 10, 64)
	if err != nil || generation < 1 {
		return 0
	}
	return generation
}
