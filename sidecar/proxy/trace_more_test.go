package proxy_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/config"
)

// newOrigin2 is newOrigin for HTTP/2.
func newOrigin2(t *testing.T, answer func(n int64, w http.ResponseWriter, r *http.Request)) netip.AddrPort {
	t.Helper()
	var seen atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(seen.Add(1), w, r) }))
	s.Config.Protocols = onlyHTTP2()
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().(*net.TCPAddr).AddrPort()
}

// callWithStatus makes a call that is answered with a code, or not at all.
func callWithStatus(t *testing.T, c pb.TestServiceClient, code codes.Code) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	in := &pb.SimpleRequest{}
	if code != codes.OK {
		in.ResponseStatus = &pb.EchoStatus{Code: int32(code), Message: "as wished"}
	}
	_, _ = c.UnaryCall(ctx, in)
}

// TestAListenerHasItsOwnShare: of requests without a context; those with one are taken at their word.
func TestAListenerHasItsOwnShare(t *testing.T) {
	for name, tc := range map[string]struct {
		percent *float64
		want    int
	}{"none": {new(float64), 1}, "the process's": {nil, 2}} {
		t.Run(name, func(t *testing.T) {
			c := traced(t, 100)
			to, call := serveHTTP1Wire(t)
			addr := freePort(t)
			s := inbound(addr, config.HTTP1, to)
			s.Listeners[0].SamplePercent = tc.percent
			e := started(t, 1, s)
			call(t, addr)
			call(t, addr, "traceparent", w3c+"-01")
			if spans := c.all(t, e); len(spans) != tc.want {
				t.Errorf("%d spans, want %d: %+v", len(spans), tc.want, spans)
			}
		})
	}
	bad := inbound(freePort(t), config.HTTP1, freePort(t))
	much := 101.0
	bad.Listeners[0].SamplePercent = &much
	if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), "101 percent") {
		t.Errorf("101 percent: %v", err)
	}
}

// TestARuleMayChangeTheTraceparent: then it is not there twice.
func TestARuleMayChangeTheTraceparent(t *testing.T) {
	traced(t, 100)
	o := newOrigin(t, statusOnly(200))
	addr := freePort(t)
	edit := &config.Edit{Request: []change.Field{{Op: change.Set, Name: "Traceparent", Value: w3c + "-00"}}}
	started(t, 1, ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": o.addr}, config.Route{Name: "r", Cluster: "v1", Edit: edit}))
	askHTTP(web(addr))
	o.mu.Lock()
	defer o.mu.Unlock()
	if got := o.last.Header.Values("traceparent"); len(got) != 1 || got[0] != w3c+"-00" {
		t.Errorf("the endpoint has seen %q", got)
	}
}

// TestATunnelHasASpan: it ends with the tunnel, and well.
func TestATunnelHasASpan(t *testing.T) {
	c := traced(t, 100)
	to, _ := shop(t)
	addr := freePort(t)
	s := httpSnapshot(addr, to)
	from, next := started(t, 1, s), started2(t, s)
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	write(t, conn, []byte("GET /upgrade HTTP/1.1\r\nHost: shop.demo\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", res.StatusCode)
	}
	give(t, from, next)
	time.Sleep(20 * time.Millisecond)
	_ = conn.Close()
	until(t, "the tunnel is closed", func() bool { return next.Stats().Downstream[config.Outbound] == 0 })
	spans := c.all(t, from, next)
	if len(spans) != 1 || spans[0].failed || spans[0].took < 20*time.Millisecond {
		t.Fatalf("got %+v", spans)
	}
	spans[0].want(t, "http.response.status_code=101\naxle.failure=\naxle.moved=")
}
