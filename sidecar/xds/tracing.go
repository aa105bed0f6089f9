package xds

import (
	"errors"
	"fmt"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// translateTracing reads which share of the requests on a listener get a span; nil leaves that to the bootstrap, which alone says where
// spans go.
func translateTracing(t *hcmv3.HttpConnectionManager_Tracing) (*float64, error) {
	switch {
	case t == nil:
		return nil, nil
	case t.GetProvider() != nil:
		return nil, errors.New("provider: the bootstrap says where spans go: leave it out")
	case len(t.GetCustomTags()) > 0:
		return nil, errors.New("custom_tags: they are not supported")
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
			return nil, fmt.Errorf("%s: %v is not between 0 and 100", p.name, v)
		}
		percent = min(percent, p.of.GetValue())
	}
	return &percent, nil
}
