package xds

import (
	"encoding/json"
	"fmt"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

//go:fix inline
func meshed(desired *axlev1.PodDesired, status *axlev1.PodStatus, ended bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "pay-0", Annotations: map[string]string{}}}
	for key, v := range map[string]any{axlev1.DesiredAnnotation: desired, axlev1.StatusAnnotation: status} {
		raw, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		p.Annotations[key] = string(raw)
	}
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "axle-g1"}}}
	state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	if ended {
		state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	}
	p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "axle-g1", State: state}}
	return p
}

func TestWay(t *testing.T) {
	desired := func(change func(*axlev1.PodDesired)) *axlev1.PodDesired {
		d := &axlev1.PodDesired{Generation: 1, Ports: []axlev1.PortSpec{{AppPort: 12200, MeshPort: 15200}, {AppPort: 8080}}}
		if change != nil {
			change(d)
		}
		return d
	}
	moved := func(d *axlev1.PodDesired) {
		d.Ports[0] = axlev1.PortSpec{AppPort: 12199, MeshPort: 12200, Takeover: true}
	}
	status := func(phase axlev1.Phase, ports ...int32) *axlev1.PodStatus {
		return &axlev1.PodStatus{Generation: 1, Phase: phase, Listening: ports}
	}
	cases := map[string]struct {
		pod  *corev1.Pod
		want map[int32]int32
	}{
		"no sidecar":                        {pod: &corev1.Pod{}},
		"one that serves":                   {pod: meshed(desired(nil), status(axlev1.PhaseServing, 15200, 11080), false), want: map[int32]int32{12200: 15200, 8080: 11080}},
		"in a handover the ports stay open": {pod: meshed(desired(nil), status(axlev1.PhaseHandingOver, 15200), false), want: map[int32]int32{12200: 15200}},
		"only the ports that are open":      {pod: meshed(desired(nil), status(axlev1.PhaseServing, 11080), false), want: map[int32]int32{8080: 11080}},
		"one that starts":                   {pod: meshed(desired(nil), status(axlev1.PhaseStarting, 15200), false)},
		"one that was asked to leave":       {pod: meshed(desired(func(d *axlev1.PodDesired) { d.Leave = true }), status(axlev1.PhaseServing, 15200), false)},
		"one that leaves":                   {pod: meshed(desired(nil), status(axlev1.PhaseLeaving, 15200), false)},
		"one that has ended":                {pod: meshed(desired(nil), status(axlev1.PhaseServing, 15200), true)},
		"a port that was taken over is the right one while it is open": {pod: meshed(desired(moved), status(axlev1.PhaseServing, 12200, 11080), false), want: map[int32]int32{8080: 11080}},
		"and leads to where the application has moved while it is not": {pod: meshed(desired(moved), status(axlev1.PhaseStarting), false), want: map[int32]int32{12200: 12199}},
		"annotations that nobody can read":                             {pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{axlev1.DesiredAnnotation: "{", axlev1.StatusAnnotation: "{"}}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := Way(tc.pod)
			if len(got) == 0 {
				got = nil
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("way (-want +got):\n%s", diff)
			}
		})
	}
}

func addresses(a *endpointv3.ClusterLoadAssignment) []string {
	var all []string
	for _, l := range a.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			s := e.GetEndpoint().GetAddress().GetSocketAddress()
			all = append(all, fmt.Sprintf("%s:%d", s.GetAddress(), s.GetPortValue()))
		}
	}
	return all
}

func payService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "pay", Annotations: map[string]string{axlev1.ServicesAnnotation: "com.x.Refund:1.0, com.x.Pay:1.0,,*,com.x.Pay:1.0"}},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
			{Name: "web", Port: 80}, {Name: "rpc", Port: 12200, AppProtocol: new("bolt")}, {Name: "rpc2", Port: 12201, AppProtocol: new("bolt")}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
		}},
	}
}

func endpoint(ip, pod string, ready, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses:  []string{ip},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: pod},
	}
}

func paySlice(endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "payments", Name: "pay-1", Labels: map[string]string{discoveryv1.LabelServiceName: "pay"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{{Name: new("rpc"), Port: new(int32(12200))}, {Name: new("web"), Port: new(int32(8080))}},
	}
}

// plain is a Service without rules.
func plain(svc *corev1.Service, slices []*discoveryv1.EndpointSlice, ways map[string]map[int32]int32) Scene {
	return Scene{Provider: Provider{Service: svc, Slices: slices}, Pod: func(pod string) Pod { return Pod{Way: ways[pod]} }}
}

func TestGenerate(t *testing.T) {
	ways := map[string]map[int32]int32{"pay-0": {12200: 15200}}
	slices := []*discoveryv1.EndpointSlice{
		paySlice(endpoint("10.0.0.2", "pay-1", true, false), endpoint("10.0.0.1", "pay-0", true, false),
			endpoint("10.0.0.3", "pay-2", false, false), endpoint("10.0.0.4", "pay-3", true, true)),
		paySlice(endpoint("10.0.0.1", "pay-0", true, false), discoveryv1.Endpoint{Addresses: []string{"10.9.9.9"}}),
		{AddressType: discoveryv1.AddressTypeFQDN, Ports: []discoveryv1.EndpointPort{{Name: new("rpc"), Port: new(int32(1))}}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"x.example"}}}},
	}
	r := Generate(plain(payService(), slices, ways))
	got := map[string][]string{}
	for i, c := range r.Clusters {
		if name := r.Assignments[i].GetClusterName(); name != c.GetName() {
			t.Errorf("cluster %s has the assignment %s", c.GetName(), name)
		}
		got[c.GetName()] = addresses(r.Assignments[i])
	}
	want := map[string][]string{
		"outbound/payments/pay/80":    {"10.0.0.1:8080", "10.0.0.2:8080", "10.9.9.9:8080"},
		"outbound/payments/pay/12200": {"10.0.0.1:15200", "10.0.0.2:12200", "10.9.9.9:12200"},
		"outbound/payments/pay/12201": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	routes := map[string]string{}
	for _, h := range r.Hosts {
		if diff := cmp.Diff([]string{h.GetName()}, h.GetDomains()); diff != "" {
			t.Errorf("domains of %s (-want +got):\n%s", h.GetName(), diff)
		}
		routes[h.GetName()] = h.GetRoutes()[0].GetRoute().GetCluster()
	}
	bolt := "outbound/payments/pay/12200"
	if diff := cmp.Diff(map[string]string{"com.x.Pay:1.0": bolt, "com.x.Refund:1.0": bolt, "pay.payments": bolt}, routes); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	for _, x := range r.Clusters {
		if err := x.ValidateAll(); err != nil {
			t.Errorf("cluster: %v", err)
		}
	}
	for _, x := range r.Hosts {
		if err := x.ValidateAll(); err != nil {
			t.Errorf("host: %v", err)
		}
	}
}

func TestDubboKeysGoToADubboPort(t *testing.T) {
	cases := map[string]struct {
		ports []corev1.ServicePort
		want  map[string]string
	}{
		"beside HTTP": {
			[]corev1.ServicePort{{Name: "web", Port: 80, AppProtocol: new("http")}, {Name: "rpc", Port: 20880, AppProtocol: new("dubbo")}},
			map[string]string{"com.x.Pay:1.0@gray": "outbound/payments/pay/20880", "com.x.Pay": "outbound/payments/pay/20880", "pay.payments": "outbound/payments/pay/80"},
		},
		"alone, by its long name": {
			[]corev1.ServicePort{{Name: "x", Port: 1}, {Name: "rpc", Port: 20880, AppProtocol: new("axlemesh.io/dubbo")}},
			map[string]string{"com.x.Pay:1.0@gray": "outbound/payments/pay/20880", "com.x.Pay": "outbound/payments/pay/20880", "pay.payments": "outbound/payments/pay/20880"},
		},
		"beside Bolt, whose the keys are": {
			[]corev1.ServicePort{{Name: "rpc", Port: 20880, AppProtocol: new("dubbo")}, {Name: "bolt", Port: 12200, AppProtocol: new("bolt")}},
			map[string]string{"com.x.Pay:1.0@gray": "outbound/payments/pay/12200", "com.x.Pay": "outbound/payments/pay/12200", "pay.payments": "outbound/payments/pay/12200"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			svc := payService()
			svc.Annotations[axlev1.ServicesAnnotation], svc.Spec.Ports = "com.x.Pay:1.0@gray, com.x.Pay", tc.ports
			got := map[string]string{}
			for _, h := range Generate(plain(svc, nil, nil)).Hosts {
				got[h.GetName()] = h.GetRoutes()[0].GetRoute().GetCluster()
				if err := h.ValidateAll(); err != nil {
					t.Errorf("host: %v", err)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheOwnKeyGoesToAnHTTPPort(t *testing.T) {
	cases := map[string]struct {
		ports []corev1.ServicePort
		want  string
	}{
		"gRPC beside Bolt": {
			[]corev1.ServicePort{{Name: "bolt", Port: 12200, AppProtocol: new("bolt")}, {Name: "grpc", Port: 50051, AppProtocol: new("grpc")}},
			"outbound/payments/pay/50051",
		},
		"Triple beside Dubbo": {
			[]corev1.ServicePort{{Name: "dubbo", Port: 20880, AppProtocol: new("dubbo")}, {Name: "tri", Port: 50051, AppProtocol: new("tri")}},
			"outbound/payments/pay/50051",
		},
		"HTTP/1 goes first": {
			[]corev1.ServicePort{{Name: "grpc", Port: 50051, AppProtocol: new("kubernetes.io/h2c")}, {Name: "web", Port: 80, AppProtocol: new("http")}},
			"outbound/payments/pay/80",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			svc := payService()
			svc.Annotations, svc.Spec.Ports = nil, tc.ports
			for _, h := range Generate(plain(svc, nil, nil)).Hosts {
				if got := h.GetRoutes()[0].GetRoute().GetCluster(); got != tc.want || h.GetName() != "pay.payments" {
					t.Errorf("%s goes to %s, want %s", h.GetName(), got, tc.want)
				}
			}
		})
	}
}

func TestSOAPKeysGoToAnHTTPPort(t *testing.T) {
	svc := payService()
	svc.Annotations[axlev1.ServicesAnnotation] = "com.x.Pay:1.0, http://example.com/stock/Quotes, urn:stock"
	svc.Spec.Ports = []corev1.ServicePort{{Name: "rpc", Port: 12200, AppProtocol: new("bolt")}, {Name: "web", Port: 80, AppProtocol: new("axlemesh.io/soap")}}
	got := map[string]string{}
	for _, h := range Generate(plain(svc, nil, nil)).Hosts {
		got[h.GetName()] = h.GetRoutes()[0].GetRoute().GetCluster()
		if err := h.ValidateAll(); err != nil {
			t.Errorf("host: %v", err)
		}
	}
	rpc, web := "outbound/payments/pay/12200", "outbound/payments/pay/80"
	want := map[string]string{"com.x.Pay:1.0": rpc, "http://example.com/stock/Quotes": web, "urn:stock": web, "pay.payments": web}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestAServiceWithoutTCPPortsIsNothing(t *testing.T) {
	svc := payService()
	svc.Spec.Ports = svc.Spec.Ports[3:]
	if r := Generate(plain(svc, nil, nil)); len(r.Clusters)+len(r.Assignments)+len(r.Hosts) != 0 {
		t.Errorf("resources %+v, want none", r)
	}
}

func TestListeners(t *testing.T) {
	all, err := Listeners(&axlev1.PodDesired{Generation: 1, Ports: []axlev1.PortSpec{
		{AppPort: 12200, MeshPort: 15200, Protocol: axlev1.ProtocolBolt}, {AppPort: 8080, MeshPort: 11080, Protocol: axlev1.ProtocolTCP},
		{AppPort: 20880, MeshPort: 23880, Protocol: axlev1.ProtocolDubbo}, {AppPort: 50051, MeshPort: 53051, Protocol: axlev1.ProtocolHTTP2},
		{AppPort: 8090, MeshPort: 11090, Protocol: axlev1.ProtocolSOAP},
	}}, []axlev1.Protocol{axlev1.ProtocolBolt, axlev1.ProtocolDubbo, axlev1.ProtocolHTTP2}, map[string]string{"app": "cashier"}, Settings{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range all {
		if err := l.ValidateAll(); err != nil {
			t.Errorf("listener %s: %v", l.GetName(), err)
		}
		s, f := l.GetAddress().GetSocketAddress(), l.GetFilterChains()[0].GetFilters()[0]
		line := fmt.Sprintf("%s %s %s:%d %s %s", l.GetName(), l.GetTrafficDirection(), s.GetAddress(), s.GetPortValue(), f.GetName(), f.GetTypedConfig().MessageName().Name())
		for name, value := range l.GetMetadata().GetFilterMetadata()["axlemesh.io"].GetFields()["labels"].GetStructValue().GetFields() {
			line += " of " + name + "=" + value.GetStringValue()
		}
		got = append(got, line)
	}
	want := []string{
		"inbound/15200 INBOUND 0.0.0.0:15200 axlemesh.io/bolt TcpProxy",
		"inbound/11080 INBOUND 0.0.0.0:11080 axlemesh.io/tcp TcpProxy",
		"inbound/23880 INBOUND 0.0.0.0:23880 axlemesh.io/dubbo TcpProxy",
		"inbound/53051 INBOUND 0.0.0.0:53051 axlemesh.io/http2 TcpProxy",
		"inbound/11090 INBOUND 0.0.0.0:11090 axlemesh.io/http1 TcpProxy",
		"outbound/bolt OUTBOUND 127.0.0.1:12220 axlemesh.io/bolt HttpConnectionManager of app=cashier",
		"outbound/dubbo OUTBOUND 127.0.0.1:12230 axlemesh.io/dubbo HttpConnectionManager of app=cashier",
		"outbound/http OUTBOUND 127.0.0.1:12280 axlemesh.io/http1 HttpConnectionManager of app=cashier",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	if none, err := Listeners(nil, nil, nil, Settings{}); err != nil || len(none) != 0 {
		t.Errorf("a pod that nothing is wanted of has listeners %v, error %v", none, err)
	}
}

// TestASidecarGetsWhatItKnows: one from before Dubbo would refuse a listener of that kind, and all that came with it.
func TestASidecarGetsWhatItKnows(t *testing.T) {
	all, err := Listeners(&axlev1.PodDesired{Generation: 1, Ports: []axlev1.PortSpec{
		{AppPort: 20880, Protocol: axlev1.ProtocolDubbo}, {AppPort: 50051, Protocol: axlev1.ProtocolHTTP2}}},
		[]axlev1.Protocol{axlev1.ProtocolTCP, axlev1.ProtocolBolt, axlev1.ProtocolHTTP1}, nil, Settings{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range all {
		got = append(got, l.GetName()+" "+l.GetFilterChains()[0].GetFilters()[0].GetName())
	}
	want := []string{"inbound/23880 axlemesh.io/tcp", "inbound/53051 axlemesh.io/tcp", "outbound/bolt axlemesh.io/bolt", "outbound/http axlemesh.io/http1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
}
