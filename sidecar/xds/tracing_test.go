package xds

import (
	"math"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

func TestTranslateTracing(t *testing.T) {
	type tracing = hcmv3.HttpConnectionManager_Tracing
	cases := map[string]struct {
		in   *tracing
		want float64 // -1 for what leaves it to the bootstrap
		err  string
	}{
		"none":           {want: -1},
		"all":            {in: &tracing{}, want: 100},
		"some":           {in: &tracing{RandomSampling: &typev3.Percent{Value: 0.5}}, want: 0.5},
		"a bound":        {in: &tracing{RandomSampling: &typev3.Percent{Value: 50}, OverallSampling: &typev3.Percent{Value: 10}}, want: 10},
		"none of them":   {in: &tracing{RandomSampling: &typev3.Percent{}}},
		"a provider":     {in: &tracing{Provider: &tracev3.Tracing_Http{Name: "x"}}, err: "tracing.provider: the bootstrap says where spans go"},
		"tags":           {in: &tracing{CustomTags: []*tracingv3.CustomTag{{Tag: "a"}}}, err: "tracing.custom_tags: they are not supported"},
		"more than all":  {in: &tracing{RandomSampling: &typev3.Percent{Value: 101}}, err: "random_sampling: 101 is not between 0 and 100"},
		"less than none": {in: &tracing{OverallSampling: &typev3.Percent{Value: -1}}, err: "overall_sampling: -1 is not between 0 and 100"},
		"no number":      {in: &tracing{RandomSampling: &typev3.Percent{Value: math.NaN()}}, err: "random_sampling: NaN"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			hcm := routed()
			hcm.Tracing = tc.in
			got, err := translateListener(listener("l", "::", 1, corev3.TrafficDirection_OUTBOUND, FilterHTTP1, hcm))
			said(t, err, tc.err)
			switch {
			case err != nil:
			case got.SamplePercent == nil && tc.want >= 0, got.SamplePercent != nil && *got.SamplePercent != tc.want:
				t.Errorf("got %v, want %v", got.SamplePercent, tc.want)
			}
		})
	}
}
