package inject

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/axlemesh/axle/api/v1alpha1"
)

// SlotImage is the image of one generation in a slot: repository:g<generation>@sha256:<digest>. The digest alone says what is pulled. The tag exists
// nowhere; it makes each reference a new one, for the kubelet backs off from a reference that it has seen in the same container before.
func SlotImage(v *v1alpha1.SidecarVersion, generation int64) (string, error) {
	if v == nil {
		return "", errors.New("image of a slot: no SidecarVersion")
	}
	image, findings := Image(v.Name, v)
	if len(findings) > 0 {
		return "", fmt.Errorf("image of a slot: %s", findings[0].Message)
	}
	if generation < 1 {
		return "", fmt.Errorf("image of a slot: generation %d is not from 1", generation)
	}
	repository, digest, _ := strings.Cut(image, "@")
	return fmt.Sprintf("%s:g%d@%s", repository, generation, digest), nil
}

// IdleSlot is the slot of a pod that serving is not in: the one to flip. It is an error when the pod has no slots, or neither of them is of
// that generation.
func IdleSlot(pod *corev1.Pod, serving int64) (string, error) {
	slots, err := slotsOf(pod)
	switch {
	case err != nil:
		return "", err
	case slots.A.Generation == serving:
		return v1alpha1.SlotB, nil
	case slots.B.Generation == serving:
		return v1alpha1.SlotA, nil
	}
	return "", fmt.Errorf("pod %s/%s: no slot is of generation %d", pod.Namespace, pod.Name, serving)
}

// NextGeneration is the lowest generation that a pod with slots has not had.
func NextGeneration(pod *corev1.Pod) (int64, error) {
	slots, err := slotsOf(pod)
	if err != nil {
		return 0, err
	}
	return max(slots.A.Generation, slots.B.Generation) + 1, nil
}

// Flip makes a slot of the pod a new generation of a version: its image, and its entry in the slots annotation, which have to be sent
// in one patch. Who is to serve stays as it is, so the new generation is a candidate. The pod is unchanged when there is an error.
func Flip(pod *corev1.Pod, slot string, v *v1alpha1.SidecarVersion, generation int64) error {
	fail := func(err error) error {
		return fmt.Errorf("flip %s of pod %s/%s: %w", slot, pod.Namespace, pod.Name, err)
	}
	slots, err := slotsOf(pod)
	if err != nil {
		return fail(err)
	}
	image, err := SlotImage(v, generation)
	if err != nil {
		return fail(err)
	}
	if has := max(slots.A.Generation, slots.B.Generation); generation <= has {
		return fail(fmt.Errorf("generation %d is not above %d", generation, has))
	}
	entry := &slots.A
	switch slot {
	case v1alpha1.SlotA:
	case v1alpha1.SlotB:
		entry = &slots.B
	default:
		return fail(errors.New("there is no such slot"))
	}
	at := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == slot })
	if at < 0 {
		return fail(errors.New("the pod has no such container"))
	}
	*entry = v1alpha1.PodSlot{Generation: generation, Version: v.Name}
	if err := writeSlots(pod, slots); err != nil {
		return fail(err)
	}
	pod.Spec.InitContainers[at].Image = image
	return nil
}

// SetServing writes which generation is to serve when nobody does; 0 for none.
func SetServing(pod *corev1.Pod, generation int64) error {
	slots, err := slotsOf(pod)
	if err != nil {
		return err
	}
	if generation != 0 && generation != slots.A.Generation && generation != slots.B.Generation {
		return fmt.Errorf("pod %s/%s: no slot is of generation %d", pod.Namespace, pod.Name, generation)
	}
	slots.Serving = generation
	return writeSlots(pod, slots)
}

func slotsOf(pod *corev1.Pod) (*v1alpha1.PodSlots, error) {
	slots, err := v1alpha1.ParseSlots(pod.Annotations)
	if err != nil {
		return nil, fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if slots == nil {
		return nil, fmt.Errorf("pod %s/%s has no slots", pod.Namespace, pod.Name)
	}
	return slots, nil
}

func writeSlots(pod *corev1.Pod, slots *v1alpha1.PodSlots) error {
	raw, err := json.Marshal(slots)
	if err != nil {
		return err
	}
	annotate(pod, v1alpha1.SlotsAnnotation, string(raw))
	return nil
}
