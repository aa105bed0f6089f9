package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/axlemesh/axle/sidecar/accesslog"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// logTo takes the lines of every engine that a test makes, when it is set. With onDemand only listeners that ask for them have any.
var (
	logTo    io.Writer
	onDemand bool
)

// lines collects an access log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// logging makes the engines of a test log.
func logging(t *testing.T) *lines {
	l := &lines{}
	logTo = l
	t.Cleanup(func() { logTo = nil })
	return l
}

// testLog is the log of a new engine.
func testLog(t testing.TB, clock func() time.Duration) *accesslog.Writer {
	if logTo == nil {
		return nil
	}
	w := accesslog.New(accesslog.Options{Path: accesslog.Stdout, OnDemand: onDemand, Stdout: logTo, Now: time.Now, Clock: clock, Log: logr.Discard()})
	t.Cleanup(func() { w.Close(context.Background()) })
	return w
}

// wait returns the lines when there are n.
func (l *lines) wait(t *testing.T, n int) (all []map[string]any) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return bytes.Count(l.text.Bytes(), []byte("\n"))
	}
	for deadline := time.Now().Add(5 * time.Second); count() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d lines, want %d", count(), n)
		}
	}
	time.Sleep(30 * time.Millisecond) // a line too many would come now
	if got := count(); got != n {
		t.Errorf("%d lines, want %d", got, n)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.text.Bytes()) {
		var one map[string]any
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, one)
	}
	return all
}

// told compares a line with what it must say; values that are functions check.
func told(t *testing.T, got, want map[string]any) {
	t.Helper()
	for name, v := range want {
		if diff := cmp.Diff(v, got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range []string{"time", "duration_us", "client"} {
		if got[name] == nil {
			t.Errorf("no %s in %v", name, got)
		}
	}
	if took, up := got["duration_us"].(float64), got["upstream_us"]; up != nil && up.(float64) > took {
		t.Errorf("the endpoint took %v us of %v", up, took)
	}
}

func TestAccessLog(t *testing.T) {
	const trace = "0af7651916cd43dd8448eb211c80319c"
	cases := map[string]struct {
		ask  func(t *testing.T, addr netip.AddrPort)
		snap func(t *testing.T, addr netip.AddrPort) *config.Snapshot
		want map[string]any
	}{
		"HTTP/1": {
			func(t *testing.T, addr netip.AddrPort) {
				rawHTTP(t, addr, "POST /echo?a=\"b HTTP/1.1\r\nHost: shop.demo\r\nConnection: close\r\nX-Request-Id: r-1\r\ntraceparent: 00-"+trace+"-b7ad6b7169203331-01\r\nContent-Length: 4\r\n\r\nbody")
			},
			func(t *testing.T, addr netip.AddrPort) *config.Snapshot {
				to, _ := shop(t)
				return httpSnapshot(addr, to)
			},
			map[string]any{
				"direction": "outbound", "protocol": "http1", "listener": "http", "host": "shop.demo", "route": "default", "cluster": "shop", "method": "POST",
				"path": "/echo?a=\"b", "authority": "shop.demo", "status": 200., "flags": "-", "bytes_in": 4., "bytes_out": 4., "tries": 1., "trace_id": trace, "request_id": "r-1",
			},
		},
		"HTTP/1 that no route takes": {
			func(t *testing.T, addr netip.AddrPort) {
				rawHTTP(t, addr, "GET / HTTP/1.1\r\nHost: nobody.demo\r\nConnection: close\r\nb3: "+trace+"-e457b5a2e4d86bd1-1\r\n\r\n")
			},
			func(_ *testing.T, addr netip.AddrPort) *config.Snapshot { return httpSnapshot(addr, addr) },
			map[string]any{"protocol": "http1", "host": "-", "route": "-", "cluster": nil, "endpoint": nil, "status": 404., "flags": "no_route", "tries": 0., "upstream_us": nil, "trace_id": trace},
		},
		"HTTP/2": {
			func(t *testing.T, addr netip.AddrPort) {
				if _, err := ask2(web2(t, addr), "POST", "/echo", strings.NewReader("twelve bytes")); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, addr netip.AddrPort) *config.Snapshot {
				to, _ := shop2(t)
				return http2Snapshot(addr, to)
			},
			map[string]any{"protocol": "http2", "host": "shop.demo", "method": "POST", "path": "/echo", "status": 200., "grpc_status": nil, "flags": "-", "bytes_in": 12., "bytes_out": 12., "tries": 1.},
		},
		"gRPC": {
			func(t *testing.T, addr netip.AddrPort) {
				ctx := metadata.AppendToOutgoingContext(t.Context(), "sofa-traceid", "0a0fe8ec15", "x-request-id", "r-2")
				if _, err := dialGRPC(t, addr, "shop.demo").EmptyCall(ctx, &pb.Empty{}); err == nil {
					t.Fatal("the server knows this call")
				}
			},
			func(t *testing.T, addr netip.AddrPort) *config.Snapshot {
				to, _ := serveGRPC(t)
				return http2Snapshot(addr, to)
			},
			map[string]any{
				"protocol": "grpc", "path": "/grpc.testing.TestService/EmptyCall", "status": nil, "grpc_status": 12., "flags": "-", "tries": 1., "trace_id": "0a0fe8ec15", "request_id": "r-2",
			},
		},
		"Bolt": {
			func(t *testing.T, addr netip.AddrPort) {
				request := headed(7, []byte("body"), "sofa_head_method_name", "pay", "rpc_trace_context.sofaTraceId", "0a0fe8ec16", "service", echoService)
				if _, err := askOnce(t, addr, request); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, addr netip.AddrPort) *config.Snapshot { return snapshot(addr, serve(t, nil)) },
			map[string]any{"protocol": "bolt", "host": echoService, "route": "default", "service": echoService, "method": "pay", "status": 0., "flags": "-", "tries": 1., "trace_id": "0a0fe8ec16"},
		},
		"Bolt, with a newer SOFATracer": {
			func(t *testing.T, addr netip.AddrPort) {
				request := headed(7, []byte("body"), "new_rpc_trace_context", "tcid=0a0fe8ec17&spid=0&pspid=&sample=true&", "service", echoService)
				if _, err := askOnce(t, addr, request); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, addr netip.AddrPort) *config.Snapshot { return snapshot(addr, serve(t, nil)) },
			map[string]any{"protocol": "bolt", "host": echoService, "service": echoService, "status": 0., "trace_id": "0a0fe8ec17"},
		},
		"Dubbo": {
			func(t *testing.T, addr netip.AddrPort) {
				talkDubbo(t, addr, 1, dubboFrame(flagRequest, 0, 7, dubboCall(echoDubbo, "pay", nil, "traceparent", "00-"+trace+"-b7ad6b7169203331-01")))
			},
			func(t *testing.T, addr netip.AddrPort) *config.Snapshot {
				return dubboSnapshot(addr, dubboServer(t, "s", nil))
			},
			map[string]any{"protocol": "dubbo", "host": echoDubbo, "service": echoDubbo, "method": "pay", "status": 20., "flags": "-", "tries": 1., "trace_id": trace},
		},
		"an endpoint that cannot be reached": {
			func(t *testing.T, addr netip.AddrPort) { _, _ = askOnce(t, addr, frame(1, 7, echoService, nil)) },
			func(t *testing.T, addr netip.AddrPort) *config.Snapshot {
				return snapshot(addr, &server{addr: freePort(t)})
			},
			map[string]any{"protocol": "bolt", "status": 5., "flags": "connect", "tries": 0., "endpoint": nil},
		},
		"tcp": {
			func(t *testing.T, addr netip.AddrPort) {
				conn, err := net.Dial("tcp", addr.String())
				if err != nil {
					t.Fatal(err)
				}
				_, _ = conn.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			},
			func(t *testing.T, addr netip.AddrPort) *config.Snapshot {
				to, _ := shop(t)
				return tcpSnapshot(addr, to)
			},
			map[string]any{"protocol": "tcp", "direction": "inbound", "route": "-", "status": nil, "flags": "-", "bytes_in": 18., "tries": 1., "method": nil},
		},
		"a tunnel": {
			func(t *testing.T, addr netip.AddrPort) {
				conn, err := net.Dial("tcp", addr.String())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				_, _ = conn.Write([]byte("GET /upgrade HTTP/1.1\r\nHost: shop.demo\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello"))
				r := bufio.NewReader(conn)
				for line := ""; line != "\r\n"; {
					if line, err = r.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := io.ReadFull(r, make([]byte, 5)); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, addr netip.AddrPort) *config.Snapshot {
				to, _ := shop(t)
				return httpSnapshot(addr, to)
			},
			map[string]any{"protocol": "http1", "path": "/upgrade", "status": 101., "flags": "-", "bytes_in": 5., "bytes_out": 5.},
		},
		"a client that leaves": {
			func(t *testing.T, addr netip.AddrPort) {
				conn, err := net.Dial("tcp", addr.String())
				if err != nil {
					t.Fatal(err)
				}
				_, _ = conn.Write([]byte("POST /slow HTTP/1.1\r\nHost: shop.demo\r\nContent-Length: 1\r\n\r\nx"))
				time.Sleep(200 * time.Millisecond)
				_ = conn.(*net.TCPConn).SetLinger(0) // it is not read while it waits: only a reset is noticed at once
				_ = conn.Close()
			},
			func(t *testing.T, addr netip.AddrPort) *config.Snapshot {
				return httpSnapshot(addr, listenTCP(t).Addr().(*net.TCPAddr).AddrPort()) // never answers
			},
			map[string]any{"path": "/slow", "status": nil, "flags": "client_gone", "bytes_in": 1., "tries": 1.},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			log, addr := logging(t), freePort(t)
			e := started(t, 1, tc.snap(t, addr))
			tc.ask(t, addr)
			got := log.wait(t, 1)[0]
			told(t, got, tc.want)
			if s := e.Stats(); s.Logged != 1 || s.LogFull+s.LogLost != 0 {
				t.Errorf("%d lines are counted, %d and %d dropped", s.Logged, s.LogFull, s.LogLost)
			}
		})
	}
}

func TestAccessLogNamesThePeer(t *testing.T) {
	log, addr, a := logging(t), freePort(t), newAuthority(t)
	s := snapshot(addr, serve(t, nil))
	s.Listeners[0].TLS = a.inbound()
	started(t, 1, s)
	c := secureDial(t, addr, a.client(0))
	if err := c.ask([]byte("x")); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	if got, _ := log.wait(t, 1)[0]["peer"].(string); !strings.HasPrefix(got, "spiffe://") {
		t.Errorf("peer %q", got)
	}
}

// TestAMovedRequestIsLoggedOnce, by the process that ends it, with what the one before knew.
func TestAMovedRequestIsLoggedOnce(t *testing.T) {
	log, addr := logging(t), freePort(t)
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	o := newOrigin(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first ")
		w.(http.Flusher).Flush()
		<-hold
		_, _ = io.WriteString(w, "second")
	})
	t.Cleanup(release) // before the origin waits for its requests
	s := httpSnapshot(addr, o.addr)
	from, conn := firstOf(t, s)
	var err error
	if _, err := conn.Write([]byte("GET /a HTTP/1.1\r\nHost: shop.demo\r\nX-Request-Id: r-9\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(30 * time.Millisecond)
	to := hop(t, from, 1, s)
	defer to.Stop()
	release()
	got := log.wait(t, 1)[0]
	told(t, got, map[string]any{
		"listener": "http", "host": "shop.demo", "route": "default", "cluster": "shop", "endpoint": o.addr.String(), "client": conn.LocalAddr().String(),
		"method": "GET", "path": "/a", "status": 200., "flags": "-", "tries": 1., "request_id": "r-9",
	})
	if took, out := got["duration_us"].(float64), got["bytes_out"].(float64); took < 30_000 || out < 12 {
		t.Errorf("%v us, %v bytes", took, out)
	}
	if c := to.Stats().Series; len(c) != 1 {
		t.Errorf("the new process counts %+v", c)
	}
}

// firstOf is a first generation that serves, and a client of its first listener.
func firstOf(t *testing.T, s *config.Snapshot) (generation, net.Conn) {
	t.Helper()
	e, set := newEngine(t, 1, 1)
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	conn, err := net.Dial("tcp", s.Listeners[0].Address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return generation{e, set, 1}, conn
}

// TestEveryRequestIsLoggedOnce runs loads that are handed over with a log: allEnded counts the lines.
func TestEveryRequestIsLoggedOnce(t *testing.T) {
	for name, load := range map[string]func(*testing.T){
		"bolt": TestHopsUnderLoad, "dubbo": TestDubboHopsUnderLoad, "http": TestHTTPHopsUnderLoad, "http2": TestHTTP2HopsUnderLoad,
	} {
		t.Run(name, func(t *testing.T) {
			logging(t)
			load(t)
		})
	}
}

// logged checks that there are as many lines as requests, when a test logs.
func logged(t *testing.T, s proxy.Stats, requests uint64) {
	t.Helper()
	l, ok := logTo.(*lines)
	if !ok {
		return
	}
	for _, line := range l.wait(t, int(requests)) {
		if line["host"] == "" || line["listener"] == nil {
			t.Errorf("line %v", line)
		}
	}
	if s.Logged != requests || s.LogFull > 0 {
		t.Errorf("%d lines are counted, %d dropped; want %d", s.Logged, s.LogFull, requests)
	}
}

// TestALoggedRequestAllocatesNothing either.
func TestALoggedRequestAllocatesNothing(t *testing.T) {
	logTo = io.Discard
	t.Cleanup(func() { logTo = nil })
	t.Run("bolt", func(t *testing.T) {
		answer := make([]byte, len(ruledRequest)-2)
		conn := ruledConn(t, byRules["one cluster"], answer)
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		exchange(t, conn, ruledRequest, answer, 3000)
		var before, after runtime.MemStats
		const requests = 10_000 // as allocatesNothing has it
		runtime.ReadMemStats(&before)
		exchange(t, conn, ruledRequest, answer, requests)
		runtime.ReadMemStats(&after)
		if per := float64(after.Mallocs-before.Mallocs) / requests; per > 0.01 {
			t.Errorf("%.3f allocations per request, want 0", per)
		}
	})
	t.Run("http", func(t *testing.T) {
		body := fmt.Sprintf("Content-Length: %d\r\n\r\n%sEND!", 1004, strings.Repeat("0123456789", 100))
		allocatesNothing(t, "POST /a?b=c HTTP/1.1\r\nHost: shop.demo\r\nX-Request-Id: 7\r\n"+body, "END!", "HTTP/1.1 200 OK\r\n"+body, config.Route{Cluster: "shop"})
	})
}
