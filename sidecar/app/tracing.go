package app

import (
	"cmp"
	"context"
	"time"

	"github.com/axlemesh/axle/sidecar/proxy"
	"github.com/axlemesh/axle/sidecar/trace"
)

// lastSpans bounds how long a process that ends, or has handed over, waits for the collector to take its last spans.
const lastSpans = time.Second

// exporter of spans, as the bootstrap has it; nil for none.
func (a *app) exporter() *trace.Exporter {
	t, n := a.boot.Tracing, a.boot.Node
	if t == nil {
		return nil
	}
	about := []trace.Attribute{{Key: "service.name", Value: cmp.Or(t.ServiceName, n.ID)}}
	for _, more := range []trace.Attribute{
		{Key: "service.instance.id", Value: n.ID}, {Key: "k8s.namespace.name", Value: n.Namespace}, {Key: "k8s.pod.name", Value: n.Pod},
		{Key: "axle.sidecar.version", Value: n.Version},
	} {
		if more.Value != "" {
			about = append(about, more)
		}
	}
	return trace.NewExporter(trace.Options{
		Endpoint: t.Endpoint, Resource: about, Build: a.Build, Now: a.Now, Random: a.Random, Log: a.Log.WithName("tracing"),
	})
}

// tracing is what the data plane is told of it.
func (a *app) tracing() *proxy.Tracing {
	if a.spans == nil {
		return nil
	}
	return &proxy.Tracing{Exporter: a.spans, Share: trace.Percent(a.boot.Tracing.SamplePercent)}
}

// flushSpans sends what the loops have left.
func (a *app) flushSpans() {
	if a.spans == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
	defer cancel()
	a.spans.Flush(ctx)
}
