package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/axlemesh/axle/sidecar/config"
)

// askHTTP asks for /orders/1, and does not mind the answer.
func askHTTP(c *http.Client) {
	req, err := http.NewRequest(http.MethodPut, "http://shop.demo:80/orders/1?secret=1", strings.NewReader("body"))
	if err != nil {
		return
	}
	if res, err := c.Do(req); err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

// TestHowAnHTTPSpanEnds: one span for each request, whatever becomes of it.
func TestHowAnHTTPSpanEnds(t *testing.T) {
	always := config.Fraction{Numerator: 1, Denominator: 1}
	patient := func(_ int64, w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	second := func(n int64, w http.ResponseWriter, _ *http.Request) {
		if n < 3 {
			w.WriteHeader(503)
		}
	}
	retry := &config.Retry{On: config.RetryServerError, Backoff: time.Millisecond, MaxBackoff: time.Millisecond}
	cases := map[string]struct {
		answer   func(int64, http.ResponseWriter, *http.Request)
		route    config.Route
		want     string
		failed   bool
		http1    bool // only
		impatent bool // the client leaves
	}{
		"well":                    {answer: statusOnly(200), want: "http.request.method=PUT\nurl.path=/orders/1\nserver.address=shop.demo\nhttp.response.status_code=200\nerror.type=\naxle.failure=\nurl.query="},
		"with the client's fault": {answer: statusOnly(404), want: "http.response.status_code=404\nerror.type=404", failed: true},
		"with a server's fault":   {answer: statusOnly(502), want: "http.response.status_code=502\nerror.type=502\naxle.failure=", failed: true},
		"tried again":             {answer: second, route: config.Route{Retry: retry, Attempts: 5}, want: "http.response.status_code=200\nhttp.request.resend_count=2\naxle.retries=2\nerror.type="},
		"too late":                {answer: patient, route: config.Route{Timeout: 20 * time.Millisecond}, want: "http.response.status_code=504\nerror.type=timeout\naxle.failure=timeout", failed: true},
		"by a rule":               {route: config.Route{Status: 403}, want: "http.response.status_code=403\nerror.type=403\naxle.failure=\naxle.cluster=", failed: true},
		"by a rule, well":         {route: config.Route{Status: 204}, want: "http.response.status_code=204\nerror.type="},
		"by a redirect":           {route: config.Route{Redirect: &config.Redirect{Status: 302, Host: "127.0.0.1", Port: 1}}, want: "http.response.status_code=302\nerror.type=\naxle.failure="},
		"by a fault":              {answer: statusOnly(200), route: config.Route{Fault: &config.Fault{Aborted: always, Status: 418}}, want: "http.response.status_code=418\naxle.failure=fault", failed: true},
		"behind a delay":          {answer: statusOnly(200), route: config.Route{Fault: &config.Fault{Delayed: always, Delay: 10 * time.Millisecond}}, want: "http.response.status_code=200"},
		"without its client":      {answer: patient, want: "axle.failure=client_gone\nhttp.response.status_code=", impatent: true},
		"by a reset":              {answer: reset, want: "axle.failure=upstream_closed\nhttp.response.status_code=502", failed: true, http1: true},
	}
	for name, tc := range cases {
		for version, p := range map[string]config.Protocol{"http1": config.HTTP1, "http2": config.HTTP2} {
			if tc.http1 && p == config.HTTP2 {
				continue
			}
			t.Run(version+" "+name, func(t *testing.T) {
				c := traced(t, 100)
				to := speakHTTP(t, p, tc.answer)
				addr := freePort(t)
				if tc.route.Name = "r"; tc.route.Status == 0 && tc.route.Redirect == nil {
					tc.route.Cluster = "v1"
				}
				e := started(t, 1, ruled(addr, p, map[string]netip.AddrPort{"v1": to}, tc.route))
				client := web(addr)
				if p == config.HTTP2 {
					client = web2(t, addr)
				}
				if tc.impatent {
					client.Timeout = 50 * time.Millisecond
				}
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				askHTTP(client)
				if tc.impatent {
					time.Sleep(20 * time.Millisecond) // until the sidecar has heard of it
				}
				spans := c.all(t, e)
				if len(spans) != 1 || spans[0].failed != tc.failed || spans[0].name != "PUT" {
					t.Fatalf("got %+v", spans)
				}
				spans[0].want(t, tc.want+"\naxle.route.name=r")
			})
		}
	}
}

// speakHTTP is an origin in one version of HTTP; without an answer there is nobody.
func speakHTTP(t *testing.T, p config.Protocol, answer func(int64, http.ResponseWriter, *http.Request)) netip.AddrPort {
	t.Helper()
	if answer == nil {
		return freePort(t)
	}
	if p == config.HTTP1 {
		return newOrigin(t, answer).addr
	}
	return newOrigin2(t, answer)
}

// TestHowAnRPCSpanEnds is that for Bolt: one span for each request, whatever becomes of it.
func TestHowAnRPCSpanEnds(t *testing.T) {
	closing := serve(t, nil)
	closing.closeWith.Store(true)
	up := serve(t, nil)
	silent := serve(t, func(int64) time.Duration { return time.Minute })
	nobody := &server{addr: freePort(t)}
	quick := headed(7, nil, "service", echoService, "sofa_head_method_name", "pay")
	quick[12], quick[13] = 0, 50 // its own timeout: 50 ms
	oneway := headed(7, nil, "service", echoService, "sofa_head_method_name", "pay")
	oneway[1] = 2
	cases := map[string]struct {
		to     *server
		raw    []byte
		name   string
		want   string
		failed bool
	}{
		"well":              {up, headed(7, nil, "service", echoService, "sofa_head_method_name", "pay"), echoService + "/pay", "rpc.system=sofa_rpc\nrpc.service=" + echoService + "\nrpc.method=pay\nrpc.response.status_code=0\nerror.type=", false},
		"a oneway":          {up, oneway, echoService + "/pay", "rpc.response.status_code=\nerror.type=", false},
		"without a key":     {up, headed(7, nil, "sofa_head_method_name", "pay"), "pay", "axle.failure=no_route", true},
		"with nobody":       {nobody, quick, echoService + "/pay", "axle.failure=connect\nerror.type=connect", true},
		"with a hangup":     {closing, quick, echoService + "/pay", "axle.failure=upstream_closed", true},
		"without an answer": {silent, quick, echoService + "/pay", "axle.failure=timeout", true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := traced(t, 100)
			addr := freePort(t)
			e := started(t, 1, snapshot(addr, tc.to))
			if tc.raw[1] == 2 {
				conn, err := net.Dial("tcp", addr.String())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				write(t, conn, tc.raw)
				until(t, "the oneway is there", func() bool { return tc.to.oneways.Load() == 1 })
			} else if _, err := askOnce(t, addr, tc.raw); err != nil {
				t.Fatal(err)
			}
			spans := c.all(t, e)
			if len(spans) != 1 || spans[0].failed != tc.failed || spans[0].name != tc.name {
				t.Fatalf("got %+v", spans)
			}
			spans[0].want(t, tc.want)
		})
	}
}

// TestAnRPCSpanOfRetries: the call has one span.
func TestAnRPCSpanOfRetries(t *testing.T) {
	c := traced(t, 100)
	b, addr := newBackend(t), freePort(t)
	route := config.Route{Cluster: "v1", Retry: &config.Retry{On: config.RetryServerError, Backoff: time.Millisecond, MaxBackoff: time.Millisecond, AnyMethod: true}, Attempts: 5}
	e := started(t, 1, ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": b.ln.Addr().(*net.TCPAddr).AddrPort()}, route))
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	write(t, conn, headed(77, nil, "service", echoService, "traceparent", w3c+"-01"))
	b.accept(t)
	busy(b, b.read(t))
	m := b.read(t)
	answer := frame(0, m.id, "", nil)
	answer[10] = 0
	write(t, b.conn, answer)
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(conn, make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	spans := c.all(t, e)
	if len(spans) != 1 || spans[0].failed || spans[0].parent != appSpan {
		t.Fatalf("got %+v", spans)
	}
	spans[0].want(t, "axle.retries=1\nrpc.response.status_code=0")
}

func TestHowAGRPCSpanEnds(t *testing.T) {
	to, _ := serveGRPC(t)
	for code, failed := range map[codes.Code]bool{codes.OK: false, codes.NotFound: true, codes.Unavailable: true} {
		t.Run(code.String(), func(t *testing.T) {
			c := traced(t, 100)
			addr := freePort(t)
			e := started(t, 1, http2Snapshot(addr, to))
			callWithStatus(t, dialGRPC(t, addr, "shop.demo"), code)
			spans := c.all(t, e)
			if len(spans) != 1 || spans[0].failed != failed || spans[0].name != "grpc.testing.TestService/UnaryCall" {
				t.Fatalf("got %+v", spans)
			}
			spans[0].want(t, fmt.Sprintf("rpc.system=grpc\nrpc.service=grpc.testing.TestService\nrpc.method=UnaryCall\nrpc.grpc.status_code=%d", code))
		})
	}
	c := traced(t, 100)
	addr := freePort(t)
	e := started(t, 1, http2Snapshot(addr, to))
	callWithStatus(t, dialGRPC(t, addr, "nobody.demo"), codes.OK)
	spans := c.all(t, e)
	if len(spans) != 1 {
		t.Fatalf("got %+v", spans)
	}
	spans[0].want(t, "rpc.grpc.status_code=12\naxle.failure=no_route\nerror.type=no_route")
	c = traced(t, 100)
	addr = freePort(t)
	e = started(t, 1, http2Snapshot(addr, to))
	e.Relieve(sheds(config.PriorityHigh + 1))
	callWithStatus(t, dialGRPC(t, addr, "shop.demo"), codes.OK)
	if spans = c.all(t, e); len(spans) != 1 {
		t.Fatalf("got %+v", spans)
	}
	spans[0].want(t, "rpc.grpc.status_code=8\naxle.failure=shed\nerror.type=shed")
}
