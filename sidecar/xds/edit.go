package xds

import (
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/config"
)

// changeOps are what append_action means.
var changeOps = map[corev3.HeaderValueOption_HeaderAppendAction]change.Op{
	corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:    change.Add,
	corev3.HeaderValueOption_ADD_IF_ABSENT:              change.Absent,
	corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD: change.Set,
}

// translateChanges reads changes of headers.
func translateChanges(add []*corev3.HeaderValueOption, remove []string) ([]change.Field, error) {
	var out []change.Field
	for _, name := range remove {
		out = append(out, change.Field{Op: change.Remove, Name: name})
	}
	for i, o := range add {
		err := only(o, "header", "append_action", "keep_empty_value")
		if err == nil {
			err = only(o.GetHeader(), "key", "value")
		}
		op, known := changeOps[o.GetAppendAction()]
		if err == nil && !known {
			err = fmt.Errorf("append_action: %s is unsupported", o.GetAppendAction())
		}
		value, ok := literal(o.GetHeader().GetValue())
		if err == nil && !ok {
			err = fmt.Errorf("header.value: %q has a command operator, which is unsupported: write %%%% for a percent sign", o.GetHeader().GetValue())
		}
		if err == nil && value == "" && !o.GetKeepEmptyValue() {
			err = errors.New("header.value: it is empty: set keep_empty_value, or remove the header")
		}
		if err != nil {
			return nil, fmt.Errorf("to_add[%d]: %w", i, err)
		}
		out = append(out, change.Field{Op: op, Name: o.GetHeader().GetKey(), Value: value})
	}
	return out, nil
}

// literal undoes the escape of percent signs; ok is false when one has a meaning.
func literal(s string) (string, bool) {
	bare := strings.ReplaceAll(s, "%%", "")
	return strings.ReplaceAll(s, "%%", "%"), !strings.Contains(bare, "%")
}

// translateEdit sets what a route changes of messages. prefix is what its match is of a path; see translatePath.
func translateEdit(r *routev3.Route, prefix string, out *config.Route) error {
	var e config.Edit
	var err error
	if e.Request, err = translateChanges(r.GetRequestHeadersToAdd(), r.GetRequestHeadersToRemove()); err != nil {
		return prefixed("request_headers_", err)
	}
	if e.Response, err = translateChanges(r.GetResponseHeadersToAdd(), r.GetResponseHeadersToRemove()); err != nil {
		return prefixed("response_headers_", err)
	}
	a := r.GetRoute()
	e.Host = a.GetHostRewriteLiteral()
	if with := a.GetPrefixRewrite(); with != "" {
		e.Prefix, e.With = prefix, with
	}
	if re := a.GetRegexRewrite(); re != nil {
		if e.With, err = wholePath(re); err != nil {
			return within("route.regex_rewrite", err)
		}
	}
	if len(e.Request)+len(e.Response) > 0 || e.Host != "" || e.With != "" {
		out.Edit = &e
	}
	return nil
}

// wholePath returns what replaces the whole path. No other substitution is supported.
func wholePath(re *matcherv3.RegexMatchAndSubstitute) (string, error) {
	switch re.GetPattern().GetRegex() {
	case "^/.*$", "^.*$", "/.*", ".*":
	default:
		return "", fmt.Errorf("pattern: only ^/.*$, the whole path, is supported: use prefix_rewrite for a part of it")
	}
	if strings.Contains(re.GetSubstitution(), `\`) {
		return "", errors.New("substitution: references to groups are unsupported")
	}
	return re.GetSubstitution(), nil
}

// redirectStatuses are the statuses of RedirectAction's response codes.
var redirectStatuses = map[routev3.RedirectAction_RedirectResponseCode]int{
	routev3.RedirectAction_MOVED_PERMANENTLY:  301,
	routev3.RedirectAction_FOUND:              302,
	routev3.RedirectAction_SEE_OTHER:          303,
	routev3.RedirectAction_TEMPORARY_REDIRECT: 307,
	routev3.RedirectAction_PERMANENT_REDIRECT: 308,
}

func translateRedirect(r *routev3.RedirectAction, prefix string) (*config.Redirect, error) {
	if err := only(r, "https_redirect", "scheme_redirect", "host_redirect", "port_redirect", "path_redirect", "prefix_rewrite", "regex_rewrite",
		"response_code", "strip_query"); err != nil {
		return nil, err
	}
	out := &config.Redirect{
		Scheme: r.GetSchemeRedirect(), Host: r.GetHostRedirect(), DropQuery: r.GetStripQuery(), Status: redirectStatuses[r.GetResponseCode()],
	}
	if r.GetHttpsRedirect() {
		out.Scheme = "https"
	}
	if r.GetPortRedirect() > 65535 {
		return nil, fmt.Errorf("port_redirect: %d is no port", r.GetPortRedirect())
	}
	out.Port = uint16(r.GetPortRedirect())
	switch {
	case r.GetPathRedirect() != "":
		out.With = r.GetPathRedirect()
	case r.GetPrefixRewrite() != "":
		out.Prefix, out.With = prefix, r.GetPrefixRewrite()
	case r.GetRegexRewrite() != nil:
		with, err := wholePath(r.GetRegexRewrite())
		if err != nil {
			return nil, within("regex_rewrite", err)
		}
		out.With = with
	}
	return out, nil
}

// translatePath reads which paths a route takes: nil stands for all. prefix is the part of them that prefix_rewrite replaces,
// empty for the whole path.
func translatePath(m *routev3.RouteMatch) (path *config.Match, prefix string, err error) {
	match := func(kind config.MatchKind, value string) *config.Match {
		return &config.Match{Name: config.MatchPath, Kind: kind, Value: value}
	}
	switch how := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		if strings.Trim(how.Prefix, "/") == "" {
			return nil, "/", nil
		}
		return match(config.MatchPrefix, how.Prefix), how.Prefix, nil
	case *routev3.RouteMatch_Path:
		return match(config.MatchExact, how.Path), "", nil
	case *routev3.RouteMatch_PathSeparatedPrefix:
		return match(config.MatchSegments, how.PathSeparatedPrefix), how.PathSeparatedPrefix, nil
	case *routev3.RouteMatch_SafeRegex:
		if err := only(how.SafeRegex, "regex", "google_re2"); err != nil {
			return nil, "", inside("safe_regex", err)
		}
		return match(config.MatchRegex, how.SafeRegex.GetRegex()), "", nil
	}
	return nil, "", errors.New("path_specifier: send prefix, path, path_separated_prefix or safe_regex")
}
