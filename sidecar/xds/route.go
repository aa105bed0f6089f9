package xds

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/axlemesh/axle/sidecar/config"
)

// Bounds of one route.
const (
	maxMatches = 100
	maxSplit   = 100
)

// only returns an error that names the first field of m that is set and not among names: what this version does not know
// must not be ignored.
func only(m proto.Message, names ...protoreflect.Name) error {
	var errs []error
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		for _, name := range names {
			if f.Name() == name {
				return true
			}
		}
		errs = append(errs, fmt.Errorf("%s: unsupported by this version", f.Name()))
		return true
	})
	return errors.Join(errs...)
}

// within puts a field before what is wrong with it; inside puts one before an error that begins with a field of it.
func within(field string, err error) error { return prefixed(field+": ", err) }
func inside(field string, err error) error { return prefixed(field+".", err) }

func prefixed(with string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s%w", with, err)
}

func translateRoute(r *routev3.Route) (config.Route, error) {
	out := config.Route{Name: r.GetName()}
	if err := only(r, "name", "match", "route", "direct_response", "redirect", "metadata", "typed_per_filter_config", "request_headers_to_add",
		"request_headers_to_remove", "response_headers_to_add", "response_headers_to_remove"); err != nil {
		return out, err
	}
	path, prefix, err := translatePath(r.GetMatch())
	if err == nil {
		out.Matches, err = translateMatch(r.GetMatch(), path)
	}
	if err != nil {
		return out, within("match", err)
	}
	switch action := r.GetAction().(type) {
	case *routev3.Route_Route:
		err = inside("route", translateAction(action.Route, r.GetMetadata(), &out))
	case *routev3.Route_DirectResponse:
		d := action.DirectResponse
		if err := only(d, "status"); err != nil {
			return out, inside("direct_response", err)
		}
		if out.Status = int(d.GetStatus()); out.Status < 200 || out.Status > 599 {
			return out, fmt.Errorf("direct_response.status: %d is not between 200 and 599", d.GetStatus())
		}
	case *routev3.Route_Redirect:
		out.Redirect, err = translateRedirect(action.Redirect, prefix)
		err = inside("redirect", err)
	default:
		err = errors.New("action: send route, direct_response or redirect")
	}
	if err == nil {
		err = translateFilters(r.GetTypedPerFilterConfig(), &out)
	}
	if err == nil {
		err = translateEdit(r, prefix, &out)
	}
	if err == nil {
		err = judge(&out)
	}
	return out, err
}

func translateMatch(m *routev3.RouteMatch, path *config.Match) ([]config.Match, error) {
	if err := only(m, "prefix", "path", "path_separated_prefix", "safe_regex", "headers", "query_parameters", "dynamic_metadata"); err != nil {
		return nil, err
	}
	if n := len(m.GetHeaders()) + len(m.GetQueryParameters()); n > maxMatches {
		return nil, fmt.Errorf("headers: send at most %d, with query_parameters, not %d", maxMatches, n)
	}
	var out []config.Match
	add := func(field string, i int, one config.Match, err error) error {
		if err == nil {
			err = one.Validate()
		}
		out = append(out, one)
		return prefixed(fmt.Sprintf("%s[%d]: ", field, i), err)
	}
	if path != nil {
		if err := path.Validate(); err != nil {
			return nil, within("path_specifier", err)
		}
		out = append(out, *path)
	}
	for i, h := range m.GetHeaders() {
		one, err := translateHeader(h)
		if err := add("headers", i, one, err); err != nil {
			return nil, err
		}
	}
	for i, q := range m.GetQueryParameters() {
		one, err := translateParameter(q)
		if err := add("query_parameters", i, one, err); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func translateParameter(q *routev3.QueryParameterMatcher) (config.Match, error) {
	out := config.Match{Name: config.QueryPrefix + q.GetName()}
	if s := q.GetStringMatch(); s != nil {
		return out, within("string_match", translateString(s, &out))
	}
	out.Invert = q.GetQueryParameterMatchSpecifier() != nil && !q.GetPresentMatch()
	return out, nil
}

func translateHeader(h *routev3.HeaderMatcher) (config.Match, error) {
	out := config.Match{Name: h.GetName(), Invert: h.GetInvertMatch()}
	if err := only(h, "name", "string_match", "present_match", "range_match", "invert_match"); err != nil {
		return out, err
	}
	switch how := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_PresentMatch:
		out.Invert = out.Invert == how.PresentMatch // false inverts, too
		return out, nil
	case *routev3.HeaderMatcher_RangeMatch:
		out.Kind, out.From, out.To = config.MatchRange, how.RangeMatch.GetStart(), how.RangeMatch.GetEnd()
		return out, nil
	case *routev3.HeaderMatcher_StringMatch:
		return out, within("string_match", translateString(how.StringMatch, &out))
	}
	return out, errors.New("header_match_specifier: send string_match, range_match or present_match")
}

func translateString(s *matcherv3.StringMatcher, out *config.Match) error {
	if err := only(s, "exact", "prefix", "suffix", "contains", "safe_regex"); err != nil {
		return err
	}
	switch how := s.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		out.Kind, out.Value = config.MatchExact, how.Exact
	case *matcherv3.StringMatcher_Prefix:
		out.Kind, out.Value = config.MatchPrefix, how.Prefix
	case *matcherv3.StringMatcher_Suffix:
		out.Kind, out.Value = config.MatchSuffix, how.Suffix
	case *matcherv3.StringMatcher_Contains:
		out.Kind, out.Value = config.MatchContains, how.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		if err := only(how.SafeRegex, "regex", "google_re2"); err != nil {
			return inside("safe_regex", err)
		}
		out.Kind, out.Value = config.MatchRegex, how.SafeRegex.GetRegex()
	default:
		return errors.New("match_pattern: send exact, prefix, suffix, contains or safe_regex")
	}
	return nil
}

func translateAction(a *routev3.RouteAction, m *corev3.Metadata, out *config.Route) error {
	if err := only(a, "cluster", "weighted_clusters", "timeout", "request_mirror_policies", "retry_policy", "prefix_rewrite", "regex_rewrite",
		"host_rewrite_literal", "hash_policy", "priority", "hedge_policy"); err != nil {
		return err
	}
	var err error
	if split := a.GetWeightedClusters(); split != nil {
		if out.Split, err = translateSplit(split); err != nil {
			return inside("weighted_clusters", err)
		}
	} else if out.Cluster = a.GetCluster(); out.Cluster == "" {
		return errors.New("cluster: name one cluster, or send weighted_clusters")
	}
	if out.Timeout, err = duration(a.GetTimeout()); err != nil {
		return within("timeout", err)
	}
	if out.Mirror, err = translateMirror(a.GetRequestMirrorPolicies()); err != nil {
		return within("request_mirror_policies", err)
	}
	if err := translatePriority(a.GetPriority(), m, out); err != nil {
		return err
	}
	if err := translateSticky(a.GetHashPolicy(), a.GetWeightedClusters(), out); err != nil {
		return err
	}
	if err := translateRetry(a.GetRetryPolicy(), m, out); err != nil {
		return inside("retry_policy", err)
	}
	return inside("hedge_policy", translateHedge(a.GetHedgePolicy(), out.Retry))
}

func translateSplit(w *routev3.WeightedCluster) ([]config.Share, error) {
	if err := only(w, "clusters", "total_weight", "use_hash_policy"); err != nil {
		return nil, err
	}
	if n := len(w.GetClusters()); n < 1 || n > maxSplit {
		return nil, fmt.Errorf("clusters: send 1 to %d, not %d", maxSplit, n)
	}
	var out []config.Share
	total := uint64(0)
	for i, c := range w.GetClusters() {
		err := only(c, "name", "weight")
		if err == nil && c.GetName() == "" {
			err = errors.New("name: name one cluster")
		}
		if err != nil {
			return nil, fmt.Errorf("clusters[%d]: %w", i, err)
		}
		total += uint64(c.GetWeight().GetValue())
		out = append(out, config.Share{Cluster: c.GetName(), Weight: c.GetWeight().GetValue()})
	}
	if total < 1 || total > 1<<32-1 {
		return nil, fmt.Errorf("clusters: the weights add up to %d: send 1 to %d", total, uint32(1<<32-1))
	}
	return out, nil
}

func translateMirror(policies []*routev3.RouteAction_RequestMirrorPolicy) (*config.Mirror, error) {
	if len(policies) == 0 {
		return nil, nil
	}
	if n := len(policies); n > 1 {
		return nil, fmt.Errorf("send at most 1, not %d", n)
	}
	p := policies[0]
	if err := only(p, "cluster", "runtime_fraction"); err != nil {
		return nil, err
	}
	out := &config.Mirror{Cluster: p.GetCluster(), Numerator: 1, Denominator: 1}
	if out.Cluster == "" {
		return nil, errors.New("cluster: name one cluster")
	}
	if p.GetRuntimeFraction() == nil {
		return out, nil // as Envoy: all
	}
	if err := only(p.GetRuntimeFraction(), "default_value"); err != nil {
		return nil, inside("runtime_fraction", err)
	}
	f, err := translateFraction(p.GetRuntimeFraction().GetDefaultValue())
	out.Numerator, out.Denominator = f.Numerator, f.Denominator
	return out, inside("runtime_fraction.default_value", err)
}
