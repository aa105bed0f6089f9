package sidecarfleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

func prepulls(f *Fleet) { f.Prepull = true }

func pull(version, node string, changes ...func(*Pull)) Pull {
	u := Pull{NamespacedName: types.NamespacedName{Namespace: "axle-system", Name: "axle-prepull-" + version + node}, Version: version, Node: node, Created: t0, Since: t0, Seen: true}
	for _, c := range changes {
		c(&u)
	}
	return u
}

func arrived(u *Pull)    { u.Present = true }
func unseen(u *Pull)     { u.Seen = false }
func turnedAway(u *Pull) { u.Refused = "OutOfpods: no room" }
func backOff(u *Pull)    { u.Reason, u.Message, u.Erring = "ImagePullBackOff", "manifest unknown", t0 }
func firstError(u *Pull) { u.Reason, u.Message = "ErrImagePull", "connection reset" }
func erringSince(d time.Duration) func(*Pull) {
	return func(u *Pull) { u.Erring = t0.Add(d) }
}
func onceMore(d time.Duration) func(*Pull) {
	return func(u *Pull) { u.Created, u.Before = t0.Add(d), "OutOfpods: no room" }
}
func wroteDown(u *Pull) {
	u.Failed, u.FailedIn = "cannot be pulled (ImagePullBackOff: manifest unknown)", 2
}
func creating(u *Pull)  { u.Reason = "ContainerCreating" }
func exitsWith(u *Pull) { u.Broken = "does not run: it exited with code 1" }

func TestPulls(t *testing.T) {
	cases := map[string]struct {
		fleet Fleet
		pods  []Pod
		pulls []Pull
		now   time.Duration
		want  []string
		wake  time.Duration
		// degraded is the condition's status, reason and part of its message.
		degraded, says string
	}{
		"a node gets the image before its first pod is upgraded": {
			fleet: fleet(prepulls), pods: []Pod{pod("a"), pod("b"), pod("c", on("node-2"))},
			want: []string{"ImagePulling v2 node-1", "ImagePulling v2 node-2"}, degraded: "False/Healthy",
		},
		"a first sidecar does not wait for it": {
			fleet: fleet(prepulls, first), pods: []Pod{pod("a", bare)}, want: []string{"Injecting a g1 v1 +stub"}, degraded: "False/Healthy",
		},
		"a pull is waited for": {
			fleet: fleet(prepulls), pods: []Pod{pod("a")}, pulls: []Pull{pull("v2", "node-1", creating)}, now: minute, wake: 9 * minute, degraded: "False/Healthy",
		},
		"pods of nodes that have it go ahead": {
			fleet: fleet(prepulls, upTo("5")), pods: []Pod{pod("a"), pod("b", on("node-2"))}, pulls: []Pull{pull("v2", "node-1", creating), pull("v2", "node-2", arrived)},
			want: []string{"Upgrading b g2 v2 from g1 +stub"}, wake: 10 * minute, degraded: "False/Healthy",
		},
		"a pull that no pod waits for is taken away": {
			fleet: fleet(prepulls), pods: []Pod{upgraded("a")}, pulls: []Pull{pull("v2", "node-1", arrived)}, want: []string{"ImagePulled v2 node-1"}, degraded: "False/Healthy",
		},
		"so are those of a version that is not wanted any more": {
			fleet: fleet(prepulls, wantsV("v1")), pods: []Pod{pod("a")}, pulls: []Pull{pull("v2", "node-1", backOff)}, want: []string{"ImagePulled v2 node-1"}, wake: 30 * time.Second, degraded: "False/Healthy",
		},
		"a pull that fails once is tried again": {
			fleet: fleet(prepulls), pods: []Pod{pod("a")}, pulls: []Pull{pull("v2", "node-1", backOff)}, now: 10 * time.Second, wake: 20 * time.Second, degraded: "False/Healthy",
		},
		"one that goes on failing stops the rollout before a pod is touched": {
			fleet: fleet(prepulls, goesBack), pods: []Pod{pod("a"), pod("b", on("node-2"))}, pulls: []Pull{pull("v2", "node-1", backOff), pull("v2", "node-2", arrived)}, now: 30 * time.Second,
			want: []string{"ImageUnavailable v2 node-1", "ImagePulled v2 node-2"}, degraded: "True/ImageUnavailable",
			says: "node node-1: the image of v2 cannot be pulled (ImagePullBackOff: manifest unknown); no pod of that node was touched. See: kubectl describe pod -n axle-system axle-prepull-v2node-1. The rollout of v2 has stopped; no pod runs it",
		},
		"pods that have it go back, when their nodes have the old image": {
			fleet: fleet(prepulls, goesBack), pods: []Pod{upgraded("a"), pod("b", on("node-2"))}, pulls: []Pull{pull("v1", "node-1", arrived), pull("v2", "node-2", backOff)}, now: 30 * time.Second,
			want: []string{"ImageUnavailable v2 node-2", "Upgrading a g3 v1 from g2 +stub"}, degraded: "True/ImageUnavailable", says: "1 to go",
		},
		"there is no way back without the old image": {
			fleet: fleet(prepulls, goesBack, stoppedBy(Fail)), pods: []Pod{upgraded("a")}, pulls: []Pull{pull("v1", "node-1", backOff)}, now: 30 * time.Second,
			want: []string{"ImageUnavailable v1 node-1"}, degraded: "True/HandoverFailed", says: "and going back to v1 as well: 1 pods still run v2; ImageUnavailable: node node-1: the image of v1",
		},
		"one that takes too long stops it too": {
			fleet: fleet(prepulls), pods: []Pod{pod("a")}, pulls: []Pull{pull("v2", "node-1", creating)}, now: 10 * minute,
			want: []string{"ImageUnavailable v2 node-1"}, degraded: "True/ImageUnavailable", says: "was not there within 10m0s",
		},
		"so does an image that does not run": {
			fleet: fleet(prepulls), pods: []Pod{pod("a")}, pulls: []Pull{pull("v2", "node-1", exitsWith)},
			want: []string{"ImageUnavailable v2 node-1"}, degraded: "True/ImageUnavailable", says: "exited with code 1",
		},
		"a node that has no room is asked again": {
			fleet: fleet(prepulls), pods: []Pod{pod("a")}, pulls: []Pull{pull("v2", "node-1", turnedAway)}, now: 30 * time.Second,
			want: []string{"ImagePulling v2 node-1", "Upgrading a g2 v2 from g1 +stub"}, degraded: "True/NodeDoesNotPull", says: "OutOfpods",
		},
		"and more and more seldom": {
			fleet: fleet(prepulls), pods: []Pod{slotPod("a")}, pulls: []Pull{pull("v2", "node-1", turnedAway, onceMore(4*minute))}, now: 5 * minute,
			wake: 3 * minute, degraded: "True/NodeDoesNotPull", says: "OutOfpods",
		},
		"what it said holds while the next pod is not seen yet": {
			fleet: fleet(prepulls), pods: []Pod{slotPod("a")}, pulls: []Pull{pull("v2", "node-1", unseen, onceMore(minute))}, now: minute, wake: 30 * time.Second,
			degraded: "True/NodeDoesNotPull", says: "OutOfpods",
		},
		"its pods with slots are blocked after the deadline, and it is still asked": {
			fleet: fleet(prepulls), pods: []Pod{slotPod("a")}, pulls: []Pull{pull("v2", "node-1", turnedAway, onceMore(5*minute))}, now: 10 * minute,
			want: []string{"Skipped a", "ImagePulling v2 node-1"}, degraded: "True/PodsBlocked",
			says: "node node-1 does not take the pod that pulls the image of v2 (OutOfpods: no room), for 10m0s or longer",
		},
		"pods in place do not wait for it": {
			fleet: fleet(prepulls), pods: []Pod{pod("a")}, pulls: []Pull{pull("v2", "node-1", turnedAway)}, now: time.Second, wake: 29 * time.Second,
			want: []string{"Upgrading a g2 v2 from g1 +stub"}, degraded: "True/NodeDoesNotPull", says: "its pods with slots wait",
		},
		"one error after a long pull is tried again": {
			fleet: fleet(prepulls), pods: []Pod{pod("a")}, pulls: []Pull{pull("v2", "node-1", firstError)}, now: 5 * minute,
			want: []string{"ImagePullFails v2 node-1"}, wake: 30 * time.Second, degraded: "False/Healthy",
		},
		"for as long as one in the beginning": {
			fleet: fleet(prepulls), pods: []Pod{pod("a")}, pulls: []Pull{pull("v2", "node-1", firstError, erringSince(5*minute))}, now: 5*minute + 10*time.Second,
			wake: 20 * time.Second, degraded: "False/Healthy",
		},
		"a way back that has no image stays without one, and nothing is said twice": {
			fleet: fleet(prepulls, goesBack, stoppedBy(Fail)), pods: []Pod{upgraded("a")}, pulls: []Pull{pull("v1", "node-1", backOff, wroteDown)}, now: minute,
			degraded: "True/HandoverFailed", says: "and going back to v1 as well: 1 pods still run v2; ImageUnavailable: node node-1: the image of v1",
		},
		"until the kubelet gets it": {
			fleet: fleet(prepulls, goesBack, stoppedBy(Fail)), pods: []Pod{upgraded("a")}, pulls: []Pull{pull("v1", "node-1", arrived, wroteDown)}, now: minute,
			want: []string{"Upgrading a g3 v1 from g2 +stub"}, degraded: "True/HandoverFailed", says: "1 to go",
		},
		"or the fleet changes": {
			fleet: fleet(prepulls, inAttempt(3)), pods: []Pod{pod("a")}, pulls: []Pull{pull("v2", "node-1", backOff, wroteDown)}, now: minute,
			want: []string{"ImagePulled v2 node-1"}, degraded: "True/ImageUnavailable",
		},
		"a silent node holds up its pods, not the others": {
			fleet: fleet(prepulls), pods: []Pod{slotPod("a"), pod("b", on("node-2"))}, pulls: []Pull{pull("v2", "node-1", unseen), pull("v2", "node-2", arrived)}, now: minute,
			want: []string{"Upgrading b g2 v2 from g1 +stub"}, wake: 9 * minute, degraded: "True/NodeDoesNotPull", says: "Node node-1 has not started",
		},
		"a paused fleet pulls nothing": {fleet: fleet(prepulls, isPaused), pods: []Pod{pod("a")}, degraded: "False/Healthy"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			seen := Observed{Fleet: tc.fleet, Versions: versions(), Pods: tc.pods, Pulls: tc.pulls}
			steps, wake := Plan(t0.Add(tc.now), seen)
			var got []string
			for _, s := range steps {
				if s.Node != "" {
					got = append(got, string(s.Kind)+" "+s.Version+" "+s.Node)
					continue
				}
				got = append(got, say(s))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if wake != tc.wake {
				t.Errorf("wake in %s, want %s", wake, tc.wake)
			}
			status := Summarize(t0.Add(tc.now), seen, axlev1.SidecarFleetStatus{CurrentVersion: tc.fleet.Current, UpdateVersion: tc.fleet.Version}, nil)
			c := meta.FindStatusCondition(status.Conditions, axlev1.ConditionDegraded)
			if got := string(c.Status) + "/" + c.Reason; got != tc.degraded || !strings.Contains(c.Message, tc.says) {
				t.Errorf("degraded %s: %s; want %s with %q", got, c.Message, tc.degraded, tc.says)
			}
		})
	}
}

func TestPullingIsBounded(t *testing.T) {
	var pods []Pod
	for i := range 40 {
		pods = append(pods, pod(string(rune('a'+i)), on("node-"+string(rune('a'+i)))))
	}
	steps, _ := Plan(t0, Observed{Fleet: fleet(prepulls), Versions: versions(), Pods: pods})
	if len(steps) != pullingAtOnce {
		t.Errorf("%d nodes pull at once, want %d", len(steps), pullingAtOnce)
	}
}

// Nodes that do not run the pods that pull hold up neither a rollout nor a rollback of the others.
func TestDeadNodesHoldNobodyUp(t *testing.T) {
	for name, f := range map[string]Fleet{"rollout": fleet(prepulls), "rollback": fleet(prepulls, goesBack, wantsV("v0"), stoppedBy(Fail), func(f *Fleet) { f.Current = "v2" })} {
		seen := Observed{Fleet: f, Versions: versions()}
		for i := range 100 {
			node := fmt.Sprintf("node-%02d", i)
			p := slotPod("pod-"+node, on(node))
			if name == "rollback" {
				p.Status.Version, p.Slots.A.Version, p.Desired.Version = "v0", "v0", "v0"
			}
			seen.Pods = append(seen.Pods, p)
			switch {
			case i < 10:
				seen.Pulls = append(seen.Pulls, pull("v2", node, turnedAway))
			case i < 20:
				seen.Pulls = append(seen.Pulls, pull("v2", node, unseen))
			}
		}
		seen.Versions["v0"] = seen.Versions["v1"]
		steps, _ := Plan(t0.Add(40*time.Second), seen)
		asked := map[string]bool{}
		for _, s := range steps {
			if s.Kind == Pulling {
				asked[s.Node] = true
			}
		}
		for i := range 30 {
			node := fmt.Sprintf("node-%02d", i)
			if want := i < 10 || i >= 20; asked[node] != want { // those that refused are asked again, beside the first healthy ones
				t.Errorf("%s: node %s is asked: %t, want %t", name, node, asked[node], want)
			}
		}
	}
}

func TestPullsRemember(t *testing.T) {
	pod := &corev1.Pod{}
	pod.CreationTimestamp.Time = t0
	pod.Annotations = map[string]string{
		pullSince: "2027-01-15T07:00:00Z", pullErring: "2027-01-15T08:00:01Z", pullRefused: "(OutOfpods)", pullFailed: "7 cannot be pulled (ErrImagePull)",
	}
	got := pullFacts(pod)
	want := Pull{Created: t0, Since: t0.Add(-time.Hour), Erring: t0.Add(time.Second), Before: "(OutOfpods)", Failed: "cannot be pulled (ErrImagePull)", FailedIn: 7}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

func TestPullFacts(t *testing.T) {
	v := &axlev1.SidecarVersion{}
	v.Name, v.UID = "v2", "u"
	made := PullPod("axle-system", "default", "node-1", "registry.example/axle@sha256:1", v)
	state := func(phase corev1.PodPhase, reason string, s *corev1.ContainerState) *corev1.Pod {
		p := made.DeepCopy()
		p.Status.Phase, p.Status.Reason = phase, reason
		if s != nil {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: *s}}
		}
		return p
	}
	cases := map[string]struct {
		pod  *corev1.Pod
		want Pull
	}{
		"new":       {state(corev1.PodPending, "", nil), Pull{}},
		"done":      {state(corev1.PodSucceeded, "", &corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}), Pull{Present: true, Seen: true}},
		"stuck":     {state(corev1.PodPending, "", &corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no"}}), Pull{Seen: true, Reason: "ErrImagePull", Message: "no"}},
		"ended":     {state(corev1.PodRunning, "", &corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed"}}), Pull{Present: true, Seen: true}},
		"no room":   {state(corev1.PodFailed, "OutOfpods", nil), Pull{Refused: "(OutOfpods)"}},
		"evicted":   {state(corev1.PodFailed, "Evicted", &corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137}}), Pull{Seen: true, Refused: "(Evicted)"}},
		"a bad one": {state(corev1.PodFailed, "", &corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}}), Pull{Seen: true, Broken: "does not run: it exited with code 1 (Error)"}},
	}
	for name, tc := range cases {
		tc.want.NamespacedName = types.NamespacedName{Namespace: "axle-system", Name: made.Name}
		tc.want.Version, tc.want.Node = "v2", "node-1"
		if diff := cmp.Diff(tc.want, pullFacts(tc.pod)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
