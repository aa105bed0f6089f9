package xds

import (
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/axlemesh/axle/sidecar/config"
)

func stringMatch(name string, how *matcherv3.StringMatcher) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: how}}
}

func exactly(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

func matching(regex string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: regex}}}
}

// weighted makes a's cluster a split.
func weighted(a *routev3.RouteAction, shares ...config.Share) {
	w := &routev3.WeightedCluster{}
	for _, s := range shares {
		w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: s.Cluster, Weight: wrapperspb.UInt32(s.Weight)})
	}
	a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
}

func mirrored(cluster string, n uint32, of typev3.FractionalPercent_DenominatorType) *routev3.RouteAction_RequestMirrorPolicy {
	return &routev3.RouteAction_RequestMirrorPolicy{Cluster: cluster, RuntimeFraction: &corev3.RuntimeFractionalPercent{
		DefaultValue: &typev3.FractionalPercent{Numerator: n, Denominator: of},
	}}
}

// fullRule is everything that a TrafficRule can become.
func fullRule() *routev3.VirtualHost {
	h := virtualHost("", "com.x.Pay:1.0")
	r := h.Routes[0]
	r.Match.Headers = []*routev3.HeaderMatcher{
		stringMatch(":method", exactly("pay")),
		stringMatch("user", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "a"}}),
		stringMatch("zone", matching("eu-[0-9]+")),
		{Name: "trace", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}},
	}
	a := r.GetRoute()
	weighted(a, config.Share{Cluster: "v1", Weight: 999}, config.Share{Cluster: "v2", Weight: 1})
	a.Timeout = durationpb.New(time.Second)
	a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{mirrored("v3", 5, typev3.FractionalPercent_TEN_THOUSAND)}
	a.RetryPolicy = &routev3.RetryPolicy{RetryOn: "connect-failure", NumRetries: wrapperspb.UInt32(0)}
	return h
}

func TestTranslateHost(t *testing.T) {
	change := func(f func(*routev3.VirtualHost)) *routev3.VirtualHost {
		h := virtualHost("c", "com.x.Pay:1.0", "pay.shop")
		f(h)
		return h
	}
	route := func(f func(*routev3.Route)) *routev3.VirtualHost {
		return change(func(h *routev3.VirtualHost) { f(h.Routes[0]) })
	}
	action := func(f func(*routev3.RouteAction)) *routev3.VirtualHost {
		return route(func(r *routev3.Route) { f(r.GetRoute()) })
	}
	header := func(h *routev3.HeaderMatcher) *routev3.VirtualHost {
		return route(func(r *routev3.Route) { r.Match.Headers = []*routev3.HeaderMatcher{stringMatch("a", exactly("b")), h} })
	}
	domains := []string{"com.x.Pay:1.0", "pay.shop"}
	one := func(r config.Route) host { return host{domains: domains, routes: []config.Route{r}} }
	cases := map[string]struct {
		in   *routev3.VirtualHost
		want host
		err  string
	}{
		"one route with a timeout": {
			in:   route(func(r *routev3.Route) { r.Name = "r"; r.GetRoute().Timeout = durationpb.New(time.Second) }),
			want: one(config.Route{Name: "r", Cluster: "c", Timeout: time.Second}),
		},
		"a whole rule": {in: fullRule(), want: host{domains: domains[:1], routes: []config.Route{{
			Matches: []config.Match{
				{Name: ":method", Kind: config.MatchExact, Value: "pay"}, {Name: "user", Kind: config.MatchPrefix, Value: "a"},
				{Name: "zone", Kind: config.MatchRegex, Value: "eu-[0-9]+"}, {Name: "trace"},
			},
			Split:   []config.Share{{Cluster: "v1", Weight: 999}, {Cluster: "v2", Weight: 1}},
			Mirror:  &config.Mirror{Cluster: "v3", Numerator: 5, Denominator: 10_000},
			Timeout: time.Second, Attempts: 1,
		}}}},
		"a direct response": {in: route(func(r *routev3.Route) {
			r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 503}}
		}), want: one(config.Route{Status: 503})},
		"a mirror of all": {in: action(func(a *routev3.RouteAction) {
			a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "m"}}
		}), want: one(config.Route{Cluster: "c", Mirror: &config.Mirror{Cluster: "m", Numerator: 1, Denominator: 1}})},
		"a mirror of more than all": {in: action(func(a *routev3.RouteAction) {
			a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{mirrored("m", 200, typev3.FractionalPercent_HUNDRED)}
		}), want: one(config.Route{Cluster: "c", Mirror: &config.Mirror{Cluster: "m", Numerator: 100, Denominator: 100}})},
		"many retries are as many as there are": {in: action(func(a *routev3.RouteAction) {
			a.RetryPolicy = &routev3.RetryPolicy{RetryOn: "connect-failure", NumRetries: wrapperspb.UInt32(1 << 31)}
		}), want: one(config.Route{Cluster: "c", Attempts: config.MaxAttempts})},

		"what has no effect": {in: change(func(h *routev3.VirtualHost) {
			h.IncludeRequestAttemptCount = true
		}), want: one(config.Route{Cluster: "c"})},
		"hedging of all routes": {in: change(func(h *routev3.VirtualHost) { h.HedgePolicy = &routev3.HedgePolicy{HedgeOnPerTryTimeout: true} }), err: "hedge_policy: unsupported"},
		"retries of all routes": {in: change(func(h *routev3.VirtualHost) { h.RetryPolicy = &routev3.RetryPolicy{RetryOn: "5xx"} }), err: "retry_policy: unsupported"},
		"headers of all routes": {in: change(func(h *routev3.VirtualHost) { h.RequestHeadersToRemove = []string{"x"} }), err: "request_headers_to_remove: unsupported"},

		"no domains":             {in: &routev3.VirtualHost{}, err: "domains: 0 service keys"},
		"an empty domain":        {in: change(func(h *routev3.VirtualHost) { h.Domains[1] = "" }), err: "domains: one is empty"},
		"no routes":              {in: change(func(h *routev3.VirtualHost) { h.Routes = nil }), err: "routes: send 1 to 1000, not 0"},
		"no action":              {in: route(func(r *routev3.Route) { r.Action = nil }), err: "action: send route, direct_response or redirect"},
		"no cluster":             {in: virtualHost("", "a"), err: "route.cluster: name one cluster"},
		"a bad timeout":          {in: action(func(a *routev3.RouteAction) { a.Timeout = durationpb.New(-time.Second) }), err: "route.timeout: -1s is negative"},
		"a header without a way": {in: header(&routev3.HeaderMatcher{Name: "x"}), err: "headers[1]: header_match_specifier: send string_match, range_match or present_match"},
		"a header without name":  {in: header(stringMatch("", exactly("x"))), err: "headers[1]: it names no header"},
		"an unknown pseudo name": {in: header(stringMatch(":authority", exactly("x"))), err: `headers[1]: name ":authority" is none of`},
		"without case":           {in: header(stringMatch("x", &matcherv3.StringMatcher{MatchPattern: exactly("x").MatchPattern, IgnoreCase: true})), err: "string_match: ignore_case: unsupported"},
		"an expression":          {in: header(stringMatch("x", matching("("))), err: `headers[1]: regex "(": error parsing regexp`},
		"too much to compute":    {in: header(stringMatch("x", matching("(a{30}){30}"))), err: "instructions, more than 500"},
		"no shares":              {in: action(func(a *routev3.RouteAction) { weighted(a) }), err: "weighted_clusters.clusters: send 1 to 100, not 0"},
		"no weight":              {in: action(func(a *routev3.RouteAction) { weighted(a, config.Share{Cluster: "a"}) }), err: "clusters: the weights add up to 0"},
		"too much weight": {in: action(func(a *routev3.RouteAction) {
			weighted(a, config.Share{Cluster: "a", Weight: 1 << 31}, config.Share{Cluster: "b", Weight: 1 << 31})
		}), err: "the weights add up to 4294967296"},
		"a share without name": {in: action(func(a *routev3.RouteAction) { weighted(a, config.Share{Weight: 1}) }), err: "weighted_clusters.clusters[0]: name: name one cluster"},
		"two mirrors": {in: action(func(a *routev3.RouteAction) {
			a.RequestMirrorPolicies = make([]*routev3.RouteAction_RequestMirrorPolicy, 2)
		}), err: "request_mirror_policies: send at most 1, not 2"},
		"a mirror of nothing": {in: action(func(a *routev3.RouteAction) {
			a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{}}
		}), err: "request_mirror_policies: cluster: name one cluster"},
		"another retry": {in: action(func(a *routev3.RouteAction) {
			a.RetryPolicy = &routev3.RetryPolicy{RetryOn: "connect-failure,unavailable"}
		}),
			err: `retry_policy.retry_on: "unavailable" is unsupported: use connect-failure`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := translateHost(tc.in)
			said(t, err, tc.err)
			if diff := cmp.Diff(tc.want, got, equal); err == nil && diff != "" {
				t.Errorf("host (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEveryClusterOfARuleIsThere has a snapshot of a rule alone: what it refers to and was not sent is empty, and valid.
func TestEveryClusterOfARuleIsThere(t *testing.T) {
	s := NewStore()
	h := fullRule()
	if _, err := s.Update(TypeHost, []*discoveryv3.Resource{{Name: h.Name, Resource: pack(h)}}, nil); err != nil {
		t.Fatal(err)
	}
	snap, err := s.Snapshot()
	if err != nil || snap.Validate() != nil {
		t.Fatalf("snapshot: %v, %v", err, snap.Validate())
	}
	for _, name := range []string{"v1", "v2", "v3"} {
		if snap.Clusters[name] == nil {
			t.Errorf("cluster %q is missing", name)
		}
	}
}

// FuzzTranslateHost: what is accepted can be served.
func FuzzTranslateHost(f *testing.F) {
	for _, h := range []*routev3.VirtualHost{fullRule(), virtualHost("c", "a"), fullAction(), sourced(virtualHost("c", "a"), "b", label("app", "x"))} {
		b, err := proto.Marshal(h)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h := &routev3.VirtualHost{}
		if proto.Unmarshal(b, h) != nil || h.GetName() == "" {
			return
		}
		s := NewStore()
		if _, err := s.Update(TypeHost, []*discoveryv3.Resource{{Name: h.Name, Resource: pack(h)}}, nil); err != nil {
			return
		}
		snap, err := s.Snapshot()
		if err == nil {
			err = snap.Validate()
		}
		if err != nil {
			t.Errorf("an accepted rule cannot be served: %v", err)
		}
	})
}
