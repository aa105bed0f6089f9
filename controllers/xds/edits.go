package xds

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// wholePath is the expression of a rewrite that replaces the whole path.
const wholePath = "^/.*$"

// edit sets what a route changes of HTTP messages. A service key of another protocol has its requests go on as they came, and its
// rule is told so.
func (c *compiler) edit(cand candidate, t *table, r *routev3.Route, action *routev3.RouteAction) {
	rule := &cand.rule.Spec.Rules[cand.at]
	if rule.RequestHeaders == nil && rule.ResponseHeaders == nil && rule.Rewrite == nil {
		return
	}
	if t.rpc() {
		c.note(cand.rule, t, problem{ReasonProtocolMismatch, fmt.Sprintf(
			"rules[%d] changes headers or what is asked for, which only HTTP has: requests for service key %s are %s and go on as they came. Set parentRefs.port, or matches.service.",
			cand.at, t.key, protocolOf(t.port))})
		return
	}
	r.RequestHeadersToAdd, r.RequestHeadersToRemove = changes(rule.RequestHeaders)
	r.ResponseHeadersToAdd, r.ResponseHeadersToRemove = changes(rule.ResponseHeaders)
	if rule.Rewrite == nil {
		return
	}
	if rule.Rewrite.Hostname != "" {
		action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: rule.Rewrite.Hostname}
	}
	if p := rule.Rewrite.Path; p != nil && p.Type == axlev1.ReplacePrefixMatch {
		action.PrefixRewrite = newPrefix(p, cand.match.Path)
	} else if p != nil {
		action.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: wholePath}, Substitution: p.ReplaceFullPath}
	}
}

// newPrefix is what replaces the prefix that a match fits. Of the prefix / only the slash is replaced, which has to come back.
func newPrefix(p *axlev1.PathModifier, match *axlev1.PathMatch) string {
	if match == nil || match.Value == "/" {
		return strings.TrimRight(p.ReplacePrefixMatch, "/") + "/"
	}
	return p.ReplacePrefixMatch
}

func changes(m *axlev1.HeaderModifier) (add []*corev3.HeaderValueOption, remove []string) {
	if m == nil {
		return nil, nil
	}
	for _, part := range []struct {
		headers []axlev1.Header
		how     corev3.HeaderValueOption_HeaderAppendAction
	}{{m.Set, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}, {m.Add, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD}} {
		for _, h := range part.headers {
			add = append(add, &corev3.HeaderValueOption{
				Header:       &corev3.HeaderValue{Key: string(h.Name), Value: strings.ReplaceAll(h.Value, "%", "%%")}, // which has a meaning in Envoy
				AppendAction: part.how,
			})
		}
	}
	for _, name := range m.Remove {
		remove = append(remove, string(name))
	}
	return add, remove
}

// redirectCodes are xDS's names of statuses.
var redirectCodes = map[int32]routev3.RedirectAction_RedirectResponseCode{
	301: routev3.RedirectAction_MOVED_PERMANENTLY,
	302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

// movedForNow is the status of a redirect that names none.
const movedForNow = 302

func redirect(r *axlev1.Redirect, match *axlev1.PathMatch) *routev3.RedirectAction {
	out := &routev3.RedirectAction{
		HostRedirect: r.Hostname, PortRedirect: uint32(r.Port), //nolint:gosec // 0 to 65535
		ResponseCode: redirectCodes[cmp.Or(r.StatusCode, movedForNow)],
	}
	if r.Scheme != "" {
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: r.Scheme}
	}
	if p := r.Path; p != nil && p.Type == axlev1.ReplacePrefixMatch {
		out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: newPrefix(p, match)}
	} else if p != nil {
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: p.ReplaceFullPath}
	}
	return out
}

// localLimit is a token bucket that each sidecar has of its own.
func localLimit(l *axlev1.Limit) *limitv3.LocalRateLimit {
	every := time.Second
	if l.Interval != nil {
		every = l.Interval.Duration
	}
	all := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100, Denominator: typev3.FractionalPercent_HUNDRED}}
	return &limitv3.LocalRateLimit{
		StatPrefix: "rule",
		TokenBucket: &typev3.TokenBucket{
			MaxTokens:     uint32(cmp.Or(l.Burst, l.Requests)),   //nolint:gosec // 1 to a million
			TokensPerFill: wrapperspb.UInt32(uint32(l.Requests)), //nolint:gosec // 1 to a million
			FillInterval:  durationpb.New(every),
		},
		FilterEnabled: all, FilterEnforced: all,
	}
}

// hashPolicies hash headers' values, those that a request has.
func hashPolicies(headers ...string) []*routev3.RouteAction_HashPolicy {
	var all []*routev3.RouteAction_HashPolicy
	for _, name := range headers {
		all = append(all, &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: name},
		}})
	}
	return all
}
