package xds

import (
	"math"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/axlemesh/axle/api/bootstrap"
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
		"another tracer": {in: &tracing{Provider: &tracev3.Tracing_Http{Name: "x"}}, err: `tracing.provider.typed_config: "" is unsupported: use OpenTelemetryConfig`},
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

// provider is an OpenTelemetry tracer as Envoy's control planes send it.
func provider(to *tracev3.OpenTelemetryConfig) *tracev3.Tracing_Http {
	return &tracev3.Tracing_Http{Name: "envoy.tracers.opentelemetry", ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: pack(to)}}
}

func collector(uri string) *corev3.HttpService {
	return &corev3.HttpService{HttpUri: &corev3.HttpUri{
		Uri: uri, HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: "otel"}, Timeout: durationpb.New(time.Second),
	}}
}

func TestTranslateProvider(t *testing.T) {
	const uri = "http://otel.observability:4318/v1/traces"
	more := collector(uri)
	more.RequestHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "authorization", Value: "x"}}}
	cases := map[string]struct {
		in   *tracev3.OpenTelemetryConfig
		want *bootstrap.Tracing
		err  string
	}{
		"OTLP over HTTP":  {in: &tracev3.OpenTelemetryConfig{HttpService: collector(uri), ServiceName: "shop"}, want: &bootstrap.Tracing{Endpoint: uri, ServiceName: "shop"}},
		"OTLP over gRPC":  {in: &tracev3.OpenTelemetryConfig{GrpcService: &corev3.GrpcService{}}, err: "typed_config.grpc_service: spans go by OTLP over HTTP: send http_service"},
		"nothing":         {in: &tracev3.OpenTelemetryConfig{}, err: "http_uri.uri: tracing.endpoint: \"\" is no URL of a collector: use one as http://"},
		"a password":      {in: &tracev3.OpenTelemetryConfig{HttpService: collector("http://a:secret@b/v1/traces")}, err: "the collector gets no credentials"},
		"a sampler":       {in: &tracev3.OpenTelemetryConfig{HttpService: collector(uri), Sampler: &corev3.TypedExtensionConfig{Name: "x"}}, err: "typed_config.sampler: unsupported by this version"},
		"headers to send": {in: &tracev3.OpenTelemetryConfig{HttpService: more}, err: "http_service.request_headers_to_add: unsupported"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			hcm := routed()
			hcm.Tracing = &hcmv3.HttpConnectionManager_Tracing{Provider: provider(tc.in)}
			got, err := translateListener(listener("l", "::", 1, corev3.TrafficDirection_OUTBOUND, FilterHTTP1, hcm))
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has the password: %v", err)
			}
			if said(t, err, tc.err); err == nil {
				if diff := cmp.Diff(tc.want, got.tracing); diff != "" || *got.SamplePercent != 100 {
					t.Errorf("%v %%; (-want +got):\n%s", *got.SamplePercent, diff)
				}
			}
		})
	}
}
