package xds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestLost(t *testing.T) {
	pod := func(ready, containers corev1.ConditionStatus, reason string) *corev1.Pod {
		p := &corev1.Pod{}
		p.Status.Conditions = []corev1.PodCondition{
			{Type: corev1.PodReady, Status: ready, Reason: reason}, {Type: corev1.ContainersReady, Status: containers},
		}
		return p
	}
	cases := map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"a pod that is ready":                   {pod("True", "True", ""), false},
		"its node was not heard of":             {pod("False", "True", ""), true},
		"its probe fails":                       {pod("False", "False", "ContainersNotReady"), false},
		"its gate is closed":                    {pod("False", "True", "ReadinessGatesNotReady"), false},
		"its probe failed, then its node ended": {pod("False", "False", ""), false},
		"a new pod":                             {&corev1.Pod{}, false},
	}
	for name, tc := range cases {
		if got := lost(tc.pod); got != tc.want {
			t.Errorf("%s: lost is %v, want %v", name, got, tc.want)
		}
	}
}

// TestPodsWhoseNodesWereNotHeardOf: a control plane that was away takes nobody's endpoints away; a node that has ended does.
func TestPodsWhoseNodesWereNotHeardOf(t *testing.T) {
	up, gone := func(ip string) discoveryv1.Endpoint { return endpoint(ip, "up", true, false) }, func(ip string) discoveryv1.Endpoint { return endpoint(ip, "gone", false, false) }
	cases := map[string]struct {
		endpoints []discoveryv1.Endpoint
		want      []string
	}{
		"all of them":                       {[]discoveryv1.Endpoint{gone("10.0.0.1"), gone("10.0.0.2")}, []string{"10.0.0.1:12200", "10.0.0.2:12200"}},
		"most of them":                      {[]discoveryv1.Endpoint{gone("10.0.0.1"), gone("10.0.0.2"), up("10.0.0.3")}, []string{"10.0.0.1:12200", "10.0.0.2:12200", "10.0.0.3:12200"}},
		"half of them":                      {[]discoveryv1.Endpoint{gone("10.0.0.1"), up("10.0.0.2")}, []string{"10.0.0.2:12200"}},
		"one of many":                       {[]discoveryv1.Endpoint{gone("10.0.0.1"), up("10.0.0.2"), up("10.0.0.3")}, []string{"10.0.0.2:12200", "10.0.0.3:12200"}},
		"those that say so themselves stay": {[]discoveryv1.Endpoint{endpoint("10.0.0.1", "busy", false, false), endpoint("10.0.0.2", "busy", false, false)}, nil},
		"those that end, too":               {[]discoveryv1.Endpoint{endpoint("10.0.0.1", "gone", false, true)}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := plain(payService(), []*discoveryv1.EndpointSlice{paySlice(tc.endpoints...)}, nil)
			s.Pod = func(pod string) Pod { return Pod{Lost: pod == "gone"} }
			for _, a := range Generate(s).Assignments {
				if a.GetClusterName() != "outbound/payments/pay/12200" {
					continue
				}
				if diff := cmp.Diff(tc.want, addresses(a)); diff != "" {
					t.Errorf("endpoints (-want +got):\n%s", diff)
				}
			}
		})
	}
}
