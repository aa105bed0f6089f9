package xds

import (
	"errors"
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/axlemesh/axle/sidecar/config"
)

// Bounds of one route.
const (
	maxMatches = 100
	maxSplit   = 100
)

// retryOn is the only condition to retry on: nothing of the request has reached an endpoint.
const retryOn = "connect-failure"

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
	if err := only(r, "name", "match", "route", "direct_response", "metadata"); err != nil {
		return out, err
	}
	var err error
	if out.Matches, err = translateMatch(r.GetMatch()); err != nil {
		return out, within("match", err)
	}
	switch action := r.GetAction().(type) {
	case *routev3.Route_Route:
		err = translateAction(action.Route, &out)
		return out, inside("route", err)
	case *routev3.Route_DirectResponse:
		d := action.DirectResponse
		if err := only(d, "status"); err != nil {
			return out, inside("direct_response", err)
		}
		if out.Status = int(d.GetStatus()); out.Status < 200 || out.Status > 599 {
			return out, fmt.Errorf("direct_response.status: %d is not between 200 and 599", d.GetStatus())
		}
		return out, nil
	}
	return out, errors.New("action: send route or direct_response")
}

func translateMatch(m *routev3.RouteMatch) ([]config.Match, error) {
	prefix, isPrefix := m.GetPathSpecifier().(*routev3.RouteMatch_Prefix)
	if !isPrefix || strings.Trim(prefix.Prefix, "/") != "" {
		return nil, fmt.Errorf(`only prefix "/" is supported: match paths by the header %s`, config.MatchPath)
	}
	if err := only(m, "prefix", "headers"); err != nil {
		return nil, err
	}
	if n := len(m.GetHeaders()); n > maxMatches {
		return nil, fmt.Errorf("headers: send at most %d, not %d", maxMatches, n)
	}
	var out []config.Match
	for i, h := range m.GetHeaders() {
		one, err := translateHeader(h)
		if err == nil {
			err = one.Validate()
		}
		if err != nil {
			return nil, fmt.Errorf("headers[%d]: %w", i, err)
		}
		out = append(out, one)
	}
	return out, nil
}

func translateHeader(h *routev3.HeaderMatcher) (config.Match, error) {
	out := config.Match{Name: h.GetName()}
	if err := only(h, "name", "string_match", "present_match"); err != nil {
		return out, err
	}
	switch how := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_PresentMatch:
		if !how.PresentMatch {
			return out, errors.New("present_match: absence cannot be matched: send true")
		}
		return out, nil
	case *routev3.HeaderMatcher_StringMatch:
		return out, within("string_match", translateString(how.StringMatch, &out))
	}
	return out, errors.New("header_match_specifier: send string_match or present_match")
}

func translateString(s *matcherv3.StringMatcher, out *config.Match) error {
	if err := only(s, "exact", "prefix", "safe_regex"); err != nil {
		return err
	}
	switch how := s.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		out.Kind, out.Value = config.MatchExact, how.Exact
	case *matcherv3.StringMatcher_Prefix:
		out.Kind, out.Value = config.MatchPrefix, how.Prefix
	case *matcherv3.StringMatcher_SafeRegex:
		if err := only(how.SafeRegex, "regex", "google_re2"); err != nil {
			return inside("safe_regex", err)
		}
		out.Kind, out.Value = config.MatchRegex, how.SafeRegex.GetRegex()
	default:
		return errors.New("match_pattern: send exact, prefix or safe_regex")
	}
	return nil
}

func translateAction(a *routev3.RouteAction, out *config.Route) error {
	if err := only(a, "cluster", "weighted_clusters", "timeout", "request_mirror_policies", "retry_policy", "hash_policy"); err != nil {
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
	if out.Hash, err = translateHash(a.GetHashPolicy()); err != nil {
		return err
	}
	out.Attempts, err = translateRetry(a.GetRetryPolicy())
	return inside("retry_policy", err)
}

func translateSplit(w *routev3.WeightedCluster) ([]config.Share, error) {
	if err := only(w, "clusters", "total_weight"); err != nil {
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
	f := p.GetRuntimeFraction().GetDefaultValue()
	switch f.GetDenominator() {
	case typev3.FractionalPercent_HUNDRED:
		out.Denominator = 100
	case typev3.FractionalPercent_TEN_THOUSAND:
		out.Denominator = 10_000
	case typev3.FractionalPercent_MILLION:
		out.Denominator = 1_000_000
	default:
		return nil, fmt.Errorf("runtime_fraction.default_value.denominator: %s is unknown", f.GetDenominator())
	}
	out.Numerator = min(f.GetNumerator(), out.Denominator) // as Envoy: more than all is all
	return out, nil
}

// translateRetry returns how many attempts a request has; 0 leaves that to the sidecar.
func translateRetry(p *routev3.RetryPolicy) (int, error) {
	if p == nil {
		return 0, nil
	}
	if err := only(p, "retry_on", "num_retries"); err != nil {
		return 0, err
	}
	if p.GetRetryOn() != retryOn {
		return 0, fmt.Errorf("retry_on: %q is unsupported: use %q", p.GetRetryOn(), retryOn)
	}
	retries := uint32(1) // as Envoy
	if n := p.GetNumRetries(); n != nil {
		retries = n.GetValue()
	}
	return int(min(retries, config.MaxAttempts-1)) + 1, nil
}
