package proxy_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/axlemesh/axle/sidecar/config"
)

const (
	appTrace  = "0af7651916cd43dd8448eb211c80319c"
	appSpan   = "b7ad6b7169203331"
	olderSpan = "05e3ac9a4f6e3b90"
	sofaTrace = "0a0fe8631571046378758100186220"
	w3c       = "00-" + appTrace + "-" + appSpan
)

// inbound is a sidecar in front of an application.
func inbound(addr netip.AddrPort, p config.Protocol, to netip.AddrPort) *config.Snapshot {
	return &config.Snapshot{
		Listeners: []config.Listener{{Name: "in", Address: addr, Protocol: p, Direction: config.Inbound, Cluster: "app"}},
		Clusters:  map[string]*config.Cluster{"app": {Name: "app", Connections: 1, ConnectTimeout: toConnect, Endpoints: []netip.AddrPort{to}}},
	}
}

// wire is a server that keeps the bytes of each request, which has as many as it is told, and answers.
func wire(t *testing.T, size func() int, answer func(request []byte) []byte) (netip.AddrPort, <-chan []byte) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	seen := make(chan []byte, 10)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				for {
					b := make([]byte, size())
					if _, err := io.ReadFull(conn, b); err != nil {
						return
					}
					seen <- b
					_, _ = conn.Write(answer(b))
				}
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort(), seen
}

// called sends a request and reads the answer, then returns what the server has seen.
func called(t *testing.T, addr netip.AddrPort, request []byte, answer int, seen <-chan []byte) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	write(t, conn, request)
	if _, err := io.ReadFull(conn, make([]byte, answer)); err != nil {
		t.Fatal(err)
	}
	return <-seen
}

// speaker makes calls in one protocol. It returns what the server has seen of the headers, joined by a bar.
type speaker struct {
	protocol config.Protocol
	serve    func(t *testing.T) (netip.AddrPort, func(t *testing.T, addr netip.AddrPort, pairs ...string) string)
	host     string
}

var speakers = map[string]speaker{
	"http1":                {config.HTTP1, serveHTTP1Wire, "shop.demo"},
	"http2":                {config.HTTP2, serveHTTP2Wire, "shop.demo"},
	"grpc":                 {config.HTTP2, serveGRPCWire, "shop.demo"},
	"bolt":                 {config.Bolt, serveBoltWire(false), echoService},
	"bolt with a checksum": {config.Bolt, serveBoltWire(true), echoService},
	"dubbo":                {config.Dubbo, serveDubboWire, echoDubbo},
}

func serveHTTP1Wire(t *testing.T) (netip.AddrPort, func(*testing.T, netip.AddrPort, ...string) string) {
	seen := make(chan http.Header, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort(), func(t *testing.T, addr netip.AddrPort, pairs ...string) string {
		return askWith(t, web(addr), seen, pairs)
	}
}

func serveHTTP2Wire(t *testing.T) (netip.AddrPort, func(*testing.T, netip.AddrPort, ...string) string) {
	seen := make(chan http.Header, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	s.Config.Protocols = onlyHTTP2()
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort(), func(t *testing.T, addr netip.AddrPort, pairs ...string) string {
		return askWith(t, web2(t, addr), seen, pairs)
	}
}

func askWith(t *testing.T, c *http.Client, seen <-chan http.Header, pairs []string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://shop.demo/orders?secret=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		req.Header.Set(pairs[i], pairs[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	h := <-seen
	return contexts(func(name string) string { return strings.Join(h.Values(name), "+") })
}

// contexts are all values that tracing may have to do with.
func contexts(value func(string) string) string {
	var all []string
	for _, name := range []string{"traceparent", "tracestate", "b3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId", "X-B3-Sampled", "SOFA-TraceId", "SOFA-RpcId"} {
		all = append(all, value(name))
	}
	return strings.TrimRight(strings.Join(all, "|"), "|")
}

func serveGRPCWire(t *testing.T) (netip.AddrPort, func(*testing.T, netip.AddrPort, ...string) string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan metadata.MD, 1)
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen <- md
		return next(ctx, req)
	}))
	pb.RegisterTestServiceServer(s, &tester{})
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	return ln.Addr().(*net.TCPAddr).AddrPort(), func(t *testing.T, addr netip.AddrPort, pairs ...string) string {
		ctx := metadata.AppendToOutgoingContext(context.Background(), pairs...)
		if _, err := dialGRPC(t, addr, "shop.demo").UnaryCall(ctx, &pb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
		md := <-seen
		return contexts(func(name string) string { return strings.Join(md.Get(name), "+") })
	}
}

func serveBoltWire(sum bool) func(*testing.T) (netip.AddrPort, func(*testing.T, netip.AddrPort, ...string) string) {
	return func(t *testing.T) (netip.AddrPort, func(*testing.T, netip.AddrPort, ...string) string) {
		var size atomic.Int64
		idAt := 5
		if sum {
			idAt = 6
		}
		to, seen := wire(t, func() int { return int(size.Load()) }, func(b []byte) []byte { return frame(0, binary.BigEndian.Uint32(b[idAt:]), "", nil) })
		return to, func(t *testing.T, addr netip.AddrPort, pairs ...string) string {
			request := headed(77, []byte("body"), append(pairs, "sofa_head_method_name", "pay", "service", echoService)...)
			if sum {
				request = version2(request, true)
			}
			size.Store(int64(len(request)))
			answer := 20
			if sum {
				answer = 22
			}
			got := called(t, addr, request, answer, seen)
			copy(got[idAt:idAt+4], request[idAt:])
			if sum { // it is right, or the sidecars and this server had not taken the frame; and another one, as the id is
				request, got = request[:len(request)-4], got[:len(got)-4]
			}
			return rpcSeen(t, request, got, pairs)
		}
	}
}

func serveDubboWire(t *testing.T) (netip.AddrPort, func(*testing.T, netip.AddrPort, ...string) string) {
	var size atomic.Int64
	to, seen := wire(t, func() int { return int(size.Load()) }, func(b []byte) []byte { return dubboFrame(flagResponse, 20, binary.BigEndian.Uint64(b[4:]), nil) })
	return to, func(t *testing.T, addr netip.AddrPort, pairs ...string) string {
		request := dubboFrame(flagRequest, 0, 7, dubboCall(echoDubbo, "pay", []byte("arg"), pairs...))
		size.Store(int64(len(request)))
		got := called(t, addr, request, 16, seen)
		copy(got[4:12], request[4:])
		return rpcSeen(t, request, got, pairs)
	}
}

// rpcSeen returns the values that pairs have in got, whose other bytes have to be those of request.
func rpcSeen(t *testing.T, request, got []byte, pairs []string) string {
	t.Helper()
	values := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		at := bytes.Index(request, []byte(pairs[i+1]))
		values[pairs[i]] = string(got[at : at+len(pairs[i+1])])
		copy(got[at:], pairs[i+1])
	}
	if diff := cmp.Diff(request, got); diff != "" {
		t.Errorf("other bytes have changed (-sent +got):\n%s", diff)
	}
	return contexts(func(name string) string { return values[name] })
}

// everyContext is what may come together, none of it sampled.
var everyContext = []string{
	"traceparent", w3c + "-00", "tracestate", "vendor=x", "b3", appTrace + "-" + appSpan + "-0", "X-B3-TraceId", appTrace, "X-B3-SpanId", olderSpan,
	"X-B3-Sampled", "0", "SOFA-TraceId", sofaTrace, "SOFA-RpcId", "0.1",
}

// TestContextsPassUntouched: without a span nobody changes a byte, whether there is tracing or not.
func TestContextsPassUntouched(t *testing.T) {
	want := w3c + "-00|vendor=x|" + appTrace + "-" + appSpan + "-0|" + appTrace + "|" + olderSpan + "||0|" + sofaTrace + "|0.1"
	for name, speak := range speakers {
		for how, percent := range map[string]float64{"without tracing": -1, "not sampled": 100} {
			t.Run(name+" "+how, func(t *testing.T) {
				c := &collector{}
				if percent >= 0 {
					c = traced(t, percent)
				}
				to, call := speak.serve(t)
				addr := freePort(t)
				e := started(t, 1, inbound(addr, speak.protocol, to))
				if got := call(t, addr, everyContext...); got != want {
					t.Errorf("got\n%s, want\n%s", got, want)
				}
				if spans := c.all(t, e); len(spans) > 0 {
					t.Errorf("spans: %+v", spans)
				}
			})
		}
	}
}

// TestHTTP1HeadsPassUntouched: not even the order and the case of fields change.
func TestHTTP1HeadsPassUntouched(t *testing.T) {
	head := []byte("GET /a HTTP/1.1\r\nHost: shop.demo\r\nTraceParent: " + w3c + "-00\r\ntracestate: a=b, c=d\r\nB3: 0\r\n" +
		"x-b3-sampled: 0\r\nsofa-TraceId: " + sofaTrace + "\r\nSOFA-RpcId:  0.1 \r\n\r\n")
	const ok = "HTTP/1.1 204 No Content\r\n\r\n"
	to, seen := wire(t, func() int { return len(head) }, func([]byte) []byte { return []byte(ok) })
	traced(t, 100)
	addr := freePort(t)
	started(t, 1, inbound(addr, config.HTTP1, to))
	if diff := cmp.Diff(string(head), string(called(t, addr, head, len(ok), seen))); diff != "" {
		t.Errorf("head (-sent +got):\n%s", diff)
	}
}

// chain is how the spans of two sidecars hang together.
type chain struct {
	pairs []string
	trace string // of both; empty for what the first one has begun
	root  string // the parent of the first sidecar's span
	next  string // "child" when the second's is the first one's child, "sibling" when both have the same parent, "alone" for another trace
	seen  string // what the server has seen, with IN for the second span and OUT for the first, and TRACE
}

func TestSpansOfTwoSidecarsHangTogether(t *testing.T) {
	byW3C := chain{[]string{"traceparent", w3c + "-01", "tracestate", "a=b"}, appTrace, appSpan, "child", "00-" + appTrace + "-IN-01|a=b"}
	byB3 := chain{[]string{"b3", appTrace + "-" + appSpan + "-1-" + olderSpan}, appTrace, appSpan, "child", "||" + appTrace + "-IN-1-OUT"}
	byMany := chain{
		[]string{"X-B3-TraceId", appTrace, "X-B3-SpanId", appSpan, "X-B3-ParentSpanId", olderSpan, "X-B3-Sampled", "1"},
		appTrace, appSpan, "child", "|||" + appTrace + "|IN|OUT|1",
	}
	web := map[string]chain{
		"W3C": byW3C, "B3": byB3, "B3 in several": byMany,
		"none":       {nil, "", "", "child", "00-TRACE-IN-01"},
		"SOFATracer": {[]string{"SOFA-TraceId", sofaTrace, "SOFA-RpcId", "0.1"}, "00" + sofaTrace, "", "sibling", "|||||||" + sofaTrace + "|0.1"},
	}
	rpc := map[string]chain{"W3C": byW3C, "B3": byB3, "B3 in several": byMany, "none": {nil, "", "", "alone", ""}}
	bolt := map[string]chain{"SOFATracer": {
		[]string{"rpc_trace_context.sofaTraceId", sofaTrace, "rpc_trace_context.sofaRpcId", "0.1.2", "rpc_trace_context.sofaCallerApp", "checkout"},
		"00" + sofaTrace, "", "sibling", "",
	}}
	maps.Copy(bolt, rpc)
	all := map[string]map[string]chain{"http1": web, "http2": web, "grpc": web, "bolt": bolt, "bolt with a checksum": bolt, "dubbo": rpc}
	for name, speak := range speakers {
		for context, want := range all[name] {
			t.Run(name+" "+context, func(t *testing.T) { hangTogether(t, speak, want) })
		}
	}
}

func hangTogether(t *testing.T, speak speaker, want chain) {
	c := traced(t, 100)
	to, call := speak.serve(t)
	first, second := freePort(t), freePort(t)
	in := started(t, 1, inbound(second, speak.protocol, to))
	s := httpSnapshot(first, second)
	s.Listeners[0].Protocol = speak.protocol
	s.Hosts = map[string]*config.Host{speak.host: {Name: speak.host, Routes: []config.Route{{Name: "default", Cluster: "shop"}}}}
	out := started(t, 1, s)
	seen := call(t, first, want.pairs...)
	spans := c.all(t, out, in)
	if len(spans) != 2 {
		t.Fatalf("want two spans, got %+v", spans)
	}
	outer, inner := spans[0], spans[1]
	if want.trace != "" && outer.trace != want.trace || outer.parent != want.root {
		t.Errorf("the first span is %+v", outer)
	}
	want.seen = strings.NewReplacer("IN", inner.id, "OUT", outer.id, "TRACE", outer.trace).Replace(want.seen)
	if seen != want.seen {
		t.Errorf("the server has seen\n%s, want\n%s", seen, want.seen)
	}
	how := "alone"
	switch {
	case inner.trace == outer.trace && inner.parent == outer.id:
		how = "child"
	case inner.trace == outer.trace && inner.parent == outer.parent:
		how = "sibling"
	}
	if how != want.next {
		t.Errorf("the second span is %s (%+v of %+v), want %s", how, inner, outer, want.next)
	}
	outer.want(t, fmt.Sprintf("axle.listener=http\naxle.route.host=%s\naxle.route.name=default\naxle.cluster=shop\nnetwork.peer.port=%d", speak.host, second.Port()))
	inner.want(t, "axle.listener=in\naxle.cluster=app\nclient.address=127.0.0.1\nnetwork.peer.port=")
	for _, one := range spans {
		if one.failed || one.took <= 0 || one.took > 10*time.Second {
			t.Errorf("failed %v, took %s", one.failed, one.took)
		}
	}
}
