package xds

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	adaptivev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/axlemesh/axle/sidecar/config"
)

func TestTranslatePriority(t *testing.T) {
	meta := func(fields map[string]any) *corev3.Metadata {
		s, err := structpb.NewStruct(fields)
		if err != nil {
			t.Fatal(err)
		}
		return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{priorityMetadata: s}}
	}
	cases := map[string]struct {
		priority corev3.RoutingPriority
		meta     *corev3.Metadata
		want     config.Priority
		header   string
		err      string
	}{
		"none":                  {want: config.PriorityDefault},
		"Envoy's":               {priority: corev3.RoutingPriority_HIGH, want: config.PriorityHigh},
		"ours":                  {meta: meta(map[string]any{"priority": "low", "header": "x-priority"}), want: config.PriorityLow, header: "x-priority"},
		"ours goes before":      {priority: corev3.RoutingPriority_HIGH, meta: meta(map[string]any{"priority": "default"}), want: config.PriorityDefault},
		"only a header":         {priority: corev3.RoutingPriority_HIGH, meta: meta(map[string]any{"header": "p"}), want: config.PriorityHigh, header: "p"},
		"another word":          {meta: meta(map[string]any{"priority": "urgent"}), err: `route.metadata[axlemesh.io/priority].priority: "urgent" is none of low, default and high`},
		"a header that is none": {meta: meta(map[string]any{"header": ":method"}), err: `priority header: ":method" is no header`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := translateRoute(&routev3.Route{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: ""}}, Metadata: tc.meta,
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "c"}, Priority: tc.priority}},
			})
			if said(t, err, tc.err); err == nil && (got.Priority != tc.want || got.PriorityHeader != tc.header) {
				t.Errorf("%s, header %q; want %s, %q", got.Priority, got.PriorityHeader, tc.want, tc.header)
			}
		})
	}
}

func TestTranslateAdaptive(t *testing.T) {
	whole := &adaptivev3.AdaptiveConcurrency{
		ConcurrencyControllerConfig: &adaptivev3.AdaptiveConcurrency_GradientControllerConfig{GradientControllerConfig: &adaptivev3.GradientControllerConfig{
			SampleAggregatePercentile: &typev3.Percent{Value: 90},
			ConcurrencyLimitParams: &adaptivev3.GradientControllerConfig_ConcurrencyLimitCalculationParams{
				MaxConcurrencyLimit: wrapperspb.UInt32(100), ConcurrencyUpdateInterval: durationpb.New(50 * time.Millisecond),
			},
			MinRttCalcParams: &adaptivev3.GradientControllerConfig_MinimumRTTCalculationParams{
				Interval: durationpb.New(time.Minute), MinConcurrency: wrapperspb.UInt32(7), Buffer: &typev3.Percent{Value: 30},
			},
		}},
	}
	off := proto.CloneOf(whole)
	off.Enabled = &corev3.RuntimeFeatureFlag{DefaultValue: wrapperspb.Bool(false)}
	slow := proto.CloneOf(whole)
	slow.GetGradientControllerConfig().ConcurrencyLimitParams.ConcurrencyUpdateInterval = durationpb.New(time.Hour)
	past := proto.CloneOf(whole)
	past.GetGradientControllerConfig().MinRttCalcParams.Interval = durationpb.New(-1)
	cases := map[string]struct {
		in   proto.Message
		want *config.Adaptive
		err  string
	}{
		"none":         {},
		"whole":        {in: whole, want: &config.Adaptive{Min: 7, Max: 100, Window: 50 * time.Millisecond, Percentile: 90, Slack: 30, Probe: time.Minute}},
		"switched off": {in: off},
		"nothing said": {in: &adaptivev3.AdaptiveConcurrency{}, err: "gradient_controller_config: it is missing"},
		"too slow":     {in: slow, err: "adaptive: the window 1h0m0s is not between 10ms and 1m"},
		"in the past":  {in: past, err: "min_rtt_calc_params.interval: -1ns is negative"},
		"another type": {in: &clusterv3.Cluster{}, err: "metadata.typed_filter_metadata[axlemesh.io/adaptive-concurrency]: "},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := &clusterv3.Cluster{Name: "c"}
			if tc.in != nil {
				typed, err := anypb.New(tc.in)
				if err != nil {
					t.Fatal(err)
				}
				c.Metadata = &corev3.Metadata{TypedFilterMetadata: map[string]*anypb.Any{adaptiveMetadata: typed}}
			}
			got, err := translateCluster(c)
			said(t, err, tc.err)
			if diff := cmp.Diff(tc.want, got.Adaptive); err == nil && diff != "" {
				t.Errorf("adaptive (-want +got):\n%s", diff)
			}
		})
	}
}
