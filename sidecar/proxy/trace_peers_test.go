package proxy_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	otlp "github.com/axlemesh/axle/hack/peers/collector"
	"github.com/axlemesh/axle/sidecar/proxy"
	"github.com/axlemesh/axle/sidecar/trace"
)

// tracing is given to the engines that newEngine makes; see traced.
var tracing func() *proxy.Tracing

func tracingOf() *proxy.Tracing {
	if tracing == nil {
		return nil
	}
	return tracing()
}

// span is what a collector has been told of a request.
type span struct {
	trace, id, parent string
	name              string
	kind              tracepb.Span_SpanKind
	failed            bool
	took              time.Duration
	attributes        map[string]string
}

// collector takes spans.
type collector struct {
	url       string
	exporters []*trace.Exporter

	mu    sync.Mutex
	spans []span
}

// traced makes the engines that a test makes from now on export spans, for this share of the requests without a context.
func traced(t *testing.T, percent float64) *collector {
	t.Helper()
	c := &collector{}
	s := httptest.NewServer(otlp.Handler(c.take, func(err error) { t.Error(err) }))
	t.Cleanup(s.Close)
	c.url = s.URL
	tracing = func() *proxy.Tracing {
		e := trace.NewExporter(trace.Options{Endpoint: c.url + otlp.Path, Now: time.Now})
		c.exporters = append(c.exporters, e)
		return &proxy.Tracing{Exporter: e, Share: trace.Percent(percent)}
	}
	t.Cleanup(func() { tracing = nil })
	return c
}

func (c *collector) take(data *tracepb.TracesData) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range data.ResourceSpans {
		for _, s := range r.ScopeSpans[0].Spans {
			one := span{
				trace: hex.EncodeToString(s.TraceId), id: hex.EncodeToString(s.SpanId), parent: hex.EncodeToString(s.ParentSpanId),
				name: s.Name, kind: s.Kind, failed: s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR,
				took: time.Duration(s.EndTimeUnixNano - s.StartTimeUnixNano), attributes: map[string]string{},
			}
			for _, kv := range s.Attributes {
				v := kv.Value.GetStringValue()
				switch {
				case kv.Value.GetBoolValue():
					v = "true"
				case v == "":
					v = fmt.Sprint(kv.Value.GetIntValue())
				}
				one.attributes[kv.Key] = v
			}
			c.spans = append(c.spans, one)
		}
	}
}

// all stops the engines and returns every span, those of clients before those of servers.
func (c *collector) all(t *testing.T, engines ...*proxy.Engine) []span {
	t.Helper()
	for _, e := range engines {
		e.Stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, e := range c.exporters {
		e.Flush(ctx)
		if n := e.Counts(); n.Dropped > 0 {
			t.Errorf("%d spans are dropped, %d sent", n.Dropped, n.Sent)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortStableFunc(c.spans, func(a, b span) int { return int(b.kind) - int(a.kind) })
	return c.spans
}

// want compares attributes, "name=value" in lines.
func (s span) want(t *testing.T, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if got := s.attributes[name]; got != value {
			t.Errorf("span %q: %s is %q, want %q; all of it: %v", s.name, name, got, value, s.attributes)
		}
	}
}
