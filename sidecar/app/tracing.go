package app

import (
	"cmp"
	"context"
	"time"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
	"github.com/axlemesh/axle/sidecar/trace"
)

// lastSpans bounds how long a process that ends, or has handed over, waits for the collector to take its last spans.
const lastSpans = time.Second

// exporter of spans, as the bootstrap has it. With an operator there is one in any case: its listeners may say where spans go. It is
// nil when nobody can.
func (a *app) exporter() *trace.Exporter {
	t := a.boot.Tracing
	if t == nil && a.boot.Operator == nil {
		return nil
	}
	t = cmp.Or(t, &bootstrap.Tracing{})
	return trace.NewExporter(trace.Options{
		Endpoint: t.Endpoint, Resource: a.about(t), Build: a.Build, Now: a.Now, Random: a.Random, Log: a.Log.WithName("tracing"),
	})
}

// about says who sends spans.
func (a *app) about(t *bootstrap.Tracing) []trace.Attribute {
	n := a.boot.Node
	about := []trace.Attribute{{Key: "service.name", Value: cmp.Or(t.ServiceName, n.ID)}}
	for _, more := range []trace.Attribute{
		{Key: "service.instance.id", Value: n.ID}, {Key: "k8s.namespace.name", Value: n.Namespace}, {Key: "k8s.pod.name", Value: n.Pod},
		{Key: "axle.sidecar.version", Value: n.Version},
	} {
		if more.Value != "" {
			about = append(about, more)
		}
	}
	return about
}

// tracing is what the data plane is told of it.
func (a *app) tracing() *proxy.Tracing {
	if a.spans == nil {
		return nil
	}
	t := &proxy.Tracing{Exporter: a.spans, OnDemand: a.boot.Tracing == nil}
	if !t.OnDemand {
		t.Share = trace.Percent(a.boot.Tracing.SamplePercent)
	}
	return t
}

// apply swaps a configuration in, with what it says of the whole process.
func (a *app) apply(s *config.Snapshot) error {
	if err := a.engine.Apply(s); err != nil {
		return err
	}
	if t := cmp.Or(s.Tracing, a.boot.Tracing); t != nil && a.spans != nil {
		a.spans.Aim(t.Endpoint, a.about(t))
	}
	select {
	case a.bounds <- struct{}{}:
	default:
	}
	return nil
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
