package sidecars

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

var digest = "@sha256:" + strings.Repeat("0", 64)

// slotted is a pod whose slots are generation 4 (a) and 5 (b), with these container statuses.
func slotted(statuses ...corev1.ContainerStatus) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Annotations = map[string]string{axlev1.SlotsAnnotation: `{"serving":4,"a":{"generation":4,"version":"v1"},"b":{"generation":5,"version":"v2"}}`}
	pod.Spec.InitContainers = []corev1.Container{
		{Name: axlev1.SlotA, Image: "r.example/s:g4" + digest}, {Name: axlev1.SlotB, Image: "r.example/s:g5" + digest}, {Name: "migrate"},
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.InitContainerStatuses = statuses
	return pod
}

func ended(code int32, message string) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error", Message: message}
}

func TestSlots(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "m"}}
	}
	a := Sidecar{Generation: 4, Container: "axle-a", Slot: "a"}
	b := Sidecar{Generation: 5, Container: "axle-b", Slot: "b"}
	with := func(s Sidecar, change func(*Sidecar)) Sidecar { change(&s); return s }
	cases := map[string]struct {
		pod   *corev1.Pod
		want  []Sidecar
		stuck bool // b
	}{
		"the kubelet has not spoken yet": {pod: slotted(), want: []Sidecar{a, b}},
		"both run": {
			pod:  slotted(corev1.ContainerStatus{Name: "axle-a", State: running}, corev1.ContainerStatus{Name: "axle-b", State: running}),
			want: []Sidecar{with(a, func(s *Sidecar) { s.Running = true }), with(b, func(s *Sidecar) { s.Running = true })},
		},
		"a slot that has ended is started again": {
			pod:  slotted(corev1.ContainerStatus{Name: "axle-b", State: corev1.ContainerState{Terminated: ended(137, "")}}),
			want: []Sidecar{a, with(b, func(s *Sidecar) { s.ExitCode, s.Reason = 137, "Error" })},
		},
		"but not when its pod is over": {
			pod: func() *corev1.Pod {
				p := slotted(corev1.ContainerStatus{Name: "axle-b", State: corev1.ContainerState{Terminated: ended(0, "")}})
				p.Status.Phase = corev1.PodSucceeded
				return p
			}(),
			want: []Sidecar{a, with(b, func(s *Sidecar) { s.Terminated, s.Reason = true, "Error" })},
		},
		"a candidate that gave up and idles": {
			pod: slotted(corev1.ContainerStatus{Name: "axle-b", State: running,
				LastTerminationState: corev1.ContainerState{Terminated: ended(10, "generation 5: failed in Move: deadline\n")}}),
			want: []Sidecar{a, with(b, func(s *Sidecar) {
				s.Running, s.Died, s.Failed, s.FailReason = true, true, true, "failed in Move: deadline"
			})},
		},
		"a candidate that gives up just now": {
			pod: slotted(corev1.ContainerStatus{Name: "axle-b", State: corev1.ContainerState{Terminated: ended(12, "generation 5: no")}}),
			want: []Sidecar{a, with(b, func(s *Sidecar) {
				s.ExitCode, s.Reason, s.Message, s.Failed, s.FailReason = 12, "Error", "generation 5: no", true, "no"
			})},
		},
		"the failure of the generation before is not this one's": {
			pod: slotted(corev1.ContainerStatus{Name: "axle-b", State: running,
				LastTerminationState: corev1.ContainerState{Terminated: ended(10, "generation 3: failed")}}),
			want: []Sidecar{a, with(b, func(s *Sidecar) { s.Running, s.Died = true, true })},
		},
		"another exit code is no failure of a candidate": {
			pod: slotted(corev1.ContainerStatus{Name: "axle-b", State: running,
				LastTerminationState: corev1.ContainerState{Terminated: ended(137, "generation 5: failed")}}),
			want: []Sidecar{a, with(b, func(s *Sidecar) { s.Running, s.Died = true, true })},
		},
		"a slot that was flipped": {
			pod: slotted(corev1.ContainerStatus{Name: "axle-b", State: running,
				LastTerminationState: corev1.ContainerState{Terminated: ended(0, "generation 3: this slot is generation 5 now, not 3")}}),
			want: []Sidecar{a, with(b, func(s *Sidecar) { s.Running = true })},
		},
		"an image that cannot be pulled": {
			pod: slotted(corev1.ContainerStatus{Name: "axle-b", Image: "r.example/s:g5" + digest, State: waiting("ImagePullBackOff"),
				LastTerminationState: corev1.ContainerState{Terminated: ended(10, "generation 3: failed")}}),
			want: []Sidecar{a, with(b, func(s *Sidecar) { s.Reason, s.Message = "ImagePullBackOff", "m" })}, stuck: true,
		},
		"what the kubelet still says of the image before the flip": {
			pod:  slotted(corev1.ContainerStatus{Name: "axle-b", Image: "r.example/s:g3" + digest, State: waiting("ImagePullBackOff")}),
			want: []Sidecar{a, b},
		},
		"the back-off of the generation before": {
			pod: slotted(corev1.ContainerStatus{Name: "axle-b", Image: "r.example/s" + digest, State: waiting("CrashLoopBackOff"),
				LastTerminationState: corev1.ContainerState{Terminated: ended(11, "generation 3: failed")}}),
			want: []Sidecar{a, b},
		},
		"a crash loop": {
			pod:  slotted(corev1.ContainerStatus{Name: "axle-b", Image: "r.example/s" + digest, State: waiting("CrashLoopBackOff")}),
			want: []Sidecar{a, with(b, func(s *Sidecar) { s.Reason, s.Message = "CrashLoopBackOff", "m" })}, stuck: true,
		},
		"without the annotation the images tell": {
			pod: func() *corev1.Pod { p := slotted(); p.Annotations = nil; return p }(), want: []Sidecar{a, b},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := Of(tc.pod)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Fatalf("sidecars (-want +got):\n%s", diff)
			}
			if got[1].Stuck() != tc.stuck {
				t.Errorf("stuck = %v, want %v", got[1].Stuck(), tc.stuck)
			}
		})
	}
}

func TestSlotsAreSortedByGeneration(t *testing.T) {
	pod := slotted()
	pod.Annotations[axlev1.SlotsAnnotation] = `{"serving":2,"a":{"generation":2,"version":"v1"},"b":{"generation":1,"version":"v1"}}`
	all := Of(pod)
	if len(all) != 2 || all[0].Container != "axle-b" || all[1].Container != "axle-a" {
		t.Errorf("sidecars %+v, want b before a", all)
	}
	for want, generation := range map[string]int64{"axle-b": 1, "axle-a": 2, "generation 7": 7} {
		if got := Container(all, generation); got != want {
			t.Errorf("container of generation %d is %q, want %q", generation, got, want)
		}
	}
	if got := Container(nil, 7); got != "axle-g7" {
		t.Errorf("container in place is %q", got)
	}
}

func TestServingOfSlots(t *testing.T) {
	down := slotted(corev1.ContainerStatus{Name: "axle-a", State: corev1.ContainerState{Terminated: ended(137, "")}})
	over := down.DeepCopy()
	over.Status.Phase = corev1.PodFailed
	serving := &axlev1.PodStatus{Generation: 4, Phase: axlev1.PhaseServing}
	cases := map[string]struct {
		pod    *corev1.Pod
		status *axlev1.PodStatus
		want   int64
	}{
		"a slot that is down is being replaced": {down, serving, 4},
		"not in a pod that is over":             {over, serving, 0},
		"a generation that no slot has any more": {
			slotted(), &axlev1.PodStatus{Generation: 3, Phase: axlev1.PhaseServing}, 0,
		},
		"one that left": {slotted(), &axlev1.PodStatus{Generation: 4, Phase: axlev1.PhaseLeft}, 0},
	}
	for name, tc := range cases {
		if got := Serving(tc.status, Of(tc.pod)); got != tc.want {
			t.Errorf("%s: serving %d, want %d", name, got, tc.want)
		}
	}
}

func TestHasSlots(t *testing.T) {
	one := slotted()
	one.Spec.InitContainers = one.Spec.InitContainers[:1]
	if !HasSlots(slotted()) || HasSlots(one) || HasSlots(&corev1.Pod{}) {
		t.Error("a pod has slots when it has both")
	}
}

func FuzzLastWords(f *testing.F) {
	for _, s := range []string{"generation 5: no", "generation : x", "generation -1: x", "generation 5", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, message string) {
		if generation, reason := lastWords(ended(10, message)); generation == 0 && reason != "" || generation < 0 {
			t.Errorf("%q: generation %d, reason %q", message, generation, reason)
		}
	})
}
