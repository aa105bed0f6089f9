package xds

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// timeouts are the connect timeouts of clusters, by port: what the upstreams in this file set.
func timeouts(r Resources) string {
	var all []string
	for _, c := range r.Clusters {
		all = append(all, fmt.Sprintf("%s=%s", strings.TrimPrefix(c.GetName(), "outbound/payments/pay/"), c.GetConnectTimeout().AsDuration()))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestUpstreams(t *testing.T) {
	const whole, rpc, web, raw = "parentRefs: [{name: pay}]\n", onlyRPC, "parentRefs: [{name: pay, port: 80}]\n", "parentRefs: [{name: pay, port: 9000}]\n"
	const fast, slow = "upstream: {connectTimeout: 200ms}", "upstream: {connectTimeout: 5s}"
	cases := map[string]struct {
		old, young string // specs
		want       string
		says       Reason // of the younger
		message    string
	}{
		"all ports":                               {young: whole + fast, want: "12200=200ms 80=200ms 9000=200ms", says: ReasonAccepted},
		"one port":                                {young: rpc + fast, want: "12200=200ms 80=1s 9000=1s", says: ReasonAccepted},
		"one that no key goes to":                 {young: raw + fast, want: "12200=1s 80=1s 9000=200ms", says: ReasonAccepted},
		"one that is not there":                   {young: "parentRefs: [{name: pay, port: 1}]\n" + fast, want: "12200=1s 80=1s 9000=1s", says: ReasonNoMatchingParent, message: "Service pay has no TCP port 1."},
		"with rules":                              {young: rpc + "rules: [{timeout: 1s}]\n" + fast, want: "12200=200ms 80=1s 9000=1s", says: ReasonAccepted},
		"two, of one port each":                   {old: rpc + slow, young: web + fast, want: "12200=5s 80=200ms 9000=1s", says: ReasonAccepted},
		"the older is in force":                   {old: rpc + slow, young: whole + fast, want: "12200=5s 80=1s 9000=1s", says: ReasonConflicted, message: "TrafficRule old is older and has an upstream for port 12200 of Service pay"},
		"rules alone are no conflict":             {old: rpc + slow, young: rpc + "rules: [{timeout: 1s}]", want: "12200=5s 80=1s 9000=1s", says: ReasonAccepted},
		"but upstream is, with its rules":         {old: rpc + slow, young: rpc + "rules: [{timeout: 1s}]\n" + fast, want: "12200=5s 80=1s 9000=1s", says: ReasonConflicted},
		"and rules are, with their upstream":      {old: rpc + "rules: [{timeout: 1s}]", young: rpc + "rules: [{timeout: 2s}]\n" + fast, want: "12200=1s 80=1s 9000=1s", says: ReasonConflicted, message: "same match"},
		"what is not accepted is in nobody's way": {old: rpc + "rules: [{matches: [{service: {value: gone}}]}]\n" + slow, young: rpc + fast, want: "12200=200ms 80=1s 9000=1s", says: ReasonAccepted},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			rules := []*axlev1.TrafficRule{ruled(t, "young", time.Minute, tc.young)}
			if tc.old != "" {
				rules = append(rules, ruled(t, "old", time.Hour, tc.old))
			}
			r := Generate(mesh(rules...))
			if got := timeouts(r); got != tc.want {
				t.Errorf("timeouts %s, want %s", got, tc.want)
			}
			at := slices.IndexFunc(r.Reports, func(r Report) bool { return r.Rule.Name == "young" })
			got := r.Reports[at]
			if got.Accepted.Reason != tc.says || !strings.Contains(got.Accepted.Message, tc.message) || got.Accepted.OK == (len(got.Clusters) == 0 && strings.Contains(tc.young, "upstream")) {
				t.Errorf("report %+v", got)
			}
		})
	}
}

func TestAnUpstreamThatAsksNobody(t *testing.T) {
	r := Generate(mesh(ruled(t, "gray", time.Hour, onlyRPC+"upstream: {healthCheck: {http: {path: /}}}")))
	if f := r.Reports[0].Resolved; f.Reason != ReasonProtocolMismatch || !strings.Contains(f.Message, "no HTTP/1 port") {
		t.Errorf("resolved %+v", f)
	}
	r = Generate(mesh(ruled(t, "gray", time.Hour, "upstream: {healthCheck: {http: {path: /}}}")))
	if f := r.Reports[0].Resolved; !f.OK {
		t.Errorf("resolved %+v", f)
	}
}

// TestAnUpstreamThatChangesNothing is sent and acknowledged all the same: else its rule would wait for ever.
func TestAnUpstreamThatChangesNothing(t *testing.T) {
	before := Generate(mesh()).Clusters[0]
	after := Generate(mesh(ruled(t, "gray", time.Hour, onlyRPC+"upstream: {connectTimeout: 1s}"))).Clusters[0]
	other := Generate(mesh(ruled(t, "green", time.Hour, onlyRPC+"upstream: {connectTimeout: 1s}"))).Clusters[0]
	if before.GetName() != after.GetName() || proto.Equal(before, after) || proto.Equal(after, other) {
		t.Errorf("%v\n%v\n%v", before, after, other)
	}
}

// TestAnUpstreamIsAcknowledged: sidecars take it with clusters, and a rule waits for those as it does for routes.
func TestAnUpstreamIsAcknowledged(t *testing.T) {
	s := serve(t)
	s.rules()
	both := s.subscribe("uid-0", resource.VirtualHostType, resource.ClusterType)
	for range 2 {
		_, r := s.receive(both)
		s.answer(both, r, "")
	}
	s.rules(ruled(t, "gray", time.Hour, onlyRPC+"upstream: {connectTimeout: 200ms}"))
	names, r := s.receive(both)
	if diff := cmp.Diff([]string{"outbound/payments/pay/12200"}, names); diff != "" {
		t.Fatalf("what was sent (-want +got):\n%s", diff)
	}
	c := &clusterv3.Cluster{}
	if err := r.GetResources()[0].GetResource().UnmarshalTo(c); err != nil || c.GetConnectTimeout().AsDuration() != 200*time.Millisecond {
		t.Errorf("%v, %v", c, err)
	}
	waits := func(acked, nacked int, message string) {
		t.Helper()
		for range 500 {
			got, lost := s.store.Count(gray)
			if got.Acked == acked && got.Nacked == nacked && got.Message == message && got.Version != "" && len(lost) == 0 {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		got, _ := s.store.Count(gray)
		t.Errorf("counted %+v", got)
	}
	waits(0, 0, "")
	s.answer(both, r, `Cluster "outbound/payments/pay/12200": no`)
	waits(0, 1, `payments/pay-0 (axle-g1): Cluster "outbound/payments/pay/12200": no`)
	s.rules(ruled(t, "gray", time.Hour, onlyRPC+"upstream: {connectTimeout: 300ms}"))
	_, r = s.receive(both)
	s.answer(both, r, "")
	waits(1, 0, "")
	s.rules()
	if _, r = s.receive(both); len(r.GetResources()) != 1 {
		t.Errorf("sent %v", r)
	}
	s.counted(Count{})
	if n := len(s.store.acks.parts); n != 0 {
		t.Errorf("%d parts without rules are kept", n)
	}
}
