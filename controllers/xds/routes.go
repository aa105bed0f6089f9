package xds

import (
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
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
	// What is in force for the Service's ports, and whose it is.
	upstreams map[int32]InForce
	owners    map[int32]*axlev1.TrafficRule
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
		Name:                 fmt.Sprintf("%s/%s/%d", cand.rule.Namespace, cand.rule.Name, cand.at),
		Match:                routeMatch(cand.match),
		TypedPerFilterConfig: filters(rule),
	}
	if rule.Name != "" {
		r.Name += "/" + rule.Name
	}
	switch {
	case rule.Redirect != nil:
		r.Action = &routev3.Route_Redirect{Redirect: redirect(rule.Redirect, cand.match.Path)}
		return r
	case rule.Respond != nil:
		r.Action = respond(uint32(rule.Respond.Status)) //nolint:gosec // 200 to 599
		return r
	}
	action := &routev3.RouteAction{RequestMirrorPolicies: c.mirror(cand.rule, rule, t), RetryPolicy: retryPolicy(rule.Retry)}
	r.Metadata = retryExtras(rule.Retry)
	if rule.Timeout != nil {
		action.Timeout = durationpb.New(rule.Timeout.Duration)
	}
	if !c.backends(cand.rule, rule, t, action) {
		r.Action = respond(unavailable)
		return r
	}
	c.edit(cand, t, r, action)
	r.Action = &routev3.Route_Route{Route: action}
	return r
}

func respond(status uint32) *routev3.Route_DirectResponse {
	return &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: status}}
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
		split := &routev3.WeightedCluster{Clusters: weighted}
		if r.Sticky != nil {
			split.RandomValueSpecifier = &routev3.WeightedCluster_UseHashPolicy{UseHashPolicy: wrapperspb.Bool(true)}
			to.HashPolicy = hashPolicies(t.header(r.Sticky.Header))
		}
		to.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: split}
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
