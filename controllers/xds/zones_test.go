package xds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestEndpointsAreGroupedByZone(t *testing.T) {
	in := func(zone, ip string) discoveryv1.Endpoint {
		e := endpoint(ip, "pay-0", true, false)
		if zone != "" {
			e.Zone = &zone
		}
		return e
	}
	slices := []*discoveryv1.EndpointSlice{
		paySlice(in("b", "10.0.0.1"), in("a", "10.0.0.2"), in("", "10.0.0.3"), in("b", "10.0.0.4"), in("a", "10.0.0.5")),
		paySlice(in("", "10.0.0.5")), // while it moves from one slice to another
	}
	got := map[string][]string{}
	for _, a := range Generate(plain(payService(), slices, nil)).Assignments {
		if a.GetClusterName() != "outbound/payments/pay/80" {
			continue
		}
		if err := a.ValidateAll(); err != nil {
			t.Error(err)
		}
		for _, group := range a.GetEndpoints() {
			for _, e := range group.GetLbEndpoints() {
				zone := group.GetLocality().GetZone()
				got[zone] = append(got[zone], e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
			}
		}
	}
	want := map[string][]string{"": {"10.0.0.3"}, "a": {"10.0.0.2", "10.0.0.5"}, "b": {"10.0.0.1", "10.0.0.4"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("endpoints by zone (-want +got):\n%s", diff)
	}
}

func TestAServiceKeepsRequestsNear(t *testing.T) {
	for distribution, want := range map[string]bool{
		"": false, corev1.ServiceTrafficDistributionPreferClose: true, corev1.ServiceTrafficDistributionPreferSameZone: true,
		corev1.ServiceTrafficDistributionPreferSameNode: true, "Another": false,
	} {
		svc := payService()
		if distribution != "" {
			svc.Spec.TrafficDistribution = &distribution
		}
		for _, c := range Generate(plain(svc, nil, nil)).Clusters {
			if got := c.GetCommonLbConfig().GetZoneAwareLbConfig() != nil; got != want {
				t.Errorf("distribution %q: %s keeps requests near: %v, want %v", distribution, c.GetName(), got, want)
			}
		}
	}
}
