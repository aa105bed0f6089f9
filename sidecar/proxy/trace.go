package proxy

import (
	"bytes"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/trace"
)

// Tracing says where the spans of requests go. Without it no request has one.
type Tracing struct {
	Exporter *trace.Exporter
	// Share is that of requests without a trace context which get a span.
	Share trace.Sampling
	// OnDemand gives no request a span while no snapshot says where they go.
	OnDemand bool
}

// tracer makes the spans of one loop. A worker has none when there is no tracing: that is all which its requests pay for it then.
type tracer struct {
	w       *worker
	off     bool // there was tracing, and is none now: spans that are open end
	rec     *trace.Recorder
	timer   loop.Timer
	shares  map[string]trace.Sampling // of listeners that have their own, by name
	carrier trace.Carrier             // of the request that is being read; what follows is for it, too
	http1   http1Headers
	http2   http2Headers

	moved map[spanPlace]*trace.Span // during a handover: came ahead of their requests
}

func newTracer(w *worker, t *Tracing) *tracer {
	n := &tracer{w: w, rec: t.Exporter.NewRecorder(t.Share), moved: map[spanPlace]*trace.Span{}}
	n.timer.Owner = n
	n.rec.First = func() { w.loop.Start(&n.timer, trace.BatchAge) }
	return n
}

// Expire hands over what has waited for long enough.
func (t *tracer) Expire() { t.rec.Hand() }

// trace takes over whether a snapshot has tracing. Its tracer is made with the first that does.
func (w *worker) trace(s *config.Snapshot) {
	all := w.engine.options.Tracing
	if all == nil {
		return
	}
	on := !all.OnDemand || s.Tracing != nil
	if w.tracer == nil && on {
		w.tracer = newTracer(w, all)
	}
	if t := w.tracer; t != nil {
		t.off = !on
		t.update(s)
	}
}

// update takes over the shares of a snapshot's listeners.
func (t *tracer) update(s *config.Snapshot) {
	t.shares = map[string]trace.Sampling{}
	for i := range s.Listeners {
		if l := &s.Listeners[i]; l.SamplePercent != nil {
			t.shares[l.Name] = trace.Percent(*l.SamplePercent)
		}
	}
}

// stop hands over the rest, when the loop has closed everything.
func (t *tracer) stop() {
	if t == nil {
		return
	}
	t.w.loop.Cancel(&t.timer)
	t.rec.Hand()
}

// begin makes the span of a request, whose context the carrier has; nil when it gets none.
func (t *tracer) begin(from *config.Listener, c *loop.Conn, to *goal, system trace.System) *trace.Span {
	share, own := t.shares[from.Name]
	if !own {
		share = t.rec.Share()
	}
	s := t.rec.Begin(&t.carrier, share)
	if s == nil {
		return nil
	}
	s.Start, s.System, s.Kind, s.Listener = to.began, system, trace.Client, from.Name
	if from.Direction == config.Inbound {
		s.Kind, s.Peer = trace.Server, peerOf(c)
	}
	if to.route != nil {
		s.RouteHost, s.Route = to.route.name.Host, to.route.name.Route
	}
	if to.cluster != nil {
		s.Cluster = to.cluster.name
	}
	to.span = s
	return s
}

// rpc begins the span of a Bolt or Dubbo request, which its goal was made for just now. What has no place for our span's id goes on
// as it came.
func (t *tracer) rpc(d *downstream, f rpcFrame, to *goal) {
	if t.off {
		return
	}
	w := t.w
	if f.reply.protocol == config.Dubbo {
		call := &w.dubboView.call
		t.carrier.Read(&w.dubboView, &trace.Dubbo)
		if s := t.begin(d.from, d.conn, to, trace.DubboRPC); s != nil {
			s.Set(trace.Method, call.Method)
			s.Set(trace.Service, call.Path)
			t.carrier.Rewrite(s.ID)
		}
		return
	}
	w.boltView.frame = bolt.Seen(f.raw)
	t.carrier.Read(&w.boltView, &trace.Bolt)
	if s := t.begin(d.from, d.conn, to, trace.BoltRPC); s != nil {
		key := w.boltView.frame.Key()
		s.Set(trace.Method, key.Method)
		s.Set(trace.Service, key.Service)
		if t.carrier.Rewrite(s.ID) {
			putID(config.Bolt, f.raw, f.reply.id) // for the checksum
		}
	}
}

// http1Headers are the fields of a request, as they are in the read buffer.
type http1Headers struct{ req *http1.Request }

// Header returns the first field of that name.
func (h *http1Headers) Header(name string) ([]byte, bool) { return h.req.Value(name) }

// web begins the span of an HTTP/1 request. It returns the traceparent that is to be added; empty for none.
func (t *tracer) web(c *httpClient, req *http1.Request, to *goal) string {
	if t.off {
		return ""
	}
	t.http1.req = req
	t.carrier.Read(&t.http1, &trace.HTTP)
	s := t.begin(c.from, c.conn, to, trace.HTTP1)
	if s == nil {
		return ""
	}
	path, _, _ := bytes.Cut(req.Target.Path, question)
	describeHTTP(s, req.Method, path, req.Target.Authority)
	if t.carrier.Rewrite(s.ID) || t.carrier.Present {
		return ""
	}
	return string(trace.AppendTraceparent(nil, s.Trace, s.ID))
}

func describeHTTP(s *trace.Span, method, path, authority []byte) {
	s.Set(trace.Method, method)
	s.Set(trace.Path, path)
	if i := bytes.LastIndexByte(authority, ':'); i >= 0 && bytes.IndexByte(authority[i:], ']') < 0 {
		authority = authority[:i]
	}
	s.Set(trace.Host, authority)
}

// http2Headers are the fields of a request.
type http2Headers struct{ fields *http2.Fields }

// Header returns the first field of that name.
func (h *http2Headers) Header(name string) ([]byte, bool) {
	value, ok, _ := h.fields.Values(name)
	return value, ok
}

// stream begins the span of an HTTP/2 request.
func (t *tracer) stream(x *http2Exchange, f *http2.Fields, to *goal) {
	if t.off {
		return
	}
	t.http2.fields = f
	t.carrier.Read(&t.http2, &trace.HTTP)
	system := trace.HTTP2
	if x.grpc {
		system = trace.GRPC
	}
	s := t.begin(x.client.from, x.client.conn, to, system)
	if s == nil {
		return
	}
	path, _, _ := bytes.Cut(f.Path(), question)
	if x.grpc {
		service, method, _ := bytes.Cut(bytes.TrimPrefix(path, rootPath), rootPath)
		s.Set(trace.Method, method)
		s.Set(trace.Service, service)
	} else {
		describeHTTP(s, f.Method(), path, f.Authority())
	}
	switch {
	case t.carrier.Rewrite(s.ID):
		f.Rewritten()
	case !t.carrier.Present:
		f.Add("traceparent", string(trace.AppendTraceparent(nil, s.Trace, s.ID)))
	}
}
