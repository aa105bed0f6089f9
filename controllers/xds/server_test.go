package xds

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/control"
	"github.com/axlemesh/axle/controllers/identity"
)

var (
	t0  = time.Unix(1_800_000_000, 0)
	pay = types.NamespacedName{Namespace: "payments", Name: "pay"}
)

// served is an ADS server on loopback with a client that holds the credential of pod payments/pay-0.
type served struct {
	t        *testing.T
	store    *Store
	metrics  *Metrics
	recorder *events.FakeRecorder
	ctx      context.Context
	ads      discoveryv3.AggregatedDiscoveryServiceClient
}

func serve(t *testing.T) *served {
	t.Helper()
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name, pod.UID, pod.Status.PodIP = "payments", "pay-0", "uid-0", "127.0.0.1"
	pods := fake.NewClientBuilder().WithObjects(pod).Build()
	ring := identity.Fixed(identity.Keys{Current: bytes.Repeat([]byte{1}, identity.KeySize)})
	bearer, _, err := ring.Keys().SignBearer(identity.Sidecar{PodUID: "uid-0", Namespace: "payments", Pod: "pay-0", Container: "axle-g1"}, t0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	auth := &control.Authenticator{Keys: ring, Pods: pods, Clock: clocktesting.NewFakePassiveClock(t0)}
	s := &served{t: t, store: NewStore(testr.New(t)), metrics: NewMetrics(prometheus.NewRegistry()), recorder: events.NewFakeRecorder(10)}
	g := grpc.NewServer(grpc.StreamInterceptor(auth.Stream))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, NewServer(ctx, s.store, pods, s.recorder, testr.New(t), s.metrics))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		g.Stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	s.ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+bearer)
	s.ads = discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	return s
}

type adsStream = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient

// subscribe opens a stream that wants everything of the types.
func (s *served) subscribe(node string, kinds ...string) adsStream {
	s.t.Helper()
	str, err := s.ads.DeltaAggregatedResources(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, k := range kinds {
		req := &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: node}, TypeUrl: k, ResourceNamesSubscribe: []string{"*"}}
		if err := str.Send(req); err != nil {
			s.t.Fatal(err)
		}
	}
	return str
}

// next receives one response, acknowledges it, and lists what it brings and takes.
func (s *served) next(str adsStream) (kind string, names []string, r *discoveryv3.DeltaDiscoveryResponse) {
	s.t.Helper()
	r, err := str.Recv()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, x := range r.GetResources() {
		names = append(names, "+"+x.GetName())
	}
	for _, x := range r.GetRemovedResources() {
		names = append(names, "-"+x)
	}
	slices.Sort(names)
	if err := str.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}); err != nil {
		s.t.Fatal(err)
	}
	return r.GetTypeUrl(), names, r
}

func (s *served) set(svc types.NamespacedName, ways map[string]map[int32]int32) {
	s.t.Helper()
	service := payService()
	service.Name = svc.Name
	slice := paySlice(endpoint("10.0.0.1", "pay-0", true, false), endpoint("10.0.0.2", "pay-1", true, false))
	r := Generate(plain(service, []*discoveryv1.EndpointSlice{slice}, ways))
	if err := s.store.SetService(svc, t0, r); err != nil {
		s.t.Fatal(err)
	}
}

func TestOneEndpointThatChangesIsOneResource(t *testing.T) {
	s := serve(t)
	s.set(pay, nil)
	s.set(types.NamespacedName{Namespace: "payments", Name: "other"}, nil)
	str := s.subscribe("uid-0", resource.EndpointType)
	_, names, _ := s.next(str)
	if len(names) != 6 {
		t.Fatalf("first response brings %v, want 6 assignments", names)
	}
	s.set(pay, nil) // nothing changed: nothing is sent
	s.set(pay, map[string]map[int32]int32{"pay-0": {12200: 15200}})
	_, names, r := s.next(str)
	if diff := cmp.Diff([]string{"+outbound/payments/pay/12200"}, names); diff != "" {
		t.Fatalf("response (-want +got):\n%s", diff)
	}
	cla := &endpointv3.ClusterLoadAssignment{}
	if err := r.GetResources()[0].GetResource().UnmarshalTo(cla); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.0.0.1:15200", "10.0.0.2:12200"}, addresses(cla)); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}

func TestAServiceComesAndGoes(t *testing.T) {
	s := serve(t)
	str := s.subscribe("uid-0", resource.VirtualHostType)
	if _, names, _ := s.next(str); len(names) != 0 {
		t.Fatalf("first response brings %v, want nothing", names)
	}
	s.set(pay, nil)
	_, names, _ := s.next(str)
	want := []string{"+com.x.Pay:1.0", "+com.x.Refund:1.0", "+pay.payments"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	if err := s.store.SetService(pay, t0, Resources{}); err != nil {
		t.Fatal(err)
	}
	_, names, _ = s.next(str)
	want = []string{"-com.x.Pay:1.0", "-com.x.Refund:1.0", "-pay.payments"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}

func TestOfTwoServicesWithOneKeyTheOlderHasIt(t *testing.T) {
	s := serve(t)
	younger := types.NamespacedName{Namespace: "payments", Name: "a-younger"}
	claim := func(name types.NamespacedName, age time.Duration) {
		svc := payService()
		svc.Name = name.Name
		if err := s.store.SetService(name, t0.Add(-age), Generate(plain(svc, nil, nil))); err != nil {
			t.Fatal(err)
		}
	}
	cluster := func() string { return s.store.host("com.x.Pay:1.0").GetRoutes()[0].GetRoute().GetCluster() }
	claim(younger, time.Minute)
	if got, want := cluster(), ClusterName("payments", "a-younger", 12200); got != want {
		t.Errorf("alone: %s, want %s", got, want)
	}
	claim(pay, time.Hour)
	if got, want := cluster(), ClusterName("payments", "pay", 12200); got != want {
		t.Errorf("both: %s, want %s", got, want)
	}
	if err := s.store.SetService(pay, t0, Resources{}); err != nil {
		t.Fatal(err)
	}
	if got, want := cluster(), ClusterName("payments", "a-younger", 12200); got != want {
		t.Errorf("after the older is gone: %s, want %s", got, want)
	}
}

func TestListenersAreAPodsOwn(t *testing.T) {
	s := serve(t)
	put := func(name, uid string, port int32) {
		all, err := Listeners(&axlev1.PodDesired{Generation: 1, Ports: []axlev1.PortSpec{{AppPort: port}}}, nil, nil, Settings{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.store.SetPod(s.ctx, types.NamespacedName{Namespace: "payments", Name: name}, types.UID(uid), all); err != nil {
			t.Fatal(err)
		}
	}
	put("pay-0", "uid-0", 12200)
	put("pay-1", "uid-1", 8080)
	str := s.subscribe("uid-0", resource.ListenerType, "type.googleapis.com/of.the.Future")
	if _, names, _ := s.next(str); !slices.Equal(names, []string{"+inbound/15200", "+outbound/bolt", "+outbound/http"}) {
		t.Errorf("listeners %v", names)
	}
	put("pay-0", "uid-0", 12300)
	if _, names, _ := s.next(str); !slices.Equal(names, []string{"+inbound/15300", "-inbound/15200"}) {
		t.Errorf("after a change %v", names)
	}
}

func TestARejectionIsSaid(t *testing.T) {
	s := serve(t)
	s.set(pay, nil)
	str := s.subscribe("uid-0", resource.ClusterType)
	r, err := str.Recv()
	if err != nil {
		t.Fatal(err)
	}
	nack := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), ErrorDetail: &rpcstatus.Status{Message: "lb_policy: no"}}
	if err := str.Send(nack); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-s.recorder.Events:
		if want := "Warning ConfigRejected axle-g1 rejected a Cluster and keeps what it had: lb_policy: no"; e != want {
			t.Errorf("event %q, want %q", e, want)
		}
	case <-s.ctx.Done():
		t.Fatal("no event")
	}
	if n := testutil.ToFloat64(s.metrics.nacks.WithLabelValues("Cluster")); n != 1 {
		t.Errorf("%v rejections counted, want 1", n)
	}
}

func TestAnotherPodsNodeIsRefused(t *testing.T) {
	s := serve(t)
	str := s.subscribe("uid-1", resource.ListenerType)
	if _, err := str.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("error %v, want %s", err, codes.PermissionDenied)
	}
}

// One change among many services reaches many streams as one resource each.
func TestManyStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it opens 200 streams")
	}
	s := serve(t)
	for i := range 100 {
		s.set(types.NamespacedName{Namespace: "payments", Name: fmt.Sprintf("svc-%d", i)}, nil)
	}
	var all []adsStream
	for range 200 {
		str := s.subscribe("uid-0", resource.EndpointType)
		if _, names, _ := s.next(str); len(names) != 300 {
			t.Fatalf("first response brings %d assignments, want 300", len(names))
		}
		all = append(all, str)
	}
	s.set(types.NamespacedName{Namespace: "payments", Name: "svc-7"}, map[string]map[int32]int32{"pay-0": {12200: 15200}})
	for _, str := range all {
		if _, names, _ := s.next(str); !slices.Equal(names, []string{"+outbound/payments/svc-7/12200"}) {
			t.Fatalf("a change brings %v", names)
		}
	}
}
