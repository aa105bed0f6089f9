package static

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/axlemesh/axle/sidecar/config"
)

// guarded has a cluster with everything, and one that leaves to the defaults what it can.
const guarded = `
static:
  listeners: []
  routes:
  - {service: "*", cluster: all, hash: [{header: user, terminal: true}, {sourceIP: true}]}
  clusters:
  - name: all
    endpoints: ["127.0.0.1:1", "127.0.0.1:2"]
    traits:
    - {endpoint: "127.0.0.1:2", weight: 3, zone: b, unhealthy: true}
    balancing:
      policy: leastRequest
      choices: 3
      slowStart: {window: 30s, aggression: 2, minWeightPercent: 5}
      zoneAware: true
      minEndpointsForZones: 2
      panicThreshold: 0
    limits: {maxConnections: 1, maxPendingRequests: 2, maxRequests: 3, maxRetries: 4}
    outlier:
      consecutive5xx: 0
      consecutiveGatewayFailure: 3
      interval: 1s
      baseEjectionTime: 2s
      maxEjectionTime: 4s
      maxEjectionPercent: 100
      alwaysEjectOneHost: true
      successRate: {minimumHosts: 2, requestVolume: 10, stdevFactor: 1.5}
    healthCheck: {kind: http, interval: 2s, jitter: 500ms, timeout: 300ms, unhealthyThreshold: 1, healthyThreshold: 1, path: /ok, host: h}
  - {name: less, endpoints: [], balancing: {policy: maglev, hash: [{header: x}]}, outlier: {}, healthCheck: {kind: bolt}}
`

func TestSnapshotGuards(t *testing.T) {
	b, err := Parse("f", []byte(guarded))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Snapshot(b.Static)
	if err != nil {
		t.Fatal(err)
	}
	one, two := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")
	want := map[string]*config.Cluster{
		"all": {
			Name: "all", Endpoints: []netip.AddrPort{one, two}, ConnectTimeout: time.Second, Connections: 1,
			Traits: map[netip.AddrPort]config.Trait{two: {Weight: 3, Zone: "b", Unhealthy: true}},
			Balancing: config.Balancing{
				Policy: config.LeastRequest, Choices: 3, SlowStart: config.SlowStart{Window: 30 * time.Second, Aggression: 2, MinPercent: 5},
				ZoneAware: true, ZoneEndpoints: 2,
			},
			MaxConnections: 1, MaxPending: 2, MaxRequests: 3, MaxRetries: 4,
			Outlier: &config.Outlier{
				ConsecutiveGateway: 3, Interval: time.Second, BaseEjection: 2 * time.Second, MaxEjection: 4 * time.Second,
				MaxPercent: 100, AlwaysOne: true, SuccessRate: &config.SuccessRate{Endpoints: 2, Requests: 10, Factor: 1.5},
			},
			Check: &config.Check{
				Kind: config.CheckHTTP, Interval: 2 * time.Second, Jitter: 500 * time.Millisecond, Timeout: 300 * time.Millisecond,
				Unhealthy: 1, Healthy: 1, Path: "/ok", Host: "h", Expect: [2]int{200, 300},
			},
		},
		"less": {
			Name: "less", ConnectTimeout: time.Second, Connections: 1,
			Balancing: config.Balancing{Policy: config.Maglev, Hash: []config.HashKey{{Header: "x"}}, Panic: 50},
			Outlier:   &config.Outlier{Consecutive: 5, Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjection: 300 * time.Second, MaxPercent: 50},
			Check:     &config.Check{Kind: config.CheckBolt, Interval: 5 * time.Second, Jitter: time.Second, Timeout: time.Second, Unhealthy: 3, Healthy: 2},
		},
	}
	if diff := cmp.Diff(want, got.Clusters, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("clusters (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]config.HashKey{{Header: "user", Terminal: true}, {SourceIP: true}}, got.Hosts["*"].Routes[0].Hash); diff != "" {
		t.Errorf("hash of the route (-want +got):\n%s", diff)
	}
}

func TestSnapshotReportsEveryMistakeOfAGuard(t *testing.T) {
	b, err := Parse("f", []byte(`
static:
  clusters:
  - name: c
    endpoints: ["127.0.0.1:1"]
    traits:
    - {endpoint: "127.0.0.1:9"}
    - {endpoint: "127.0.0.1:1", weight: 65537}
    - {endpoint: "127.0.0.1:1"}
    balancing: {policy: lucky, choices: 17, hash: [{}], slowStart: {aggression: .nan, minWeightPercent: 101}, panicThreshold: 101}
    limits: {maxRetries: -1}
    outlier: {consecutive5xx: -1, interval: now, maxEjectionTime: 1s, maxEjectionPercent: 101, successRate: {minimumHosts: -1}}
    healthCheck: {kind: icmp, interval: 1ms, unhealthyThreshold: -1}
  - {name: h, endpoints: [], balancing: {policy: ringHash, tableSize: 32769}, healthCheck: {kind: http, path: "a b", host: "a b"}}
  - {name: m, endpoints: [], balancing: {policy: maglev, tableSize: 65536}}
`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Snapshot(b.Static)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`static.clusters[0].traits[0].endpoint: the cluster has no endpoint "127.0.0.1:9"`,
		`static.clusters[0].traits[2].endpoint: "127.0.0.1:1" has traits already`,
		`static.clusters[0].balancing.policy: "lucky" is none of [roundRobin leastRequest peakEWMA random ringHash maglev]`,
		`static.clusters[0].balancing.slowStart.window: it is missing`, `static.clusters[0].outlier.interval: time: invalid duration "now"`,
		`static.clusters[0].healthCheck.kind: "icmp" is none of tcp, http, bolt`,
		`cluster "c": the limit of retries -1 is negative`, `cluster "c": balancing: 17 choices are not between 2 and 16`,
		`cluster "c": balancing: hash key 0: it needs one of a header and the source IP`,
		`cluster "c": balancing: slow start: aggression NaN is not between 0 and 100`, `cluster "c": balancing: slow start: 101 % of the weight`,
		`cluster "c": balancing: a panic threshold of 101 %`, `cluster "c": endpoint 127.0.0.1:1: weight 65537 is more than 65536`,
		`cluster "c": outlier: a negative number of failures in a row`, `cluster "c": outlier: ejections from 30s to 1s make no sense`,
		`cluster "c": outlier: 101 % are not between 0 and 100`, `cluster "c": outlier: success rate: -1 endpoints with 100 requests, factor 1.9`,
		`cluster "c": health check: an interval of 1ms is shorter than 100ms`, `cluster "c": health check: thresholds -1 and 2 have to be positive`,
		`cluster "h": balancing: a ring of 32769 entries is not between 1 and 32768`, `cluster "h": health check: "a b" is no path`,
		`cluster "h": health check: "a b" is no host`, `cluster "m": balancing: 65536 entries of a Maglev table are no prime up to 65537`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not among the mistakes:\n%v", want, err)
		}
	}
}
