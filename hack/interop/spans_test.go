//go:build interop

package interop

import (
	"encoding/hex"
	"net/http/httptest"
	"sync"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/axlemesh/axle/hack/peers/collector"
)

// spans is a collector, which takes spans by OTLP over HTTP.
type spans struct {
	url string

	mu  sync.Mutex
	all []span
}

// span is what a sidecar says of a request.
type span struct {
	service, trace, parent string
	kind                   tracepb.Span_SpanKind
	attributes             map[string]string
}

func collect(t *testing.T) *spans {
	t.Helper()
	c := &spans{}
	s := httptest.NewServer(collector.Handler(c.take, func(err error) { t.Error(err) }))
	t.Cleanup(s.Close)
	c.url = s.URL + collector.Path
	return c
}

func (c *spans) take(data *tracepb.TracesData) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range data.GetResourceSpans() {
		for _, scope := range r.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				one := span{
					service: r.GetResource().GetAttributes()[0].GetValue().GetStringValue(), trace: hex.EncodeToString(s.GetTraceId()),
					parent: hex.EncodeToString(s.GetParentSpanId()), kind: s.GetKind(), attributes: map[string]string{},
				}
				for _, a := range s.GetAttributes() {
					one.attributes[a.GetKey()] = a.GetValue().GetStringValue()
				}
				c.all = append(c.all, one)
			}
		}
	}
}

// by returns how many spans there are under each name that a function gives them; the empty one is for those that do not count.
func (c *spans) by(name func(span) string) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]int{}
	for _, s := range c.all {
		if n := name(s); n != "" {
			all[n]++
		}
	}
	return all
}
