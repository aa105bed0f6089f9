package sidecarfleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

func aFleet(name string, priority int32, age time.Duration, team string) axlev1.SidecarFleet {
	f := axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(t0.Add(-age))}}
	f.Spec.Priority = priority
	if team != "" {
		f.Spec.PodSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": team}}
	}
	return f
}

func TestOwner(t *testing.T) {
	labelled := map[string]string{axlev1.InjectionLabel: axlev1.InjectionEnabled}
	cases := map[string]struct {
		fleets    []axlev1.SidecarFleet
		namespace map[string]string
		pod       map[string]string
		has       string
		owns      string
		selecting []string
	}{
		"the one that selects it": {
			fleets: []axlev1.SidecarFleet{aFleet("a", 0, 1, "x"), aFleet("b", 0, 1, "y")}, namespace: labelled,
			pod: map[string]string{"team": "y"}, owns: "b", selecting: []string{"b"},
		},
		"priority before age": {
			fleets: []axlev1.SidecarFleet{aFleet("old", 0, time.Hour, ""), aFleet("high", 1, time.Minute, "")}, namespace: labelled,
			owns: "high", selecting: []string{"high", "old"},
		},
		"age before name": {
			fleets: []axlev1.SidecarFleet{aFleet("a", 0, time.Minute, ""), aFleet("b", 0, time.Hour, "")}, namespace: labelled,
			owns: "b", selecting: []string{"b", "a"},
		},
		"name at last": {
			fleets: []axlev1.SidecarFleet{aFleet("b", 0, time.Hour, ""), aFleet("a", 0, time.Hour, "")}, namespace: labelled,
			owns: "a", selecting: []string{"a", "b"},
		},
		"a pod stays with the fleet it has": {
			fleets: []axlev1.SidecarFleet{aFleet("high", 9, 1, ""), aFleet("mine", 0, 1, "")}, namespace: labelled,
			has: "mine", owns: "mine", selecting: []string{"high", "mine"},
		},
		"unless that one selects it no more": {
			fleets: []axlev1.SidecarFleet{aFleet("high", 9, 1, ""), aFleet("mine", 0, 1, "x")}, namespace: labelled,
			has: "mine", owns: "high", selecting: []string{"high"},
		},
		"no namespace label, no fleet":    {fleets: []axlev1.SidecarFleet{aFleet("a", 0, 1, "")}},
		"a pod that its label keeps out":  {fleets: []axlev1.SidecarFleet{aFleet("a", 0, 1, "")}, namespace: labelled, pod: map[string]string{axlev1.InjectionLabel: axlev1.InjectionDisabled}},
		"a namespace that says otherwise": {fleets: []axlev1.SidecarFleet{aFleet("a", 0, 1, "")}, namespace: map[string]string{axlev1.InjectionLabel: "yes"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			all, err := claims(tc.fleets)
			if err != nil {
				t.Fatal(err)
			}
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Labels: tc.namespace}}
			owns, selecting := owner(all, ns, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: tc.pod}}, tc.has)
			if owns != tc.owns {
				t.Errorf("owner %q, want %q", owns, tc.owns)
			}
			if diff := cmp.Diff(tc.selecting, selecting); diff != "" {
				t.Errorf("selecting (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIsAway(t *testing.T) {
	running := corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"}
	noSandbox := *running.DeepCopy()
	noSandbox.Conditions = []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse}}
	cases := map[string]struct {
		pod  corev1.Pod
		want bool
	}{
		"running":            {corev1.Pod{Status: running}, false},
		"pending":            {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending}}, true},
		"finished":           {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodSucceeded, PodIP: "10.0.0.1"}}, true},
		"being deleted":      {corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: at(0)}, Status: running}, true},
		"without an address": {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}, true},
		"without a sandbox":  {corev1.Pod{Status: noSandbox}, true},
	}
	for name, tc := range cases {
		if got := isAway(&tc.pod); got != tc.want {
			t.Errorf("%s: away = %v, want %v", name, got, tc.want)
		}
	}
}

func TestWorkload(t *testing.T) {
	yes := true
	owned := func(kind, name string, labels map[string]string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: labels, OwnerReferences: []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &yes}}}}
	}
	for want, p := range map[string]*corev1.Pod{
		"Pod/p":           {ObjectMeta: metav1.ObjectMeta{Name: "p"}},
		"StatefulSet/db":  owned("StatefulSet", "db", nil),
		"Deployment/pay":  owned("ReplicaSet", "pay-7d9f", map[string]string{"pod-template-hash": "7d9f"}),
		"ReplicaSet/solo": owned("ReplicaSet", "solo", nil),
	} {
		if got := workload(p); got != want {
			t.Errorf("workload %q, want %q", got, want)
		}
	}
}

func TestPorts(t *testing.T) {
	bolt, axleBolt := "bolt", "axlemesh.io/bolt"
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "pay"}}}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Ports: []corev1.ContainerPort{{Name: "rpc", ContainerPort: 12200}, {ContainerPort: 11080}}}}
	service := func(app string, ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"app": app}, Ports: ports}}
	}
	cases := map[string]struct {
		spec     []axlev1.PortSpec
		services []*corev1.Service
		want     []axlev1.PortSpec
	}{
		"no service":                    {},
		"another application's service": {services: []*corev1.Service{service("other", corev1.ServicePort{Port: 80})}},
		"a service without a selector":  {services: []*corev1.Service{{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}}},
		"a named target port that is Bolt": {
			services: []*corev1.Service{service("pay", corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("rpc"), AppProtocol: &axleBolt})},
			want:     []axlev1.PortSpec{{AppPort: 12200, MeshPort: 15200, Protocol: axlev1.ProtocolBolt}},
		},
		"a name that the pod does not have": {
			services: []*corev1.Service{service("pay", corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("web")})},
		},
		"numbers, sorted, UDP left out": {
			services: []*corev1.Service{service("pay",
				corev1.ServicePort{Port: 9090}, corev1.ServicePort{Port: 80, TargetPort: intstr.FromInt32(7000)},
				corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP})},
			want: []axlev1.PortSpec{{AppPort: 7000, MeshPort: 10000, Protocol: axlev1.ProtocolTCP}, {AppPort: 9090, MeshPort: 12090, Protocol: axlev1.ProtocolTCP}},
		},
		"a port that is called HTTP": {
			services: []*corev1.Service{service("pay", corev1.ServicePort{Port: 8000, AppProtocol: new("http")})},
			want:     []axlev1.PortSpec{{AppPort: 8000, MeshPort: 11000, Protocol: axlev1.ProtocolHTTP1}},
		},
		"two services on one port: Bolt wins": {
			services: []*corev1.Service{
				service("pay", corev1.ServicePort{Port: 12200, AppProtocol: &bolt}), service("pay", corev1.ServicePort{Port: 12200}),
			},
			want: []axlev1.PortSpec{{AppPort: 12200, MeshPort: 15200, Protocol: axlev1.ProtocolBolt}},
		},
		"mesh ports that are taken or impossible are left out": {
			services: []*corev1.Service{service("pay",
				corev1.ServicePort{Port: 9220},                                                                     // the sidecar's own
				corev1.ServicePort{Port: 8080},                                                                     // 11080 is the application's
				corev1.ServicePort{Port: 64000}, corev1.ServicePort{Port: 7000}, corev1.ServicePort{Port: 10000})}, // 10000 is 7000's mesh port
			want: []axlev1.PortSpec{{AppPort: 10000, MeshPort: 13000, Protocol: axlev1.ProtocolTCP}},
		},
		"the fleet's own list replaces all, and nothing is taken over from a running application": {
			spec:     []axlev1.PortSpec{{AppPort: 12200, MeshPort: 20000, Takeover: true}},
			services: []*corev1.Service{service("pay", corev1.ServicePort{Port: 80})},
			want:     []axlev1.PortSpec{{AppPort: 12200, MeshPort: 20000, Protocol: axlev1.ProtocolTCP}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, ports(tc.spec, pod, tc.services)); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
		})
	}
}
