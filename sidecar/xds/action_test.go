package xds

import (
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/config"
)

func percent(n uint32) *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: n}}
}

func localLimit(enabled, enforced uint32) *limitv3.LocalRateLimit {
	return &limitv3.LocalRateLimit{
		StatPrefix: "l", FilterEnabled: percent(enabled), FilterEnforced: percent(enforced),
		TokenBucket: &typev3.TokenBucket{MaxTokens: 10, TokensPerFill: wrapperspb.UInt32(5), FillInterval: durationpb.New(time.Second)},
	}
}

func toAdd(key, value string, how corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: key, Value: value}, AppendAction: how}
}

// fullAction is a route that does everything.
func fullAction() *routev3.VirtualHost {
	h := virtualHost("", "shop.demo")
	r := h.Routes[0]
	r.Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/api"}
	r.Match.Headers = []*routev3.HeaderMatcher{
		{Name: "n", InvertMatch: true, HeaderMatchSpecifier: &routev3.HeaderMatcher_RangeMatch{RangeMatch: &typev3.Int64Range{Start: 1, End: 9}}},
		{Name: "gone", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{}},
		stringMatch("a", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "z"}}),
		stringMatch("b", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: "y"}}),
	}
	r.Match.QueryParameters = []*routev3.QueryParameterMatcher{{
		Name: "user", QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: exactly("ann")},
	}}
	a := r.GetRoute()
	weighted(a, config.Share{Cluster: "v1", Weight: 9}, config.Share{Cluster: "v2", Weight: 1})
	a.GetWeightedClusters().RandomValueSpecifier = &routev3.WeightedCluster_UseHashPolicy{UseHashPolicy: wrapperspb.Bool(true)}
	a.HashPolicy = []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
		Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: "user"},
	}}}
	a.PrefixRewrite = "/v2"
	a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: "inner"}
	a.RetryPolicy = &routev3.RetryPolicy{
		RetryOn: "5xx, retriable-status-codes,retriable-4xx", NumRetries: wrapperspb.UInt32(2), PerTryTimeout: durationpb.New(time.Second),
		RetriableStatusCodes: []uint32{429}, RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(time.Millisecond), MaxInterval: durationpb.New(time.Second),
		},
		RetriableRequestHeaders: []*routev3.HeaderMatcher{
			{Name: ":method", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}},
		},
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{Name: "envoy.retry_host_predicates.previous_hosts"}},
	}
	r.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{retryMetadata: {Fields: map[string]*structpb.Value{
		"budget_percent": structpb.NewNumberValue(20), "budget_min": structpb.NewNumberValue(5),
	}}}}
	r.RequestHeadersToAdd = []*corev3.HeaderValueOption{
		toAdd("x-add", "100%%", corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD), toAdd("x-set", "b", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD),
		toAdd("x-absent", "c", corev3.HeaderValueOption_ADD_IF_ABSENT),
	}
	r.RequestHeadersToRemove, r.ResponseHeadersToRemove = []string{"x-secret"}, []string{"server"}
	r.TypedPerFilterConfig = map[string]*anypb.Any{
		"envoy.filters.http.fault": pack(&faultv3.HTTPFault{
			Delay: &commonv3.FaultDelay{
				FaultDelaySecifier: &commonv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(time.Second)}, Percentage: &typev3.FractionalPercent{Numerator: 1},
			},
			Abort: &faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: 503}, Percentage: &typev3.FractionalPercent{
				Numerator: 5, Denominator: typev3.FractionalPercent_MILLION,
			}},
		}),
		"envoy.filters.http.local_ratelimit": pack(localLimit(100, 100)),
	}
	return h
}

func TestTranslateActions(t *testing.T) {
	route := func(f func(*routev3.Route, *routev3.RouteAction)) *routev3.Route {
		r := virtualHost("c", "a").Routes[0]
		f(r, r.GetRoute())
		return r
	}
	filter := func(m *anypb.Any) *routev3.Route {
		return route(func(r *routev3.Route, _ *routev3.RouteAction) { r.TypedPerFilterConfig = map[string]*anypb.Any{"f": m} })
	}
	redirect := func(d *routev3.RedirectAction) *routev3.Route {
		return route(func(r *routev3.Route, _ *routev3.RouteAction) { r.Action = &routev3.Route_Redirect{Redirect: d} })
	}
	add := func(key, value string) *routev3.Route {
		return route(func(r *routev3.Route, _ *routev3.RouteAction) {
			r.ResponseHeadersToAdd = []*corev3.HeaderValueOption{toAdd(key, value, 0)}
		})
	}
	path := func(set func(*routev3.RouteMatch)) *routev3.Route {
		return route(func(r *routev3.Route, a *routev3.RouteAction) { set(r.Match); a.PrefixRewrite = "/z" })
	}
	hedge := func(p *routev3.HedgePolicy, perTry time.Duration, metadata map[string]*structpb.Value) *routev3.Route {
		return route(func(r *routev3.Route, a *routev3.RouteAction) {
			a.HedgePolicy, a.RetryPolicy = p, &routev3.RetryPolicy{RetryOn: "reset", PerTryTimeout: durationpb.New(perTry)}
			if metadata != nil {
				r.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{retryMetadata: {Fields: metadata}}}
			}
		})
	}
	hedging := &config.Retry{On: config.RetryReset, PerTry: time.Second, Hedge: true}
	onPath := func(kind config.MatchKind, value string) []config.Match {
		return []config.Match{{Name: config.MatchPath, Kind: kind, Value: value}}
	}
	cases := map[string]struct {
		in   *routev3.Route
		want config.Route
		err  string
	}{
		"everything": {in: fullAction().Routes[0], want: config.Route{
			Matches: []config.Match{
				{Name: config.MatchPath, Kind: config.MatchPrefix, Value: "/api"}, {Name: "n", Kind: config.MatchRange, From: 1, To: 9, Invert: true},
				{Name: "gone", Invert: true}, {Name: "a", Kind: config.MatchSuffix, Value: "z"}, {Name: "b", Kind: config.MatchContains, Value: "y"},
				{Name: "?user", Kind: config.MatchExact, Value: "ann"},
			},
			Split: []config.Share{{Cluster: "v1", Weight: 9}, {Cluster: "v2", Weight: 1}}, Sticky: "user", Attempts: 3,
			Retry: &config.Retry{
				On: config.RetryServerError | config.RetryReset | config.RetryConnect, Statuses: []int{409, 429}, AnyMethod: true, PerTry: time.Second,
				Backoff: time.Millisecond, MaxBackoff: time.Second, BudgetPercent: 20, BudgetMin: 5,
			},
			Fault: &config.Fault{
				Delayed: config.Fraction{Numerator: 1, Denominator: 100}, Delay: time.Second,
				Aborted: config.Fraction{Numerator: 5, Denominator: 1_000_000}, Status: 503,
			},
			Limit: config.Limit{Burst: 10, Tokens: 5, Every: time.Second},
			Edit: &config.Edit{
				Request: []change.Field{
					{Op: change.Remove, Name: "x-secret"}, {Op: change.Add, Name: "x-add", Value: "100%"},
					{Op: change.Set, Name: "x-set", Value: "b"}, {Op: change.Absent, Name: "x-absent", Value: "c"},
				},
				Response: []change.Field{{Op: change.Remove, Name: "server"}}, Host: "inner", Prefix: "/api", With: "/v2",
			},
		}},
		"a redirect": {
			in: redirect(&routev3.RedirectAction{
				SchemeRewriteSpecifier: &routev3.RedirectAction_HttpsRedirect{HttpsRedirect: true}, HostRedirect: "h", PortRedirect: 8443,
				PathRewriteSpecifier: &routev3.RedirectAction_PathRedirect{PathRedirect: "/p"}, StripQuery: true,
				ResponseCode: routev3.RedirectAction_PERMANENT_REDIRECT,
			}),
			want: config.Route{Redirect: &config.Redirect{Scheme: "https", Host: "h", Port: 8443, With: "/p", DropQuery: true, Status: 308}},
		},
		"a whole path": {
			in:   path(func(m *routev3.RouteMatch) { m.PathSpecifier = &routev3.RouteMatch_Path{Path: "/a"} }),
			want: config.Route{Cluster: "c", Matches: onPath(config.MatchExact, "/a"), Edit: &config.Edit{With: "/z"}},
		},
		"a part of a path": {
			in: path(func(m *routev3.RouteMatch) {
				m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/a.b"}
			}),
			want: config.Route{Cluster: "c", Matches: onPath(config.MatchSegments, "/a.b"), Edit: &config.Edit{Prefix: "/a.b", With: "/z"}},
		},
		"another whole path": {
			in: route(func(_ *routev3.Route, a *routev3.RouteAction) {
				a.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: "^/.*$"}, Substitution: "/z"}
			}),
			want: config.Route{Cluster: "c", Edit: &config.Edit{With: "/z"}},
		},
		"a limit that is off":       {in: filter(pack(localLimit(0, 100))), want: config.Route{Cluster: "c"}},
		"a limit that only watches": {in: filter(pack(localLimit(100, 0))), want: config.Route{Cluster: "c"}},

		"a limit of some":        {in: filter(pack(localLimit(50, 100))), err: "typed_per_filter_config[f]: filter_enabled: a part of the requests"},
		"another filter":         {in: filter(pack(&faultv3.FaultAbort{})), err: "use HTTPFault or LocalRateLimit"},
		"a fault that is none":   {in: filter(pack(&faultv3.HTTPFault{})), err: "fault: it needs a delay or an abort"},
		"a status that is none":  {in: filter(pack(&faultv3.HTTPFault{Abort: &faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: 99}}})), err: "fault: abort: status 99"},
		"a header that frames":   {in: add("Content-Length", "1"), err: `header "Content-Length" belongs to the connection or frames the message`},
		"the host as a header":   {in: add("Host", "a"), err: `header "Host" is not changed so: set the edit's host`},
		"two lines in a header":  {in: add("x", "a\r\nb"), err: "control characters"},
		"a command operator":     {in: add("x", "%START_TIME%"), err: `response_headers_to_add[0]: header.value: "%START_TIME%" has a command operator`},
		"a redirect to itself":   {in: redirect(&routev3.RedirectAction{}), err: "redirect: it leads back"},
		"a rewrite with a query": {in: route(func(_ *routev3.Route, a *routev3.RouteAction) { a.PrefixRewrite = "/a?b" }), err: `edit: path "/a?b"`},
		"another substitution": {in: route(func(_ *routev3.Route, a *routev3.RouteAction) {
			a.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: "a"}}
		}), err: "route.regex_rewrite: pattern: only ^/.*$"},
		"a hash for endpoints": {in: route(func(_ *routev3.Route, a *routev3.RouteAction) {
			a.HashPolicy = fullAction().Routes[0].GetRoute().HashPolicy
		}), want: config.Route{Cluster: "c", Hash: []config.HashKey{{Header: "user"}}}},
		"a hedge": {in: hedge(&routev3.HedgePolicy{
			HedgeOnPerTryTimeout: true, InitialRequests: wrapperspb.UInt32(1), AdditionalRequestChance: &typev3.FractionalPercent{},
		}, time.Second, nil), want: config.Route{Cluster: "c", Attempts: 2, Retry: hedging}},
		"a hedge that an earlier version passes over": {
			in:   hedge(nil, time.Second, map[string]*structpb.Value{"hedge": structpb.NewBoolValue(true)}),
			want: config.Route{Cluster: "c", Attempts: 2, Retry: hedging},
		},
		"no hedge": {
			in:   hedge(&routev3.HedgePolicy{}, 0, nil),
			want: config.Route{Cluster: "c", Attempts: 2, Retry: &config.Retry{On: config.RetryReset}},
		},
		"a hedge of no time": {
			in:  hedge(&routev3.HedgePolicy{HedgeOnPerTryTimeout: true}, 0, nil),
			err: "hedge_policy.hedge_on_per_try_timeout: it needs a retry_policy with per_try_timeout",
		},
		"a hedge without a retry": {in: route(func(_ *routev3.Route, a *routev3.RouteAction) {
			a.HedgePolicy = &routev3.HedgePolicy{HedgeOnPerTryTimeout: true}
		}), err: "hedge_on_per_try_timeout: it needs a retry_policy"},
		"two requests at once": {
			in:  hedge(&routev3.HedgePolicy{InitialRequests: wrapperspb.UInt32(2)}, time.Second, nil),
			err: "hedge_policy.initial_requests: 2 is unsupported: leave it out, or send 1",
		},
		"more requests by chance": {
			in:  hedge(&routev3.HedgePolicy{AdditionalRequestChance: &typev3.FractionalPercent{Numerator: 1}}, time.Second, nil),
			err: "hedge_policy.additional_request_chance: unsupported: leave it out, or send 0",
		},
		"a retry by header": {in: route(func(_ *routev3.Route, a *routev3.RouteAction) {
			a.RetryPolicy = &routev3.RetryPolicy{RetryOn: "5xx", RetriableRequestHeaders: []*routev3.HeaderMatcher{stringMatch("a", exactly("b"))}}
		}), err: "retry_policy.retriable_request_headers[0]: only :method, present"},
		"a retry on nothing": {in: route(func(_ *routev3.Route, a *routev3.RouteAction) {
			a.RetryPolicy = &routev3.RetryPolicy{RetryOn: "retriable-status-codes"}
		}), err: "retry: it has nothing to retry on"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := translateRoute(tc.in)
			said(t, err, tc.err)
			if diff := cmp.Diff(tc.want, got); err == nil && diff != "" {
				t.Errorf("route (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTranslateListenerLimit(t *testing.T) {
	hcm := routed()
	hcm.HttpFilters = []*hcmv3.HttpFilter{
		{Name: "other", IsOptional: true, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&faultv3.HTTPFault{})}},
		{Name: "limit", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(localLimit(100, 100))}},
	}
	got, err := translateListener(listener("l", "::", 1, corev3.TrafficDirection_OUTBOUND, FilterHTTP1, hcm))
	if want := (config.Limit{Burst: 10, Tokens: 5, Every: time.Second}); err != nil || got.Limit != want {
		t.Errorf("limit %+v, %v; want %+v", got.Limit, err, want)
	}
}

// TestHTTPFilters are taken, passed over, or refused by name.
func TestHTTPFilters(t *testing.T) {
	filter := func(name string, m proto.Message, change func(*hcmv3.HttpFilter)) *hcmv3.HttpFilter {
		f := &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(m)}}
		if change != nil {
			change(f)
		}
		return f
	}
	disabled := func(f *hcmv3.HttpFilter) { f.Disabled = true }
	optional := func(f *hcmv3.HttpFilter) { f.IsOptional = true }
	faulty := &faultv3.HTTPFault{Abort: &faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: 503}}}
	for name, tc := range map[string]struct {
		f     *hcmv3.HttpFilter
		limit bool
		err   string
	}{
		"a limit":                         {f: filter("limit", localLimit(100, 100), nil), limit: true},
		"a limit that is disabled":        {f: filter("limit", localLimit(100, 100), disabled)},
		"faults of routes":                {f: filter("envoy.filters.http.fault", &faultv3.HTTPFault{}, nil)},
		"faults of the listener":          {f: filter("envoy.filters.http.fault", faulty, nil), err: "http_filters[0]: faults of a listener are unsupported, send those of routes: abort: unsupported"},
		"those of an optional filter":     {f: filter("envoy.filters.http.fault", faulty, optional)},
		"the router":                      {f: filter("last", &routerv3.Router{}, nil)},
		"another":                         {f: filter("istio.stats", &corev3.Metadata{}, nil), err: `"istio.stats" is unsupported`},
		"another that may be missing":     {f: filter("istio.stats", &corev3.Metadata{}, optional)},
		"another that is disabled":        {f: filter("istio.stats", &corev3.Metadata{}, disabled)},
		"another that is sent separately": {f: &hcmv3.HttpFilter{Name: "wasm", ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{}}, err: `"wasm" is unsupported`},
	} {
		t.Run(name, func(t *testing.T) {
			var got config.Listener
			said(t, translateHTTPFilters([]*hcmv3.HttpFilter{tc.f}, &got), tc.err)
			if limited := got.Limit != (config.Limit{}); limited != tc.limit {
				t.Errorf("limit %+v", got.Limit)
			}
		})
	}
}
