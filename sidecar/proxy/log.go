package proxy

import (
	"bytes"
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/axlemesh/axle/sidecar/accesslog"
	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/codec/dubbo"
	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/route"
	"github.com/axlemesh/axle/sidecar/trace"
)

// The access log's entries are filled in here. Without one worker.log is nil, no account has a line, and each of these
// functions is behind a comparison with nil.

// relog takes over what a snapshot's listeners log. An end of the writer is made with the first that does.
func (w *worker) relog(s *config.Snapshot) {
	to := w.engine.options.AccessLog
	if to == nil {
		return
	}
	w.filters = map[string]*accesslog.Filter{}
	for i := range s.Listeners {
		if l := &s.Listeners[i]; l.AccessLog != nil {
			w.filters[l.Name] = l.AccessLog
		}
	}
	if w.log == nil && (len(w.filters) > 0 || to.Default() != nil) {
		w.log = to.Ring()
	}
}

// filter of a listener's requests, whose connection may be older than what the listener logs now; nil for none.
func (w *worker) filter(listener string) *accesslog.Filter {
	if f := w.filters[listener]; f != nil {
		return f
	}
	return w.engine.options.AccessLog.Default()
}

// caller is what a log says of the client of a connection; it is looked up once.
type caller struct {
	known bool
	addr  netip.AddrPort
	id    []byte
}

func (c *caller) of(conn *loop.Conn) *caller {
	if c.known || conn == nil || conn.Closed() {
		return c
	}
	c.known, c.addr = true, peerOf(conn)
	if s, ok := conn.Cipher().(*secured); ok && len(s.chain) > 0 {
		c.id = identity(s.chain[0])
	}
	return c
}

// identity is the name in a certificate that a log shows.
func identity(der []byte) []byte {
	cert, err := x509.ParseCertificate(der)
	switch {
	case err != nil:
		return nil
	case len(cert.URIs) > 0:
		return []byte(cert.URIs[0].String())
	case len(cert.DNSNames) > 0:
		return []byte(cert.DNSNames[0])
	}
	return []byte(cert.Subject.String())
}

// line begins an entry, if the request is to have one.
func (w *worker) line(to *goal, from *config.Listener, c *caller) *accesslog.Entry {
	e := w.log.Take(w.filter(from.Name))
	if e == nil {
		return nil
	}
	e.Listener, e.Client = from.Name, c.addr
	to.line = e
	return e
}

// say adds the texts that all protocols have, behind those of their own.
func say(e *accesslog.Entry, v route.Request, traces []string, c *caller) {
	for _, name := range traces {
		if value, ok := v.Header(name); ok {
			e.Add(accesslog.TraceID, traceID(name, value))
			break
		}
	}
	if value, ok := v.Header("x-request-id"); ok {
		e.Add(accesslog.RequestID, value)
	}
	e.Add(accesslog.Peer, c.id)
}

// Where a request may name its trace: W3C Trace Context, B3 (one header, or several), SOFATracer.
const (
	traceparent = "traceparent"
	b3          = "b3"
	sofaContext = "new_rpc_trace_context"
)

var (
	httpTraces = []string{traceparent, b3, "x-b3-traceid", "sofa-traceid"}
	rpcTraces  = []string{traceparent, b3, "rpc_trace_context.sofaTraceId", sofaContext, "sofaTraceId"}
)

// traceID is the trace's part of a header.
func traceID(name string, value []byte) []byte {
	switch name {
	case traceparent:
		_, rest, _ := bytes.Cut(value, dash) // behind the version
		value, _, _ = bytes.Cut(rest, dash)
	case b3:
		value, _, _ = bytes.Cut(value, dash)
	case sofaContext:
		value, _, _ = trace.SOFAContext(value)
	}
	return value
}

var dash = []byte{'-'}

// logRPC begins the line of a Bolt or Dubbo request.
func (w *worker) logRPC(to *goal, d *downstream, f rpcFrame) {
	c := d.caller.of(d.conn)
	e := w.line(to, d.from, c)
	if e == nil {
		return
	}
	e.In = uint64(len(f.raw))
	if f.reply.protocol == config.Dubbo {
		call := &w.dubboView.call
		if call.Read(dubbo.Seen(f.raw)) == nil {
			w.serviceKey = call.AppendKey(w.serviceKey[:0])
			e.Add(accesslog.Method, call.Method)
			e.Add(accesslog.Service, w.serviceKey)
			say(e, &w.dubboView, rpcTraces, c)
		}
		return
	}
	frame := bolt.Seen(f.raw)
	key := frame.Key()
	e.Add(accesslog.Method, key.Method)
	e.Add(accesslog.Service, key.Service)
	w.boltView.frame = frame
	say(e, &w.boltView, rpcTraces, c)
}

// logHTTP begins the line of an HTTP/1 request.
func (c *httpClient) logHTTP(to *goal, req *http1.Request) {
	who := c.caller.of(c.conn)
	if e := c.w.line(to, c.from, who); e != nil {
		e.Add(accesslog.Method, req.Method)
		e.Add(accesslog.Path, req.Target.Path)
		e.Add(accesslog.Authority, req.Target.Authority)
		c.w.httpView.req = req
		say(e, &c.w.httpView, httpTraces, who)
	}
}

// logHTTP2 begins the line of an HTTP/2 request.
func (x *http2Exchange) logHTTP2(to *goal, f *http2.Fields) {
	who := x.client.caller.of(x.client.conn)
	if e := x.w.line(to, x.client.from, who); e != nil {
		e.Add(accesslog.Method, f.Method())
		e.Add(accesslog.Path, f.Path())
		e.Add(accesslog.Authority, f.Authority())
		x.w.http2.view.fields = f
		say(e, &x.w.http2.view, httpTraces, who)
	}
}

// logTCP begins the line of a plain connection.
func (p *pair) logTCP(to *goal) {
	var c caller
	if e := p.w.line(to, p.from, c.of(p.down)); e != nil {
		e.Add(accesslog.Peer, c.id)
	}
}

// logTries notes that the request is sent to an endpoint, for its line.
func logTries(e *accesslog.Entry, c *cluster, at netip.AddrPort, now time.Duration) {
	e.Cluster, e.Endpoint, e.Sent, e.Heard = c.name, at, now, 0
	e.Tries++
}

// finishLine gives the line of a request that has ended to the writer.
func (w *worker) finishLine(a *account, now time.Duration, code Code, flag Flag) {
	e, name := a.line, &a.tally.name
	a.line = nil
	e.Began, e.Took = a.began, now-a.began
	e.Direction, e.Protocol, e.Host, e.Route = name.Direction.String(), name.Protocol.String(), name.Host, name.Route
	e.Flag = flag.String()
	if name.Protocol == SpokenGRPC {
		e.GRPC = code.Status()
	} else {
		e.Status = code.Status()
	}
	logged, dropped := w.log.Put(e, ClassOf(name.Protocol, code, flag) != ClassOK || flag != FlagNone)
	if logged {
		w.count.Logged++
	}
	if dropped {
		w.count.LogFull++
	}
}
