package xds

import (
	"errors"

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
	percent := min(percentOr100(t.GetRandomSampling()), percentOr100(t.GetOverallSampling()))
	return &percent, nil
}

func percentOr100(p *typev3.Percent) float64 {
	if p == nil {
		return 100
	}
	return p.GetValue()
}
