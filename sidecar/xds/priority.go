package xds

import (
	"errors"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	adaptivev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/axlemesh/axle/sidecar/config"
)

// priorityMetadata is the key of a route's filter metadata with what a RouteAction has no word for: "priority", which is low,
// default or high and goes before RouteAction.priority, and "header", the name of one that may lower it.
const priorityMetadata = "axlemesh.io/priority"

// adaptiveMetadata is the key of a cluster's typed filter metadata with Envoy's AdaptiveConcurrency. Envoy has that for a
// listener, where it bounds what comes in; here it bounds what goes to a cluster.
const adaptiveMetadata = "axlemesh.io/adaptive-concurrency"

func translatePriority(p corev3.RoutingPriority, m *corev3.Metadata, out *config.Route) error {
	if p == corev3.RoutingPriority_HIGH {
		out.Priority = config.PriorityHigh
	}
	fields := m.GetFilterMetadata()[priorityMetadata].GetFields()
	out.PriorityHeader = fields["header"].GetStringValue()
	word := fields["priority"].GetStringValue()
	if word == "" {
		return nil
	}
	known := false
	if out.Priority, known = config.ParsePriority([]byte(word)); !known {
		return fmt.Errorf("metadata[%s].priority: %q is none of low, default and high", priorityMetadata, word)
	}
	return nil
}

// translateAdaptive reads a limit that finds itself. Of Envoy's fields, those that say how long and at which limit the lowest
// latency is measured have no counterpart: it takes one window, at half of the limit.
func translateAdaptive(m *corev3.Metadata) (*config.Adaptive, error) {
	typed := m.GetTypedFilterMetadata()[adaptiveMetadata]
	if typed == nil {
		return nil, nil
	}
	within := func(err error) error { return within("metadata.typed_filter_metadata["+adaptiveMetadata+"]", err) }
	a := &adaptivev3.AdaptiveConcurrency{}
	if err := typed.UnmarshalTo(a); err != nil {
		return nil, within(err)
	}
	if a.GetEnabled() != nil && !a.GetEnabled().GetDefaultValue().GetValue() {
		return nil, nil
	}
	g := a.GetGradientControllerConfig()
	if g == nil {
		return nil, within(errors.New("gradient_controller_config: it is missing"))
	}
	limits, lowest := g.GetConcurrencyLimitParams(), g.GetMinRttCalcParams()
	out := &config.Adaptive{
		Min: count(lowest.GetMinConcurrency()), Max: count(limits.GetMaxConcurrencyLimit()),
		Percentile: int(g.GetSampleAggregatePercentile().GetValue()), Slack: int(lowest.GetBuffer().GetValue()),
	}
	for field, d := range map[string]struct {
		from *durationpb.Duration
		to   *time.Duration
	}{
		"concurrency_limit_params.concurrency_update_interval": {limits.GetConcurrencyUpdateInterval(), &out.Window},
		"min_rtt_calc_params.interval":                         {lowest.GetInterval(), &out.Probe},
	} {
		v, err := duration(d.from)
		if *d.to = v; err != nil {
			return nil, within(fmt.Errorf("gradient_controller_config.%s: %w", field, err))
		}
	}
	return out, nil
}

// count reads a number; more than an int32 holds is judged as that.
func count(v *wrapperspb.UInt32Value) int { return int(min(v.GetValue(), 1<<31-1)) }
