package stage

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/axlemesh/axle/hack/demo/story"
)

func ephemeral(name string) corev1.EphemeralContainer {
	return corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name}}
}

func TestFacts(t *testing.T) {
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "cashier-0", UID: "u"},
		Spec: corev1.PodSpec{
			NodeName:            "n",
			EphemeralContainers: []corev1.EphemeralContainer{ephemeral("axle-g1"), ephemeral("axle-g2"), ephemeral("axle-g3"), ephemeral("debugger")},
		},
		Status: corev1.PodStatus{
			PodIP:             "10.0.0.1",
			ContainerStatuses: []corev1.ContainerStatus{{Name: "cashier", ContainerID: "containerd://1", RestartCount: 2}},
			EphemeralContainerStatuses: []corev1.ContainerStatus{
				{Name: "axle-g2", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
				{Name: "axle-g1", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}},
			},
		},
	}
	want := story.Pod{
		Name: "cashier-0", UID: "u", IP: "10.0.0.1", Node: "n", Container: "containerd://1", Restarts: 2,
		Sidecars: []story.Sidecar{
			{Name: "axle-g1", Ended: true, ExitCode: 137, Reason: "OOMKilled"}, {Name: "axle-g2", Running: true}, {Name: "axle-g3"},
		},
	}
	if diff := cmp.Diff(want, facts(pod)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

func TestEveryPodOfTheApplicationIsReadyOrNot(t *testing.T) {
	ready := corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	not := corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}}}
	if !allReady([]corev1.Pod{ready, ready}) || allReady([]corev1.Pod{ready, not}) || allReady([]corev1.Pod{{}}) {
		t.Error("a pod without a true Ready condition counts as ready, or one with it does not")
	}
}
