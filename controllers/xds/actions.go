package xds

import (
	"cmp"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Names that Envoy gives what a route says to filters.
const (
	faultFilter   = "envoy.filters.http.fault"
	limitFilter   = "envoy.filters.http.local_ratelimit"
	previousHosts = "envoy.retry_host_predicates.previous_hosts"
)

// retryMetadata is where a sidecar looks for what a RetryPolicy has no field for.
const retryMetadata = "axlemesh.io/retry"

// retryWords are Envoy's words for reasons to retry; Busy is two statuses.
var retryWords = map[axlev1.RetryOn]string{
	axlev1.RetryConnectFailure: "connect-failure",
	axlev1.RetryReset:          "reset",
	axlev1.RetryGatewayError:   "gateway-error",
	axlev1.RetryServerError:    "5xx",
}

var busyStatuses = []uint32{429, 503}

// retryPolicy says when requests are sent again.
func retryPolicy(r *axlev1.Retry) *routev3.RetryPolicy {
	if r == nil {
		return nil
	}
	p := &routev3.RetryPolicy{NumRetries: wrapperspb.UInt32(uint32(r.Retries()))} //nolint:gosec // 0 to 9
	var on []string
	for _, reason := range r.RetryOn {
		if word := retryWords[reason]; word != "" {
			on = append(on, word)
			continue
		}
		p.RetriableStatusCodes = append(p.RetriableStatusCodes, busyStatuses...)
	}
	for _, s := range r.Statuses {
		p.RetriableStatusCodes = append(p.RetriableStatusCodes, uint32(s)) //nolint:gosec // 400 to 599
	}
	if len(p.RetriableStatusCodes) > 0 {
		on = append(on, "retriable-status-codes")
	}
	p.RetryOn = strings.Join(on, ",")
	if r.PerTryTimeout != nil {
		p.PerTryTimeout = durationpb.New(r.PerTryTimeout.Duration)
	}
	if r.Backoff != nil {
		p.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(r.Backoff.Duration), MaxInterval: durationpb.New(min(10*r.Backoff.Duration, time.Hour)),
		}
	}
	if cmp.Or(r.Methods, axlev1.RetryIdempotent) == axlev1.RetryAll {
		p.RetriableRequestHeaders = []*routev3.HeaderMatcher{{
			Name: methodHeader, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}}
	}
	p.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{Name: previousHosts}}
	return p
}

// retryExtras is what a RetryPolicy has no field for. Hedging has a policy of its own, which sidecars of earlier releases reject
// together with the service key; what they do not know here they pass over.
func retryExtras(r *axlev1.Retry) *corev3.Metadata {
	if r == nil || r.BudgetPercent() == 0 && !r.Hedge {
		return nil
	}
	fields := map[string]*structpb.Value{}
	if r.BudgetPercent() > 0 {
		fields["budget_percent"] = structpb.NewNumberValue(float64(r.BudgetPercent()))
	}
	if r.Hedge {
		fields["hedge"] = structpb.NewBoolValue(true)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{retryMetadata: {Fields: fields}}}
}

// filters says which requests are spoilt, and how many are taken.
func filters(r *axlev1.Rule) map[string]*anypb.Any {
	all := map[string]*anypb.Any{}
	if r.Fault != nil {
		all[faultFilter] = packed(fault(r.Fault))
	}
	if r.Limit != nil {
		all[limitFilter] = packed(localLimit(r.Limit))
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// packed is a message as it is the same for all replicas of the operator.
func packed(m proto.Message) *anypb.Any {
	typed := &anypb.Any{}
	if err := anypb.MarshalFrom(typed, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return &anypb.Any{} // never: what is packed here has no required fields and no invalid text
	}
	return typed
}

func fault(f *axlev1.Fault) *faultv3.HTTPFault {
	out := &faultv3.HTTPFault{}
	if d := f.Delay; d != nil {
		out.Delay = &commonv3.FaultDelay{
			FaultDelaySecifier: &commonv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(d.Duration.Duration)},
			Percentage:         fraction(uint32(d.Parts())), //nolint:gosec // 0 to a million
		}
	}
	if a := f.Abort; a != nil {
		out.Abort = &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(a.Status)}, //nolint:gosec // 200 to 599
			Percentage: fraction(uint32(a.Parts())),                                  //nolint:gosec // 0 to a million
		}
	}
	return out
}
