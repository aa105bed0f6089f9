package xds

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// What a caller's labels are found by: in the metadata of its own listeners, and in the matchers of the routes that all callers get.
const (
	metadataKey = axlev1.GroupName
	labelsKey   = "labels"
)

// header is a header's name as a sidecar looks it up: of HTTP in lower case, else as it is.
func (t *table) header(name string) string { return headerName(protocolOf(t.port), name) }

func headerName(p protocol, name string) string {
	if p == protocolHTTP || p == protocolHTTP2 {
		return strings.ToLower(name)
	}
	return name
}

// rpc says that a service key's requests are known to have neither path nor query, and headers that nobody may change.
func (t *table) rpc() bool {
	p := protocolOf(t.port)
	return p == protocolBolt || p == protocolDubbo
}

// onlyHTTP says that a match looks at what other protocols have not.
func onlyHTTP(m axlev1.Match) bool { return m.Path != nil || len(m.QueryParams) > 0 }

// normal is a match with its defaults, and with what it lists in order. Names of HTTP's headers are in lower case.
func normal(m axlev1.Match, t *table) axlev1.Match {
	m = *m.DeepCopy()
	if m.Path != nil {
		m.Path.Type = cmp.Or(m.Path.Type, axlev1.PathPrefix)
		if m.Path.Type == axlev1.PathPrefix {
			m.Path.Value = "/" + strings.Trim(m.Path.Value, "/")
		}
	}
	if m.Method != nil {
		m.Method.Type = cmp.Or(m.Method.Type, axlev1.MatchExact)
	}
	for i := range m.Headers {
		h := &m.Headers[i]
		h.Name, h.Type = t.header(h.Name), cmp.Or(h.Type, axlev1.MatchExact)
	}
	for i := range m.QueryParams {
		q := &m.QueryParams[i]
		q.Type = cmp.Or(q.Type, axlev1.MatchExact)
	}
	slices.SortStableFunc(m.Headers, func(a, b axlev1.HeaderMatch) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(m.QueryParams, func(a, b axlev1.QueryParamMatch) int { return cmp.Compare(a.Name, b.Name) })
	return m
}

// signature is equal for matches that fit the same requests of one service key, one as specifically as the other.
func signature(m axlev1.Match) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%t", m.Service != nil)
	if m.Path != nil {
		fmt.Fprintf(&b, " path %s %q", m.Path.Type, m.Path.Value)
	}
	if m.Method != nil {
		fmt.Fprintf(&b, " %s %q %t", m.Method.Type, m.Method.Value, m.Method.Invert)
	}
	for _, h := range m.Headers {
		fmt.Fprintf(&b, " %q %s %q %t", h.Name, h.Type, h.Value, h.Invert)
		if h.Range != nil {
			fmt.Fprintf(&b, " %d-%d", h.Range.From, h.Range.To)
		}
	}
	for _, q := range m.QueryParams {
		fmt.Fprintf(&b, " ?%q %s %q %t", q.Name, q.Type, q.Value, q.Invert)
	}
	if m.Source != nil {
		fmt.Fprintf(&b, " from %q", labelsOf(m.Source.Labels))
	}
	return b.String()
}

// pathRank says how specific a path match is; the length decides between prefixes only.
func pathRank(m *axlev1.PathMatch) (rank, length int) {
	switch {
	case m == nil:
		return 0, 0
	case m.Type == axlev1.PathRegularExpression:
		return 1, 0
	case m.Type == axlev1.PathPrefix:
		return 2, len(m.Value)
	}
	return 3, 0
}

// methodRank does the same for a method. What is not a whole value or how it begins is as good as an expression.
func methodRank(m *axlev1.ValueMatch) (rank, length int) {
	switch {
	case m == nil:
		return 0, 0
	case m.Invert:
		return 1, 0
	case m.Type == axlev1.MatchPrefix:
		return 2, len(m.Value)
	case m.Type == axlev1.MatchExact:
		return 3, 0
	}
	return 1, 0
}

// sourceLabels is how many labels of the caller a match looks at.
func sourceLabels(m axlev1.Match) int {
	if m.Source == nil {
		return 0
	}
	return len(m.Source.Labels)
}

// routeMatch says which requests a normal match fits.
func routeMatch(m axlev1.Match) *routev3.RouteMatch {
	out := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	if p := m.Path; p != nil {
		switch {
		case p.Type == axlev1.PathExact:
			out.PathSpecifier = &routev3.RouteMatch_Path{Path: p.Value}
		case p.Type == axlev1.PathRegularExpression:
			out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: p.Value}}
		case p.Value != "/":
			out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: p.Value}
		}
	}
	if m.Method != nil {
		out.Headers = append(out.Headers, matcher(axlev1.HeaderMatch{Name: methodHeader, Type: m.Method.Type, Value: m.Method.Value, Invert: m.Method.Invert}))
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, matcher(h))
	}
	for _, q := range m.QueryParams {
		out.QueryParameters = append(out.QueryParameters, parameter(q))
	}
	if m.Source != nil {
		for _, name := range slices.Sorted(maps.Keys(m.Source.Labels)) {
			out.DynamicMetadata = append(out.DynamicMetadata, callerLabel(name, string(m.Source.Labels[name])))
		}
	}
	return out
}

func matcher(h axlev1.HeaderMatch) *routev3.HeaderMatcher {
	out := &routev3.HeaderMatcher{Name: h.Name, InvertMatch: h.Invert}
	switch h.Type {
	case axlev1.MatchPresent:
		out.InvertMatch = false
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: !h.Invert}
	case axlev1.MatchRange:
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_RangeMatch{RangeMatch: &typev3.Int64Range{Start: h.Range.From, End: h.Range.To}}
	default:
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: text(h.Type, h.Value)}
	}
	return out
}

func parameter(q axlev1.QueryParamMatch) *routev3.QueryParameterMatcher {
	out := &routev3.QueryParameterMatcher{Name: q.Name}
	if q.Type == axlev1.MatchPresent {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: !q.Invert}
		return out
	}
	out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: text(q.Type, q.Value)}
	return out
}

func text(t axlev1.MatchType, value string) *matcherv3.StringMatcher {
	s := &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}}
	switch t {
	case axlev1.MatchPrefix:
		s.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: value}
	case axlev1.MatchSuffix:
		s.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: value}
	case axlev1.MatchContains:
		s.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: value}
	case axlev1.MatchRegularExpression:
		s.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: value}}
	}
	return s
}

// callerLabel fits callers that have a label. Sidecars look at it when they take a route, not at each request; one that does not know
// it rejects the route, as it must: with the matcher ignored the route would be everybody's.
func callerLabel(name, value string) *matcherv3.MetadataMatcher {
	segment := func(key string) *matcherv3.MetadataMatcher_PathSegment {
		return &matcherv3.MetadataMatcher_PathSegment{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key}}
	}
	return &matcherv3.MetadataMatcher{
		Filter: metadataKey, Path: []*matcherv3.MetadataMatcher_PathSegment{segment(labelsKey), segment(name)},
		Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: text(axlev1.MatchExact, value)}},
	}
}
