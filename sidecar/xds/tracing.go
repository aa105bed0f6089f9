package xds

import (
	"errors"
	"fmt"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/static"
)

// translateTracing reads which share of the requests on a listener get a span, and where spans go; nil leaves either to the bootstrap.
func translateTracing(t *hcmv3.HttpConnectionManager_Tracing) (*float64, *bootstrap.Tracing, error) {
	switch {
	case t == nil:
		return nil, nil, nil
	case len(t.GetCustomTags()) > 0:
		return nil, nil, errors.New("custom_tags: they are not supported")
	}
	to, err := translateProvider(t.GetProvider())
	if err != nil {
		return nil, nil, inside("provider", err)
	}
	percent := 100.0
	for _, p := range []struct {
		name string
		of   *typev3.Percent
	}{{"random_sampling", t.GetRandomSampling()}, {"overall_sampling", t.GetOverallSampling()}} {
		if p.of == nil {
			continue
		}
		if v := p.of.GetValue(); !(v >= 0 && v <= 100) {
			return nil, nil, fmt.Errorf("%s: %v is not between 0 and 100", p.name, v)
		}
		percent = min(percent, p.of.GetValue())
	}
	return &percent, to, nil
}

// translateProvider reads where spans go: OTLP over HTTP to the URI, whose host is looked up. No cluster is asked for it.
func translateProvider(p *tracev3.Tracing_Http) (*bootstrap.Tracing, error) {
	if p == nil {
		return nil, nil
	}
	typed, otel := p.GetTypedConfig(), &tracev3.OpenTelemetryConfig{}
	if !typed.MessageIs(otel) {
		return nil, fmt.Errorf("typed_config: %q is unsupported: use OpenTelemetryConfig", typed.GetTypeUrl())
	}
	if err := typed.UnmarshalTo(otel); err != nil {
		return nil, within("typed_config", err)
	}
	if otel.GetGrpcService() != nil {
		return nil, errors.New("typed_config.grpc_service: spans go by OTLP over HTTP: send http_service")
	}
	if err := only(otel, "http_service", "service_name"); err != nil {
		return nil, inside("typed_config", err)
	}
	if err := only(otel.GetHttpService(), "http_uri"); err != nil {
		return nil, inside("typed_config.http_service", err)
	}
	to := &bootstrap.Tracing{Endpoint: otel.GetHttpService().GetHttpUri().GetUri(), ServiceName: otel.GetServiceName()}
	return to, within("typed_config.http_service.http_uri.uri", static.CheckTracing(to))
}
