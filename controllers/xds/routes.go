package xds

import (
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/apimachinery/pkg/types"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// methodHeader stands for the protocol's method in a route's matchers.
const methodHeader = ":method"

// unavailable is the status of a request whose rule has nowhere to send it.
const unavailable = 503

// compiler collects what is said about rules while routes are made.
type compiler struct {
	*Scene
	reports  []Report
	problems map[place][]problem
	subsets  map[Subset]bool
}

// place is a rule for one of its parents.
type place struct {
	rule   types.NamespacedName
	parent int
}

// host makes the virtual host of a table: the rules' routes by precedence, then the default.
func (c *compiler) host(t *table) *routev3.VirtualHost {
	h := virtualHost(t.key, ClusterName(c.Service.Namespace, c.Service.Name, t.port.Port))
	fallback := h.Routes
	h.Routes = nil
	slices.SortStableFunc(t.all, precedence)
	for _, cand := range t.all {
		h.Routes = append(h.Routes, c.route(cand, t))
	}
	h.Routes = append(h.Routes, fallback...)
	return h
}

func (c *compiler) route(cand candidate, t *table) *routev3.Route {
	rule := &cand.rule.Spec.Rules[cand.at]
	r := &routev3.Route{
		Name:  fmt.Sprintf("%s/%s/%d", cand.rule.Namespace, cand.rule.Name, cand.at),
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, Headers: matchers(cand.match)},
	}
	if rule.Name != "" {
		r.Name += "/" + rule.Name
	}
	action := &routev3.RouteAction{RequestMirrorPolicies: c.mirror(cand.rule, rule, t), RetryPolicy: retryPolicy(rule.Retry)}
	r.Metadata, r.TypedPerFilterConfig = retryBudget(rule.Retry), filters(rule.Fault)
	if rule.Timeout != nil {
		action.Timeout = durationpb.New(rule.Timeout.Duration)
	}
	if !c.backends(cand.rule, rule, t, action) {
		r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: unavailable}}
		return r
	}
	r.Action = &routev3.Route_Route{Route: action}
	return r
}

// backends sets where the requests of a rule go; ok is false when there is nowhere.
func (c *compiler) backends(rule *axlev1.TrafficRule, r *axlev1.Rule, t *table, to *routev3.RouteAction) (ok bool) {
	refs := r.BackendRefs
	if len(refs) == 0 {
		refs = []axlev1.BackendRef{{BackendTarget: axlev1.BackendTarget{Name: c.Service.Name, Port: t.port.Port}}}
	}
	var weighted []*routev3.WeightedCluster_ClusterWeight
	lost, total := uint32(0), uint32(0)
	for _, ref := range refs {
		share := uint32(ref.Share()) //nolint:gosec // 0 to a million
		total += share
		name, found := c.target(rule, ref.BackendTarget, r.Fallback, t)
		if !found {
			lost += share
		}
		at := slices.IndexFunc(weighted, func(w *routev3.WeightedCluster_ClusterWeight) bool { return w.Name == name })
		if at >= 0 {
			weighted[at].Weight.Value += share
			continue
		}
		weighted = append(weighted, &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(share)})
	}
	switch {
	case total == 0 || lost == total:
		return false
	case len(weighted) == 1:
		to.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: weighted[0].Name}
	default:
		to.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: weighted}}
	}
	return true
}

// mirror makes the policy of a rule's copies. Copies that can go nowhere are not sent: a condition says so.
func (c *compiler) mirror(rule *axlev1.TrafficRule, r *axlev1.Rule, t *table) []*routev3.RouteAction_RequestMirrorPolicy {
	if r.Mirror == nil {
		return nil
	}
	name, found := c.target(rule, r.Mirror.BackendRef, axlev1.FallbackFail, t)
	parts := uint32(r.Mirror.Parts()) //nolint:gosec // 0 to a million
	if !found || parts == 0 {
		return nil
	}
	return []*routev3.RouteAction_RequestMirrorPolicy{{
		Cluster:         name,
		RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: fraction(parts)},
	}}
}

// fraction of a million, in the coarsest unit that says it exactly.
func fraction(parts uint32) *typev3.FractionalPercent {
	switch {
	case parts%10_000 == 0:
		return &typev3.FractionalPercent{Numerator: parts / 10_000, Denominator: typev3.FractionalPercent_HUNDRED}
	case parts%100 == 0:
		return &typev3.FractionalPercent{Numerator: parts / 100, Denominator: typev3.FractionalPercent_TEN_THOUSAND}
	}
	return &typev3.FractionalPercent{Numerator: parts, Denominator: typev3.FractionalPercent_MILLION}
}

func matchers(m axlev1.Match) []*routev3.HeaderMatcher {
	var all []*routev3.HeaderMatcher
	if m.Method != nil {
		all = append(all, matcher(methodHeader, m.Method.Type, m.Method.Value))
	}
	for _, h := range m.Headers {
		all = append(all, matcher(h.Name, h.Type, h.Value))
	}
	return all
}

func matcher(name string, t axlev1.MatchType, value string) *routev3.HeaderMatcher {
	s := &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}}
	switch t {
	case axlev1.MatchPrefix:
		s.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: value}
	case axlev1.MatchRegularExpression:
		s.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: value}}
	}
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: s}}
}
