package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"k8s.io/apimachinery/pkg/types"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/identity"
)

var gray = types.NamespacedName{Namespace: "payments", Name: "gray"}

func (s *served) rules(rules ...*axlev1.TrafficRule) {
	s.t.Helper()
	if err := s.store.SetService(pay, t0, Generate(mesh(rules...))); err != nil {
		s.t.Fatal(err)
	}
}

// counted waits for a count, versions aside.
func (s *served) counted(want Count) {
	s.t.Helper()
	var got Count
	for range 500 {
		got, _ = s.store.Count(gray)
		got.Version = ""
		if got == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.t.Errorf("counted %+v, want %+v", got, want)
}

func (s *served) answer(str adsStream, r *discoveryv3.DeltaDiscoveryResponse, reject string) {
	s.t.Helper()
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	if reject != "" {
		req.ErrorDetail = &rpcstatus.Status{Message: reject}
	}
	if err := str.Send(req); err != nil {
		s.t.Fatal(err)
	}
}

func (s *served) receive(str adsStream) (names []string, r *discoveryv3.DeltaDiscoveryResponse) {
	s.t.Helper()
	r, err := str.Recv()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, x := range r.GetResources() {
		names = append(names, x.GetName())
	}
	slices.Sort(names)
	return names, r
}

// A rule becomes routes that a sidecar gets; what it says of them is counted; a deleted rule takes its routes away and nothing else.
func TestARuleReachesASidecarAndIsAcknowledged(t *testing.T) {
	s := serve(t)
	s.rules()
	str := s.subscribe("uid-0", resource.VirtualHostType)
	s.next(str)
	s.counted(Count{})

	one := ruled(t, "gray", time.Hour, onlyRPC+"rules: [{timeout: 1s}]")
	s.rules(one)
	names, r := s.receive(str)
	if diff := cmp.Diff([]string{rpcKey}, names); diff != "" {
		t.Fatalf("hosts that were sent (-want +got):\n%s", diff)
	}
	host := &routev3.VirtualHost{}
	if err := r.GetResources()[0].GetResource().UnmarshalTo(host); err != nil {
		t.Fatal(err)
	}
	if got := show(host.GetRoutes()[0]); got != "-> pay/12200 1s" {
		t.Errorf("first route %s", got)
	}
	s.counted(Count{Total: 1})
	s.answer(str, r, "")
	s.counted(Count{Total: 1, Acked: 1})

	s.rules(ruled(t, "gray", time.Hour, onlyRPC+"rules: [{timeout: 2s}]"))
	_, r = s.receive(str)
	s.answer(str, r, `VirtualHost "com.x.Pay:1.0": routes[0]: no`)
	s.counted(Count{Total: 1, Nacked: 1, Message: `payments/pay-0 (axle-g1): VirtualHost "com.x.Pay:1.0": routes[0]: no`})

	s.rules(ruled(t, "gray", time.Hour, onlyRPC+"rules: [{timeout: 3s}]"))
	_, r = s.receive(str)
	s.answer(str, r, "")
	s.counted(Count{Total: 1, Acked: 1})

	// Another sidecar that comes back with what it has does not have to say so again.
	again, err := s.ads.DeltaAggregatedResources(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = again.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: "uid-0"}, TypeUrl: resource.VirtualHostType, ResourceNamesSubscribe: []string{"*"},
		InitialResourceVersions: map[string]string{rpcKey: r.GetResources()[0].GetVersion()},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.counted(Count{Total: 2, Acked: 2})
	if err := again.CloseSend(); err != nil {
		t.Fatal(err)
	}
	s.counted(Count{Total: 1, Acked: 1})

	s.rules()
	names, r = s.receive(str)
	if diff := cmp.Diff([]string{rpcKey}, names); diff != "" || len(r.GetRemovedResources()) > 0 {
		t.Errorf("after the rule is gone, removed %v (-want +got):\n%s", r.GetRemovedResources(), diff)
	}
	s.counted(Count{})
	if n := len(s.store.acks.parts); n != 0 {
		t.Errorf("%d hosts without rules are kept", n)
	}
}

func TestRejectionsAreAboutTheHostsThatTheyName(t *testing.T) {
	long := make([]byte, longReason)
	cases := map[string]struct {
		message string
		want    string // verdicts of a and b
	}{
		"one is named":          {`VirtualHost "a": no`, "nacked acked"},
		"both are":              {"VirtualHost \"a\": no\nVirtualHost \"b\": no", "nacked nacked"},
		"none is":               {"out of memory", "nacked nacked"},
		"it may have been cut":  {`VirtualHost "a": ` + string(long), "nacked nacked"},
		"another one was meant": {`VirtualHost "ab": no`, "nacked nacked"},
		"they were taken":       {"", "acked acked"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := newAcks(func([]part) {})
			for _, key := range []string{"a", "b"} {
				a.want(part{resource.VirtualHostType, key}, "v1")
			}
			a.open(1, identity.Sidecar{})
			a.request(1, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.VirtualHostType})
			a.response(1, &discoveryv3.DeltaDiscoveryResponse{TypeUrl: resource.VirtualHostType, Nonce: "1", Resources: []*discoveryv3.Resource{
				{Name: "a", Version: "v1"}, {Name: "b", Version: "v1"}, {Name: "of-no-rule", Version: "v1"},
			}})
			req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.VirtualHostType, ResponseNonce: "1"}
			if tc.message != "" {
				req.ErrorDetail = &rpcstatus.Status{Message: tc.message}
			}
			a.request(1, req)
			words := []string{"sent", "acked", "nacked"}
			if got := words[a.parts[part{resource.VirtualHostType, "a"}].held[1].verdict] + " " + words[a.parts[part{resource.VirtualHostType, "b"}].held[1].verdict]; got != tc.want {
				t.Errorf("verdicts %s, want %s", got, tc.want)
			}
			if n := len(a.parts[part{resource.VirtualHostType, "a"}].held[1].reason); n > maxReason {
				t.Errorf("%d bytes of a reason are kept", n)
			}
		})
	}
}

func TestALateAnswerIsAboutWhatWasSentThen(t *testing.T) {
	a, a1 := newAcks(func([]part) {}), part{resource.VirtualHostType, "a"}
	a.want(a1, "v1")
	a.open(1, identity.Sidecar{})
	a.request(1, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.VirtualHostType})
	send := func(nonce, version string) {
		a.response(1, &discoveryv3.DeltaDiscoveryResponse{TypeUrl: resource.VirtualHostType, Nonce: nonce, Resources: []*discoveryv3.Resource{{Name: "a", Version: version}}})
	}
	ack := func(nonce string) {
		a.request(1, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.VirtualHostType, ResponseNonce: nonce})
	}
	send("1", "v1")
	a.want(a1, "v2")
	send("2", "v2")
	ack("1")
	if c := a.count([]part{a1}); c.Acked != 0 || c.Total != 1 {
		t.Errorf("the answer to v1 counts for v2: %+v", c)
	}
	ack("2")
	if c := a.count([]part{a1}); c.Acked != 1 {
		t.Errorf("%+v", c)
	}
	for i := range 3 * maxOutstanding { // a sidecar that never answers
		send(fmt.Sprint("n", i), "v2")
	}
	if n := len(a.streams[1].outstanding); n != maxOutstanding {
		t.Errorf("%d responses are kept", n)
	}
}

func TestAServiceKeyOfAnOlderServiceIsLost(t *testing.T) {
	store := NewStore(logr.Discard())
	var told []types.NamespacedName
	store.Listen(func(rule types.NamespacedName) { told = append(told, rule) })
	rule := ruled(t, "gray", time.Hour, "rules: [{timeout: 1s}]")
	if err := store.SetService(pay, t0, Generate(mesh(rule))); err != nil {
		t.Fatal(err)
	}
	all, lost := store.Count(gray)
	if all.Version == "" || len(lost) != 0 {
		t.Fatalf("%+v, lost %v", all, lost)
	}
	older := payService()
	older.Name, older.Annotations[axlev1.ServicesAnnotation] = "older", rpcKey
	told = nil
	if err := store.SetService(types.NamespacedName{Namespace: "payments", Name: "older"}, t0.Add(-time.Hour), Generate(plain(older, nil, nil))); err != nil {
		t.Fatal(err)
	}
	some, lost := store.Count(gray)
	if diff := cmp.Diff([]string{rpcKey}, lost); diff != "" || some.Version == all.Version || some.Version == "" {
		t.Errorf("version %q, lost (-want +got):\n%s", some.Version, diff)
	}
	if !slices.Contains(told, gray) {
		t.Error("nobody was told")
	}
}

// TestReplicasOfTwoReleasesAgree: while the operator is upgraded, rules without an upstream stay Programmed.
func TestReplicasOfTwoReleasesAgree(t *testing.T) {
	a := newAcks(func([]part) {})
	host, cluster := part{resource.VirtualHostType, "pay.payments"}, part{resource.ClusterType, "pay.payments"}
	a.want(host, "v1")
	a.want(cluster, "v1")
	sum := sha256.Sum256([]byte("pay.payments\nv1\n")) // what the release before has
	if got, want := a.count([]part{host}).Version, hex.EncodeToString(sum[:8]); got != want {
		t.Errorf("version %s, want %s", got, want)
	}
	if a.count([]part{host}).Version == a.count([]part{cluster}).Version {
		t.Error("a host and a cluster look alike")
	}
}
