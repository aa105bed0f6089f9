package xds

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/axlemesh/axle/sidecar/config"
)

func TestTranslateEndpoints(t *testing.T) {
	a := assignment("c", 1, 2, 3, 4, 5, 6, 1)
	for i, h := range []corev3.HealthStatus{0, corev3.HealthStatus_HEALTHY, corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_DRAINING, corev3.HealthStatus_TIMEOUT, corev3.HealthStatus_DEGRADED} {
		a.Endpoints[0].LbEndpoints[i].HealthStatus = h
	}
	a.Endpoints[0].LbEndpoints[1].LoadBalancingWeight = wrapperspb.UInt32(3)
	a.Endpoints[0].LbEndpoints[5].LoadBalancingWeight = wrapperspb.UInt32(1)
	zoned := assignment("c", 7)
	zoned.Endpoints[0].Locality = &corev3.Locality{Region: "eu", Zone: "eu-1"}
	a.Endpoints = append(a.Endpoints, zoned.Endpoints...)
	got, err := translateEndpoints(a)
	said(t, err, "")
	want := endpoints{
		addrs: []netip.AddrPort{ap("10.0.0.1:1"), ap("10.0.0.1:2"), ap("10.0.0.1:3"), ap("10.0.0.1:5"), ap("10.0.0.1:6"), ap("10.0.0.1:7")},
		traits: map[netip.AddrPort]config.Trait{
			ap("10.0.0.1:2"): {Weight: 3}, ap("10.0.0.1:3"): {Unhealthy: true}, ap("10.0.0.1:5"): {Unhealthy: true}, ap("10.0.0.1:7"): {Zone: "eu-1"},
		},
	}
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	none, err := translateEndpoints(&endpointv3.ClusterLoadAssignment{})
	if err != nil || none.addrs != nil || none.traits != nil {
		t.Errorf("an empty assignment: %v, %v", none, err)
	}
}

func TestTranslateEndpointsRefuses(t *testing.T) {
	many := assignment("c")
	for range maxEndpoints + 1 {
		many.Endpoints[0].LbEndpoints = append(many.Endpoints[0].LbEndpoints, assignment("c", 1).Endpoints[0].LbEndpoints[0])
	}
	_, err := translateEndpoints(many)
	said(t, err, "more than 20000 endpoints")
	spare := assignment("c", 1)
	spare.Endpoints[0].Priority = 1
	_, err = translateEndpoints(spare)
	said(t, err, "endpoints[0].priority: 1 is unsupported")
	for _, weight := range []uint32{0, config.MaxWeight + 1} {
		heavy := assignment("c", 1)
		heavy.Endpoints[0].LbEndpoints[0].LoadBalancingWeight = wrapperspb.UInt32(weight)
		_, err = translateEndpoints(heavy)
		said(t, err, fmt.Sprintf("endpoints[0].lb_endpoints[0].load_balancing_weight: %d is not between", weight))
	}
}

func policy(name string, m proto.Message) *clusterv3.LoadBalancingPolicy {
	return &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{
		{TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: "what nobody knows", TypedConfig: pack(&emptypb.Empty{})}},
		{TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: pack(m)}},
	}}
}

func hashing(header string) *commonv3.ConsistentHashingLbConfig {
	return &commonv3.ConsistentHashingLbConfig{HashPolicy: []*routev3.RouteAction_HashPolicy{{
		PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: header}},
	}}}
}

func TestTranslateBalancing(t *testing.T) {
	slow := &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: durationpb.New(time.Minute), Aggression: &corev3.RuntimeDouble{DefaultValue: 2}, MinWeightPercent: &typev3.Percent{Value: 5}}
	minute := config.SlowStart{Window: time.Minute, Aggression: 2, MinPercent: 5}
	zones := &commonv3.LocalityLbConfig{LocalityConfigSpecifier: &commonv3.LocalityLbConfig_ZoneAwareLbConfig_{ZoneAwareLbConfig: &commonv3.LocalityLbConfig_ZoneAwareLbConfig{}}}
	cases := map[string]struct {
		in   *clusterv3.Cluster
		want config.Balancing
		err  string
	}{
		"nothing":         {in: &clusterv3.Cluster{}, want: config.Balancing{Panic: 50}},
		"in turn, slowly": {in: &clusterv3.Cluster{LbConfig: &clusterv3.Cluster_RoundRobinLbConfig_{RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slow}}}, want: config.Balancing{Panic: 50, SlowStart: minute}},
		"least request": {
			in:   &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_LEAST_REQUEST, LbConfig: &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{ChoiceCount: wrapperspb.UInt32(3)}}},
			want: config.Balancing{Policy: config.LeastRequest, Choices: 3, Panic: 50},
		},
		"random": {in: &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_RANDOM}, want: config.Balancing{Policy: config.Random, Panic: 50}},
		"a ring": {
			in:   &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_RING_HASH, LbConfig: &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{MinimumRingSize: wrapperspb.UInt64(1 << 40)}}},
			want: config.Balancing{Policy: config.RingHash, TableSize: config.MaxRing, Panic: 50},
		},
		"Maglev": {in: &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_MAGLEV}, want: config.Balancing{Policy: config.Maglev, Panic: 50}},
		"zones and panic": {
			in: &clusterv3.Cluster{CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{
				HealthyPanicThreshold:   &typev3.Percent{Value: 0},
				LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_{ZoneAwareLbConfig: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig{MinClusterSize: wrapperspb.UInt64(3)}},
			}},
			want: config.Balancing{ZoneAware: true, ZoneEndpoints: 3},
		},
		"the extension RoundRobin":   {in: &clusterv3.Cluster{LoadBalancingPolicy: policy("a", &roundv3.RoundRobin{LocalityLbConfig: zones})}, want: config.Balancing{ZoneAware: true, Panic: 50}},
		"the extension LeastRequest": {in: &clusterv3.Cluster{LoadBalancingPolicy: policy("a", &leastv3.LeastRequest{ChoiceCount: wrapperspb.UInt32(2)})}, want: config.Balancing{Policy: config.LeastRequest, Choices: 2, Panic: 50}},
		"the extension Random":       {in: &clusterv3.Cluster{LoadBalancingPolicy: policy("a", &randomv3.Random{})}, want: config.Balancing{Policy: config.Random, Panic: 50}},
		"the extension RingHash":     {in: &clusterv3.Cluster{LoadBalancingPolicy: policy("a", &ringv3.RingHash{})}, want: config.Balancing{Policy: config.RingHash, TableSize: 1024, Panic: 50}},
		"the extension Maglev":       {in: &clusterv3.Cluster{LoadBalancingPolicy: policy("a", &maglevv3.Maglev{TableSize: wrapperspb.UInt64(251)})}, want: config.Balancing{Policy: config.Maglev, TableSize: 251, Panic: 50}},
		"a ring of a header": {in: &clusterv3.Cluster{LoadBalancingPolicy: policy("a", &ringv3.RingHash{ConsistentHashingLbConfig: hashing("user")})},
			want: config.Balancing{Policy: config.RingHash, TableSize: 1024, Panic: 50, Hash: []config.HashKey{{Header: "user"}}}},
		"Maglev of a header": {in: &clusterv3.Cluster{LoadBalancingPolicy: policy("a", &maglevv3.Maglev{ConsistentHashingLbConfig: hashing("user")})},
			want: config.Balancing{Policy: config.Maglev, Panic: 50, Hash: []config.HashKey{{Header: "user"}}}},
		"a hash of no header": {in: &clusterv3.Cluster{LoadBalancingPolicy: policy("a", &maglevv3.Maglev{ConsistentHashingLbConfig: hashing(":path")})},
			err: `load_balancing_policy.policies[1].typed_extension_config.typed_config.consistent_hashing_lb_config.hash_policy: hash key 0: ":path" is no header`},
		"bounded loads": {in: &clusterv3.Cluster{LoadBalancingPolicy: policy("a", &ringv3.RingHash{ConsistentHashingLbConfig: &commonv3.ConsistentHashingLbConfig{UseHostnameForHashing: true}})},
			err: "consistent_hashing_lb_config.use_hostname_for_hashing: unsupported"},
		"peak EWMA by its name":      {in: &clusterv3.Cluster{LoadBalancingPolicy: policy(PolicyPeakEWMA, &emptypb.Empty{})}, want: config.Balancing{Policy: config.PeakEWMA, Panic: 50}},
		"no extension that is known": {in: &clusterv3.Cluster{LoadBalancingPolicy: policy("a", &emptypb.Empty{})}, err: "load_balancing_policy.policies: none is known"},
		"a table that is no prime":   {in: &clusterv3.Cluster{LoadBalancingPolicy: policy("a", &maglevv3.Maglev{TableSize: wrapperspb.UInt64(250)})}, err: "250 entries of a Maglev table are no prime"},
		"a bias":                     {in: &clusterv3.Cluster{LoadBalancingPolicy: policy("a", &leastv3.LeastRequest{ActiveRequestBias: &corev3.RuntimeDouble{DefaultValue: 2}})}, err: "active_request_bias: 2 is unsupported"},
		"another hash":               {in: &clusterv3.Cluster{LbPolicy: clusterv3.Cluster_RING_HASH, LbConfig: &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{HashFunction: clusterv3.Cluster_RingHashLbConfig_MURMUR_HASH_2}}}, err: "hash_function: MURMUR_HASH_2 is unsupported"},
		"weights of localities":      {in: &clusterv3.Cluster{CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{}}}}, err: "common_lb_config.locality_weighted_lb_config: unsupported"},
		"some requests in the zone":  {in: &clusterv3.Cluster{CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_{ZoneAwareLbConfig: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig{RoutingEnabled: &typev3.Percent{Value: 3}}}}}, err: "routing_enabled: 3 is unsupported"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := translateCluster(tc.in)
			said(t, err, tc.err)
			if diff := cmp.Diff(tc.want, got.Balancing); err == nil && diff != "" {
				t.Errorf("balancing (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTranslateHash(t *testing.T) {
	header := &routev3.RouteAction_HashPolicy{Terminal: true, PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: "user"}}}
	source := &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true}}}
	cookie := &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: &routev3.RouteAction_HashPolicy_Cookie{Name: "x"}}}
	h := virtualHost("c", "d")
	h.Routes[0].GetRoute().HashPolicy = []*routev3.RouteAction_HashPolicy{header, source}
	got, err := translateHost(h)
	said(t, err, "")
	if diff := cmp.Diff([]config.HashKey{{Header: "user", Terminal: true}, {SourceIP: true}}, got.routes[0].Hash); diff != "" {
		t.Errorf("hash (-want +got):\n%s", diff)
	}
	h.Routes[0].GetRoute().HashPolicy = []*routev3.RouteAction_HashPolicy{header, cookie}
	_, err = translateHost(h)
	said(t, err, "routes[0]: route.hash_policy[1].policy_specifier: send header or connection_properties")
	h.Routes[0].GetRoute().HashPolicy = make([]*routev3.RouteAction_HashPolicy, 17)
	for i := range 17 {
		h.Routes[0].GetRoute().HashPolicy[i] = source
	}
	_, err = translateHost(h)
	said(t, err, "route.hash_policy: 17 hash keys are more than 16")
}
