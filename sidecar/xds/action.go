package xds

import (
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/axlemesh/axle/sidecar/config"
)

// retryMetadata is the key of a route's filter metadata with what a RetryPolicy has no field for: budget_percent and
// budget_min, both numbers, and hedge, which is the same as hedge_policy's hedge_on_per_try_timeout and which a version that does
// not know it passes over.
const retryMetadata = "axlemesh.io/retry"

// methodHeader in retriable_request_headers, any value of it, asks to retry requests that may do something twice, too.
const methodHeader = ":method"

// retryReasons are the words of retry_on, with Envoy's meaning: what answers with an error of the server includes endpoints
// that do not answer at all.
var retryReasons = map[string]config.RetryOn{
	"connect-failure":        config.RetryConnect,
	"refused-stream":         config.RetryConnect,
	"reset-before-request":   config.RetryConnect,
	"reset":                  config.RetryReset,
	"5xx":                    config.RetryServerError | config.RetryReset | config.RetryConnect,
	"gateway-error":          config.RetryGateway | config.RetryReset | config.RetryConnect,
	"retriable-4xx":          0,
	"retriable-status-codes": 0,
}

// statusConflict is the only status of retriable-4xx.
const statusConflict = 409

// translateHedge sets that slow tries are waited for while another is out.
func translateHedge(h *routev3.HedgePolicy, r *config.Retry) error {
	if err := only(h, "initial_requests", "additional_request_chance", "hedge_on_per_try_timeout"); err != nil {
		return err
	}
	if n := h.GetInitialRequests(); n != nil && n.GetValue() != 1 {
		return fmt.Errorf("initial_requests: %d is unsupported: leave it out, or send 1", n.GetValue())
	}
	if h.GetAdditionalRequestChance().GetNumerator() > 0 {
		return errors.New("additional_request_chance: unsupported: leave it out, or send 0")
	}
	if !h.GetHedgeOnPerTryTimeout() {
		return nil
	}
	if r == nil || r.PerTry == 0 {
		return errors.New("hedge_on_per_try_timeout: it needs a retry_policy with per_try_timeout")
	}
	r.Hedge = true
	return nil
}

// translateRetry sets how a route's requests are sent again.
func translateRetry(p *routev3.RetryPolicy, m *corev3.Metadata, out *config.Route) error {
	if p == nil {
		return nil
	}
	if err := only(p, "retry_on", "num_retries", "per_try_timeout", "retry_back_off", "retriable_status_codes", "retriable_request_headers",
		"retry_host_predicate", "host_selection_retry_max_attempts"); err != nil {
		return err
	}
	r := &config.Retry{}
	codes := false
	for word := range strings.SplitSeq(p.GetRetryOn(), ",") {
		on, known := retryReasons[strings.TrimSpace(word)]
		if !known {
			return fmt.Errorf("retry_on: %q is unsupported: use connect-failure, refused-stream, reset, 5xx, gateway-error, retriable-4xx or retriable-status-codes", word)
		}
		r.On |= on
		switch strings.TrimSpace(word) {
		case "retriable-4xx":
			r.Statuses = append(r.Statuses, statusConflict)
		case "retriable-status-codes":
			codes = true
		}
	}
	for _, code := range p.GetRetriableStatusCodes() {
		if codes {
			r.Statuses = append(r.Statuses, int(min(code, 1<<16)))
		}
	}
	if err := translateTries(p, r); err != nil {
		return err
	}
	translateBudget(m, r)
	retries := uint32(1) // as Envoy
	if n := p.GetNumRetries(); n != nil {
		retries = n.GetValue()
	}
	out.Attempts = int(min(retries, config.MaxAttempts-1)) + 1
	if r.On != config.RetryConnect || len(r.Statuses) > 0 || r.PerTry > 0 {
		out.Retry = r // else it is what every route does
	}
	return nil
}

// translateTries sets how long a try and the time before it take, and which requests may be tried again.
func translateTries(p *routev3.RetryPolicy, r *config.Retry) error {
	var err error
	if r.PerTry, err = duration(p.GetPerTryTimeout()); err != nil {
		return within("per_try_timeout", err)
	}
	if r.Backoff, err = duration(p.GetRetryBackOff().GetBaseInterval()); err != nil {
		return within("retry_back_off.base_interval", err)
	}
	if r.MaxBackoff, err = duration(p.GetRetryBackOff().GetMaxInterval()); err != nil {
		return within("retry_back_off.max_interval", err)
	}
	for i, h := range p.GetRetriableRequestHeaders() {
		if h.GetName() != methodHeader || !h.GetPresentMatch() || h.GetInvertMatch() {
			return fmt.Errorf("retriable_request_headers[%d]: only %s, present, is supported: it retries every method", i, methodHeader)
		}
		r.AnyMethod = true
	}
	for i, h := range p.GetRetryHostPredicate() {
		if h.GetName() != "envoy.retry_host_predicates.previous_hosts" {
			return fmt.Errorf("retry_host_predicate[%d]: %q is unsupported: use envoy.retry_host_predicates.previous_hosts", i, h.GetName())
		}
	}
	return nil
}

func translateBudget(m *corev3.Metadata, r *config.Retry) {
	fields := m.GetFilterMetadata()[retryMetadata].GetFields()
	number := func(name string) uint32 { return uint32(min(max(fields[name].GetNumberValue(), 0), 1<<30)) }
	r.BudgetPercent, r.BudgetMin = number("budget_percent"), number("budget_min")
	r.Hedge = fields["hedge"].GetBoolValue()
}

// translateFilters reads what a route says to filters: faults and local rate limits.
func translateFilters(all map[string]*anypb.Any, out *config.Route) error {
	for name, typed := range all {
		fault, limit := &faultv3.HTTPFault{}, &limitv3.LocalRateLimit{}
		var err error
		switch {
		case typed.MessageIs(fault):
			if err = typed.UnmarshalTo(fault); err == nil {
				out.Fault, err = translateFault(fault)
			}
		case typed.MessageIs(limit):
			if err = typed.UnmarshalTo(limit); err == nil {
				out.Limit, err = translateLimit(limit)
			}
		default:
			err = fmt.Errorf("%q is unsupported: use HTTPFault or LocalRateLimit", typed.GetTypeUrl())
		}
		if err != nil {
			return fmt.Errorf("typed_per_filter_config[%s]: %w", name, err)
		}
	}
	return nil
}

func translateFault(f *faultv3.HTTPFault) (*config.Fault, error) {
	if err := only(f, "delay", "abort"); err != nil {
		return nil, err
	}
	out := &config.Fault{}
	var err error
	if d := f.GetDelay(); d != nil {
		if err := only(d, "fixed_delay", "percentage"); err != nil {
			return nil, inside("delay", err)
		}
		if out.Delay, err = duration(d.GetFixedDelay()); err != nil {
			return nil, within("delay.fixed_delay", err)
		}
		if out.Delayed, err = translateFraction(d.GetPercentage()); err != nil {
			return nil, inside("delay.percentage", err)
		}
	}
	if a := f.GetAbort(); a != nil {
		if err := only(a, "http_status", "percentage"); err != nil {
			return nil, inside("abort", err)
		}
		out.Status = int(min(a.GetHttpStatus(), 1<<16))
		if out.Aborted, err = translateFraction(a.GetPercentage()); err != nil {
			return nil, inside("abort.percentage", err)
		}
	}
	return out, nil
}

// translateFraction reads a fraction; none is nothing, as in Envoy.
func translateFraction(f *typev3.FractionalPercent) (config.Fraction, error) {
	out := config.Fraction{Numerator: f.GetNumerator()}
	switch f.GetDenominator() {
	case typev3.FractionalPercent_HUNDRED:
		out.Denominator = 100
	case typev3.FractionalPercent_TEN_THOUSAND:
		out.Denominator = 10_000
	case typev3.FractionalPercent_MILLION:
		out.Denominator = 1_000_000
	default:
		return out, fmt.Errorf("denominator: %s is unknown", f.GetDenominator())
	}
	out.Numerator = min(out.Numerator, out.Denominator) // as Envoy: more than all is all
	return out, nil
}

// translateLimit reads a local rate limit. As in Envoy it limits only what it is enabled and enforced for; here that is all
// or nothing.
func translateLimit(l *limitv3.LocalRateLimit) (config.Limit, error) {
	if err := only(l, "stat_prefix", "token_bucket", "filter_enabled", "filter_enforced"); err != nil {
		return config.Limit{}, err
	}
	for _, gate := range []struct {
		name string
		f    *corev3.RuntimeFractionalPercent
	}{{"filter_enabled", l.GetFilterEnabled()}, {"filter_enforced", l.GetFilterEnforced()}} {
		f, err := translateFraction(gate.f.GetDefaultValue())
		switch {
		case err != nil:
			return config.Limit{}, inside(gate.name+".default_value", err)
		case f.Numerator == 0:
			return config.Limit{}, nil
		case f.Numerator < f.Denominator:
			return config.Limit{}, fmt.Errorf("%s: a part of the requests is unsupported: send 0 or 100 percent", gate.name)
		}
	}
	b := l.GetTokenBucket()
	out := config.Limit{Burst: b.GetMaxTokens(), Tokens: 1}
	if n := b.GetTokensPerFill(); n != nil {
		out.Tokens = n.GetValue()
	}
	var err error
	if out.Every, err = duration(b.GetFillInterval()); err == nil {
		err = out.Validate()
	}
	return out, within("token_bucket", err)
}

// routerFilter is the name of the filter that ends every chain.
const routerFilter = "envoy.filters.http.router"

// translateHTTPFilters reads a listener's local rate limit. Who sends another filter counts on it, unless he says that he does not. One that
// is disabled is for routes that say more.
func translateHTTPFilters(all []*hcmv3.HttpFilter, out *config.Listener) error {
	for i, f := range all {
		if f.GetDisabled() {
			continue
		}
		if err := translateHTTPFilter(f, out); err != nil {
			return fmt.Errorf("http_filters[%d]: %w", i, err)
		}
	}
	return nil
}

func translateHTTPFilter(f *hcmv3.HttpFilter, out *config.Listener) error {
	limit, fault := &limitv3.LocalRateLimit{}, &faultv3.HTTPFault{}
	switch typed := f.GetTypedConfig(); {
	case typed.MessageIs(limit):
		err := typed.UnmarshalTo(limit)
		if err == nil {
			out.Limit, err = translateLimit(limit)
		}
		return err
	case f.GetIsOptional(), f.GetName() == routerFilter, typed.MessageIs(&routerv3.Router{}):
		return nil
	case typed.MessageIs(fault): // a plane for Envoy has to send it, for the faults of routes
		if err := typed.UnmarshalTo(fault); err != nil {
			return err
		}
		return within("faults of a listener are unsupported, send those of routes", only(fault))
	}
	return fmt.Errorf("%q is unsupported by this version: use LocalRateLimit, HTTPFault and Router, or set is_optional", f.GetName())
}

// translateSticky sets which header's value decides where a split goes, or what a cluster hashes.
func translateSticky(policies []*routev3.RouteAction_HashPolicy, w *routev3.WeightedCluster, out *config.Route) error {
	if !w.GetUseHashPolicy().GetValue() {
		var err error
		out.Hash, err = translateHash(policies)
		return err
	}
	if len(policies) != 1 || policies[0].GetHeader().GetHeaderName() == "" {
		return errors.New("hash_policy: send exactly one, of a header")
	}
	if err := only(policies[0].GetHeader(), "header_name"); err != nil {
		return inside("hash_policy[0].header", err)
	}
	out.Sticky = policies[0].GetHeader().GetHeaderName()
	return nil
}

// judge names what a translated route does that no sidecar takes.
func judge(r *config.Route) error {
	if errs := r.ValidateActions(); len(errs) > 0 {
		return errs[0]
	}
	return nil
}
