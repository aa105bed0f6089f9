package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/xds"
	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/route"
)

// got is an HTTP request: its path, and its headers and parameters ("?name=value").
type got struct {
	path string
	asked
}

func (g got) Path() ([]byte, bool) { return []byte(g.path), true }

// TestTheWebSampleReachesTheRequest asks a sidecar that has the sample what becomes of requests, by who calls.
func TestTheWebSampleReachesTheRequest(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("config", "samples", "trafficrule_web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	sample := &axlev1.TrafficRule{}
	if err := yaml.UnmarshalStrict(data, sample); err != nil {
		t.Fatal(err)
	}
	raw, err := yaml.Marshal(sample.Spec.Rules)
	if err != nil {
		t.Fatal(err)
	}
	hosts, subsets := made(t, "\n"+strings.ReplaceAll(string(raw), "name: shop", "name: pay"))
	beta := asked{"uid=1500", "?beta=1"}
	cases := map[string]struct {
		caller   string // its label app
		req      got
		name     string // of the route
		clusters int
		status   int
	}{
		"beta":                          {req: got{"/shop/cart", beta}, name: "beta", clusters: 2},
		"without the parameter":         {req: got{"/shop/cart", beta[:1]}, name: "default", clusters: 1},
		"below the range":               {req: got{"/shop", asked{"uid=999", "?beta=1"}}, name: "default", clusters: 1},
		"at its end":                    {req: got{"/shop", asked{"uid=2000", "?beta=1"}}, name: "default", clusters: 1},
		"no number":                     {req: got{"/shop", asked{"uid=1e3", "?beta=1"}}, name: "default", clusters: 1},
		"who does not want it":          {req: got{"/shop", append(asked{"x-no-beta="}, beta...)}, name: "default", clusters: 1},
		"a path that only begins so":    {req: got{"/shopping", beta}, name: "default", clusters: 1},
		"a path that has moved":         {req: got{"/old/cart", nil}, name: "moved"},
		"the batch":                     {caller: "batch", req: got{"/", nil}, name: "batch", clusters: 1},
		"where it may not go":           {caller: "batch", req: got{"/admin/users", nil}, name: "not-for-batch", status: 403},
		"however long its path is":      {caller: "batch", req: got{"/admin/" + strings.Repeat("a", 2*config.MaxRegexValue), nil}, name: "not-for-batch", status: 403},
		"where others may":              {caller: "till", req: got{"/admin/users", nil}, name: "default", clusters: 1},
		"and those that nobody knows":   {req: got{"/admin", nil}, name: "default", clusters: 1},
		"the more specific match wins":  {caller: "batch", req: got{"/shop", beta}, name: "beta", clusters: 2},
		"a path for all, for the batch": {caller: "batch", req: got{"/old", nil}, name: "moved"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			labels := map[string]string{"pod-template-hash": "x"}
			if tc.caller != "" {
				labels["app"] = tc.caller
			}
			r := route.Compile(takenBy(t, labels, subsets, hosts).Hosts).Match([]byte("pay.payments"), []byte("GET"), tc.req)
			if r == nil || !strings.HasSuffix("/"+r.Name, "/"+tc.name) || len(r.Clusters) != tc.clusters || r.Status != tc.status {
				t.Fatalf("route %+v", r)
			}
			checkWebRoute(t, r)
		})
	}
}

// checkWebRoute looks at what the routes of the sample do.
func checkWebRoute(t *testing.T, r *route.Route) {
	t.Helper()
	want := &route.Route{}
	switch r.Name[strings.LastIndexByte(r.Name, '/')+1:] {
	case "beta":
		want.Sticky = "uid"
		want.Edit = &config.Edit{
			Request:  []change.Field{{Op: change.Remove, Name: "x-debug"}, {Name: "x-audience", Value: "beta"}},
			Response: []change.Field{{Op: change.Add, Name: "x-served-by", Value: "beta"}},
			Host:     "beta.shop.example", Prefix: "/shop", With: "/",
		}
	case "moved":
		want.Redirect = &config.Redirect{Prefix: "/old", With: "/shop", Status: 301}
	case "batch":
		want.Limit, want.Timeout = config.Limit{Burst: 100, Tokens: 50, Every: time.Second}, 2*time.Second
		want.Retry = &config.Retry{
			On: config.RetryGateway | config.RetryReset | config.RetryConnect, PerTry: 500 * time.Millisecond, Hedge: true, BudgetPercent: 10,
		}
	}
	same := cmpopts.IgnoreFields(route.Route{}, "Index", "Key", "Host", "Name", "Clusters", "Status", "Attempts")
	if diff := cmp.Diff(want, r, same, cmpopts.IgnoreUnexported(route.Route{})); diff != "" {
		t.Errorf("what the route does (-want +got):\n%s", diff)
	}
}

// TestEditsReachTheRequest has what the sample does not.
func TestEditsReachTheRequest(t *testing.T) {
	cases := map[string]struct {
		rule     string
		edit     *config.Edit
		redirect *config.Redirect
		status   int
		limit    config.Limit
	}{
		"a percent sign": {
			rule: "{requestHeaders: {add: [{name: X-A, value: '100%'}]}}",
			edit: &config.Edit{Request: []change.Field{{Op: change.Add, Name: "X-A", Value: "100%"}}},
		},
		"the whole path":     {rule: "{rewrite: {path: {type: ReplaceFullPath, replaceFullPath: /a}}}", edit: &config.Edit{With: "/a"}},
		"a prefix that is /": {rule: "{matches: [{path: {value: /}}], rewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2}}}", edit: &config.Edit{Prefix: "/", With: "/v2/"}},
		"the longest for it": {
			rule: "{matches: [{path: {value: /}}], rewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /" + strings.Repeat("a", 1023) + "}}}",
			edit: &config.Edit{Prefix: "/", With: "/" + strings.Repeat("a", 1023) + "/"},
		},
		"a redirect of the whole path": {
			rule: "{redirect: {path: {type: ReplaceFullPath, replaceFullPath: /a}}}", redirect: &config.Redirect{With: "/a", Status: 302},
		},
		"a redirect of / elsewhere": {
			rule:     "{matches: [{path: {value: /}}], redirect: {scheme: https, hostname: a.example, port: 8443, path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2}, statusCode: 308}}",
			redirect: &config.Redirect{Scheme: "https", Host: "a.example", Port: 8443, Prefix: "/", With: "/v2/", Status: 308},
		},
		"an answer":          {rule: "{respond: {status: 451}, limit: {requests: 1, interval: 1m}}", status: 451, limit: config.Limit{Burst: 1, Tokens: 1, Every: time.Minute}},
		"the greatest limit": {rule: "{limit: {requests: 1000000, interval: 1ms, burst: 1000000}}", limit: config.Limit{Burst: 1_000_000, Tokens: 1_000_000, Every: time.Millisecond}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			hosts, _ := made(t, "["+tc.rule+"]")
			r := route.Compile(taken(t, hosts).Hosts).Match([]byte("pay.payments"), []byte("GET"), got{"/", nil})
			want := &route.Route{Edit: tc.edit, Redirect: tc.redirect, Status: tc.status, Limit: tc.limit}
			same := cmpopts.IgnoreFields(route.Route{}, "Index", "Key", "Host", "Name", "Clusters", "Attempts")
			if diff := cmp.Diff(want, r, same, cmpopts.IgnoreUnexported(route.Route{})); diff != "" {
				t.Errorf("route (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUpstreamsReachTheCluster: what a rule says of the endpoints of a Service is what a sidecar does, for subsets too.
func TestUpstreamsReachTheCluster(t *testing.T) {
	plain := config.Cluster{ConnectTimeout: time.Second, Connections: 1, Balancing: config.Balancing{Panic: 50}}
	with := func(change func(c *config.Cluster)) config.Cluster {
		c := plain
		change(&c)
		return c
	}
	outlier := config.Outlier{Consecutive: 5, Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjection: 5 * time.Minute, MaxPercent: 50}
	check := config.Check{Interval: 5 * time.Second, Jitter: time.Second, Timeout: time.Second, Unhealthy: 3, Healthy: 2}
	cases := map[string]struct {
		upstream string
		rpc, web config.Cluster
	}{
		"a time to connect": {upstream: "{connectTimeout: 300ms}", rpc: with(func(c *config.Cluster) { c.ConnectTimeout = 300 * time.Millisecond })},
		"in turn, slowly": {upstream: "{balancing: {slowStart: {window: 1m, from: 20%}, panicThreshold: 0%}}", rpc: with(func(c *config.Cluster) {
			c.Balancing = config.Balancing{SlowStart: config.SlowStart{Window: time.Minute, MinPercent: 20}}
		})},
		"least request": {upstream: "{balancing: {policy: LeastRequest}}", rpc: with(func(c *config.Cluster) { c.Balancing.Policy = config.LeastRequest })},
		"of some, slowly": {upstream: "{balancing: {policy: LeastRequest, choices: 4, slowStart: {window: 1m}}}", rpc: with(func(c *config.Cluster) {
			c.Balancing.Policy, c.Balancing.Choices, c.Balancing.SlowStart = config.LeastRequest, 4, config.SlowStart{Window: time.Minute, MinPercent: 10}
		})},
		"peak EWMA": {upstream: "{balancing: {policy: PeakEWMA}}", rpc: with(func(c *config.Cluster) { c.Balancing.Policy = config.PeakEWMA })},
		"random":    {upstream: "{balancing: {policy: Random, panicThreshold: 70}}", rpc: with(func(c *config.Cluster) { c.Balancing.Policy, c.Balancing.Panic = config.Random, 70 })},
		"a ring, of headers that only HTTP takes in any case": {
			upstream: "{balancing: {policy: RingHash, hashHeaders: [Uid, tenant]}}",
			rpc: with(func(c *config.Cluster) {
				c.Balancing = config.Balancing{Policy: config.RingHash, TableSize: config.DefaultRing, Panic: 50, Hash: []config.HashKey{{Header: "Uid"}, {Header: "tenant"}}}
			}),
			web: with(func(c *config.Cluster) {
				c.Balancing = config.Balancing{Policy: config.RingHash, TableSize: config.DefaultRing, Panic: 50, Hash: []config.HashKey{{Header: "uid"}, {Header: "tenant"}}}
			}),
		},
		"Maglev": {upstream: "{balancing: {policy: Maglev, hashHeaders: [uid]}}", rpc: with(func(c *config.Cluster) {
			c.Balancing.Policy, c.Balancing.Hash = config.Maglev, []config.HashKey{{Header: "uid"}}
		})},
		"outliers by their defaults": {upstream: "{outlierDetection: {}}", rpc: with(func(c *config.Cluster) { c.Outlier = &outlier })},
		"outliers": {
			upstream: "{outlierDetection: {consecutiveErrors: 0, consecutiveGatewayErrors: 3, interval: 1s, baseEjectionTime: 2s, maxEjectionTime: 4s, maxEjected: 10%, successRate: {endpoints: 3, requests: 10, stdevFactor: '1.5'}}}",
			rpc: with(func(c *config.Cluster) {
				c.Outlier = &config.Outlier{
					ConsecutiveGateway: 3, Interval: time.Second, BaseEjection: 2 * time.Second, MaxEjection: 4 * time.Second, MaxPercent: 10,
					SuccessRate: &config.SuccessRate{Endpoints: 3, Requests: 10, Factor: 1.5},
				}
			}),
		},
		"one breaker": {upstream: "{circuitBreakers: {maxRequests: 7}}", rpc: with(func(c *config.Cluster) { c.MaxRequests = 7 })},
		"all breakers": {upstream: "{circuitBreakers: {maxConnections: 1, maxPendingRequests: 2, maxRequests: 3, maxRetries: 4}}", rpc: with(func(c *config.Cluster) {
			c.MaxConnections, c.MaxPending, c.MaxRequests, c.MaxRetries = 1, 2, 3, 4
		})},
		"checks in the port's own words": {
			upstream: "{healthCheck: {http: {path: /healthz}}}",
			rpc:      with(func(c *config.Cluster) { c.Check = new(check); c.Check.Kind = config.CheckBolt }),
			web: with(func(c *config.Cluster) {
				c.Check = new(check)
				c.Check.Kind, c.Check.Path, c.Check.Host, c.Check.Expect = config.CheckHTTP, "/healthz", "pay.payments", [2]int{200, 300}
			}),
		},
		"or only whether they are there": {
			upstream: "{healthCheck: {interval: 2s, timeout: 50ms, unhealthyThreshold: 1, healthyThreshold: 1}}",
			rpc: with(func(c *config.Cluster) {
				c.Check = &config.Check{Kind: config.CheckBolt, Interval: 2 * time.Second, Jitter: 400 * time.Millisecond, Timeout: 50 * time.Millisecond, Unhealthy: 1, Healthy: 1}
			}),
			web: with(func(c *config.Cluster) {
				c.Check = &config.Check{Interval: 2 * time.Second, Jitter: 400 * time.Millisecond, Timeout: 50 * time.Millisecond, Unhealthy: 1, Healthy: 1}
			}),
		},
	}
	same := cmp.Options{cmpopts.IgnoreFields(config.Cluster{}, "Name", "Endpoints", "Traits"), cmpopts.EquateComparable(netip.AddrPort{})}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			hosts, subsets := made(t, "[{backendRefs: [{name: pay, subset: {version: v2}}]}]\nupstream: "+tc.upstream)
			if tc.web.Connections == 0 {
				tc.web = tc.rpc
			}
			snapshot := taken(t, subsets, hosts)
			for port, want := range map[int32]config.Cluster{12200: tc.rpc, 80: tc.web} {
				for _, subset := range []string{"", "/version=v2"} {
					c := snapshot.Clusters[xds.ClusterName("payments", "pay", port)+subset]
					if c == nil {
						t.Fatalf("no cluster of port %d%s", port, subset)
					}
					if diff := cmp.Diff(want, *c, same); diff != "" {
						t.Errorf("cluster of port %d%s (-want +got):\n%s", port, subset, diff)
					}
				}
			}
		})
	}
}
