package sidecars

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

func TestGeneration(t *testing.T) {
	cases := map[string]struct {
		want int64
		ok   bool
	}{
		"axle-g1": {1, true}, "axle-g120": {120, true},
		"axle-g": {}, "axle-g0": {}, "axle-g01": {}, "axle-g-1": {}, "axle-g+1": {}, "axle-gx": {}, "axle-a": {}, "app": {},
		"axle-g99999999999999999999": {},
	}
	for name, tc := range cases {
		got, ok := Generation(name)
		if ok != tc.ok || ok && got != tc.want {
			t.Errorf("Generation(%q) = %d, %v; want %d, %v", name, got, ok, tc.want, tc.ok)
		}
		if ok && Name(got) != name {
			t.Errorf("Name(%d) = %q, want %q", got, Name(got), name)
		}
	}
}

func TestOfAndServing(t *testing.T) {
	ephemeral := func(name string) corev1.EphemeralContainer {
		return corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name}}
	}
	pod := &corev1.Pod{}
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{
		ephemeral("axle-g10"), ephemeral("debugger"), ephemeral("axle-g2"), ephemeral("axle-g11"), ephemeral("axle-g12"),
	}
	pod.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{
		{Name: "axle-g2", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}}},
		{Name: "axle-g10", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		{Name: "axle-g11", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}}},
		{Name: "debugger", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
	}
	all := Of(pod)
	want := []Sidecar{
		{Generation: 2, Container: "axle-g2", Terminated: true, ExitCode: 3, Reason: "Error"},
		{Generation: 10, Container: "axle-g10", Running: true},
		{Generation: 11, Container: "axle-g11", Reason: "ImagePullBackOff", Message: "no such image"},
		{Generation: 12, Container: "axle-g12"},
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Fatalf("sidecars (-want +got):\n%s", diff)
	}
	for i, stuck := range []bool{false, false, true, false} {
		if all[i].Stuck() != stuck {
			t.Errorf("%s stuck = %v, want %v", all[i].Container, all[i].Stuck(), stuck)
		}
	}
	cases := map[string]struct {
		status *axlev1.PodStatus
		want   int64
	}{
		"no report":                   {nil, 0},
		"a candidate only":            {&axlev1.PodStatus{Candidate: 10}, 0},
		"one that runs":               {&axlev1.PodStatus{Generation: 10, Phase: axlev1.PhaseServing}, 10},
		"one whose proxy is starting": {&axlev1.PodStatus{Generation: 10, Phase: axlev1.PhaseStarting}, 10},
		"one that left":               {&axlev1.PodStatus{Generation: 10, Phase: axlev1.PhaseLeft}, 0},
		"one that has ended":          {&axlev1.PodStatus{Generation: 2, Phase: axlev1.PhaseServing}, 0},
		"one that the pod never had":  {&axlev1.PodStatus{Generation: 7, Phase: axlev1.PhaseServing}, 0},
	}
	for name, tc := range cases {
		if got := Serving(tc.status, all); got != tc.want {
			t.Errorf("%s: serving %d, want %d", name, got, tc.want)
		}
	}
}
