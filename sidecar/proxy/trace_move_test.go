package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestASpanMoves: a request that is under way when its connections move has one span, from its first moment to its answer, and the
// next process ends it.
func TestASpanMoves(t *testing.T) {
	wait, asked := make(chan struct{}), make(chan string, 1)
	held := func(_ int64, w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("traceparent")
		<-wait
		w.WriteHeader(201)
	}
	cases := map[string]struct {
		protocol config.Protocol
		ask      func(t *testing.T, addr netip.AddrPort)
		status   string
	}{
		"http1": {config.HTTP1, func(_ *testing.T, addr netip.AddrPort) { askHTTP(web(addr)) }, "http.response.status_code=201\nhttp.request.method=PUT\nurl.path=/orders/1"},
		"http2": {config.HTTP2, func(t *testing.T, addr netip.AddrPort) { askHTTP(web2(t, addr)) }, "http.response.status_code=201\nhttp.request.method=PUT\nurl.path=/orders/1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			wait = make(chan struct{})
			to := speakHTTP(t, tc.protocol, held)
			c := traced(t, 100)
			addr := freePort(t)
			s := ruled(addr, tc.protocol, map[string]netip.AddrPort{"v1": to}, config.Route{Name: "r", Cluster: "v1"})
			from, next := started(t, 1, s), started2(t, s)
			done := make(chan struct{})
			go func() { tc.ask(t, addr); close(done) }()
			parent := <-asked
			time.Sleep(30 * time.Millisecond)
			give(t, from, next)
			close(wait)
			<-done
			from.Stop()
			if n := c.exporters[0].Counts(); n.Sent > 0 {
				t.Errorf("the donor has ended spans: %+v", n)
			}
			spans := c.all(t, next)
			if len(spans) != 1 || spans[0].took < 30*time.Millisecond || spans[0].failed || parent != "00-"+spans[0].trace+"-"+spans[0].id+"-01" {
				t.Fatalf("the endpoint has seen %q; spans: %+v", parent, spans)
			}
			spans[0].want(t, tc.status+"\naxle.route.name=r\naxle.cluster=v1\naxle.listener=out\naxle.moved=\nnetwork.peer.port="+fmt.Sprint(to.Port()))
		})
	}
}

func TestABoltSpanMoves(t *testing.T) {
	for name, route := range map[string]config.Route{
		"a plain route": {Name: "r", Cluster: "v1"},
		"a route with a plan": {Name: "r", Cluster: "v1", Attempts: 5, Retry: &config.Retry{
			On: config.RetryServerError, AnyMethod: true, Backoff: time.Millisecond, MaxBackoff: time.Millisecond,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := traced(t, 100)
			b, addr := newBackend(t), freePort(t)
			s := ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": b.ln.Addr().(*net.TCPAddr).AddrPort()}, route)
			from, next := started(t, 1, s), started2(t, s)
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			write(t, conn, headed(77, nil, "service", echoService, "traceparent", w3c+"-01", "sofa_head_method_name", "pay"))
			b.accept(t)
			m := b.read(t)
			give(t, from, next)
			retries := ""
			if route.Retry != nil { // it is sent again by the next process
				busy(b, m)
				m = b.read(t)
				retries = "1"
			}
			write(t, b.conn, frame(0, m.id, "", nil))
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.ReadFull(conn, make([]byte, 20)); err != nil {
				t.Fatal(err)
			}
			spans := c.all(t, from, next)
			if len(spans) != 1 || spans[0].parent != appSpan || spans[0].trace != appTrace || spans[0].failed {
				t.Fatalf("spans: %+v", spans)
			}
			spans[0].want(t, "rpc.service="+echoService+"\nrpc.method=pay\nrpc.response.status_code=0\naxle.route.name=r\naxle.moved=\naxle.retries="+retries)
		})
	}
}

// TestSpansHopUnderLoad: of clients that never retry, every request has one span, whatever process it began in.
func TestSpansHopUnderLoad(t *testing.T) {
	jitter := func(n int64) time.Duration { return time.Duration(n%17) * time.Millisecond }
	c := traced(t, 100)
	bolt, web := serve(t, jitter), newOrigin2(t, func(n int64, _ http.ResponseWriter, _ *http.Request) { time.Sleep(jitter(n)) })
	dubbo := dubboServer(t, "d", func(id uint64) time.Duration { return jitter(int64(id & 0xffff)) })
	grpcTo, _ := serveGRPC(t)
	addrs := []netip.AddrPort{freePort(t), freePort(t), freePort(t), freePort(t)}
	s := snapshot(addrs[0], bolt)
	for i, more := range []*config.Snapshot{http2Snapshot(addrs[1], web), dubboSnapshot(addrs[2], dubbo), http2Snapshot(addrs[3], grpcTo)} {
		more.Listeners[0].Name = fmt.Sprint("out", i)
		to := more.Clusters["shop"]
		if to == nil {
			to = more.Clusters["echo"]
		}
		to.Name = fmt.Sprint("c", i)
		more.Listeners[0].Cluster = to.Name
		s.Listeners = append(s.Listeners, more.Listeners[0])
		s.Clusters[to.Name] = to
	}
	e, set := newEngine(t, 1, 2)
	now := generation{e, set, 1}
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	asked := spanLoad(t, addrs, func() {
		for i := range 8 {
			time.Sleep(40 * time.Millisecond)
			now = hop(t, now, 1+i%2, s)
		}
	})
	spans := c.all(t, now.Engine)
	ids, moved, failed := map[string]bool{}, 0, 0
	for _, one := range spans {
		ids[one.id] = true
		if one.attributes["axle.moved"] != "" {
			moved++
		}
		if one.failed {
			failed++
		}
	}
	t.Logf("%d requests, %d spans, %d of those ended elsewhere", asked, len(spans), moved)
	if len(spans) != asked || len(ids) != asked || failed > 0 || moved > 0 {
		t.Errorf("%d requests, %d spans of %d ids, %d failed, %d moved", asked, len(spans), len(ids), failed, moved)
	}
}

// spanLoad makes calls of every kind while do goes on, and returns how many.
func spanLoad(t *testing.T, addrs []netip.AddrPort, do func()) (asked int) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	keep := func(call func() error) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := call(); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				asked++
				mu.Unlock()
			}
		})
	}
	var settle []func(*testing.T)
	for range 6 {
		b, d := dial(t, addrs[0]), dialDubbo(t, addrs[2], "d")
		settle = append(settle, b.settle, d.settle)
		keep(func() error { time.Sleep(time.Millisecond); return b.ask([]byte("x")) })
		keep(func() error { time.Sleep(time.Millisecond); return d.ask([]byte("x")) })
		web, rpc := web2(t, addrs[1]), dialGRPC(t, addrs[3], "shop.demo")
		keep(func() error { _, err := ask2(web, http.MethodGet, "/", nil); return err })
		keep(func() error {
			_, err := rpc.UnaryCall(context.Background(), &pb.SimpleRequest{Payload: payload(100)})
			return err
		})
	}
	do()
	close(stop)
	wg.Wait()
	for _, fn := range settle {
		fn(t)
	}
	return asked
}

// TestStatesWithSpans runs what moves connections at every byte, and the aborts, with a span for each request.
func TestStatesWithSpans(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"bolt requests": TestFreezeAtEveryByteOfTheRequests, "bolt answers": TestFreezeAtEveryByteOfTheAnswers, "http2": TestHTTP2FreezeAtEveryByte,
		"plans": TestAPlanMoves, "a Bolt plan": TestABoltPlanMoves, "http2 aborts": TestHTTP2SurvivesAborts,
	} {
		t.Run(name, func(t *testing.T) {
			c := traced(t, 100)
			test(t)
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, one := range c.spans {
				if one.attributes["axle.moved"] != "" {
					t.Errorf("a span has not moved with its request: %+v", one)
				}
			}
		})
	}
}

// TestNothingIsAllocatedWithoutASpan: tracing costs requests that have none no allocation and no system call.
func TestNothingIsAllocatedWithoutASpan(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"bolt": TestARequestAllocatesNothing, "dubbo": TestADubboRequestAllocatesNothing, "http1": TestAnHTTPRequestAllocatesNothing,
		"http2": TestAnHTTP2RequestAllocatesNothing,
	} {
		t.Run(name, func(t *testing.T) {
			c := traced(t, 1e-9) // each request asks for its chance
			test(t)
			for _, e := range c.exporters {
				if n := e.Counts(); n != (struct{ Sent, Dropped uint64 }{}) {
					t.Skipf("against all odds there are spans: %+v", n)
				}
			}
		})
	}
	t.Run("by its context", func(t *testing.T) {
		traced(t, 100)
		const fields = "Host: shop.demo\r\ntraceparent: " + w3c + "-00\r\nb3: 0\r\n\r\n"
		const ok = "HTTP/1.1 204 No Content\r\nServer: test\r\n\r\n"
		allocatesNothing(t, "GET /a HTTP/1.1\r\n"+fields, "\r\n\r\n", ok, config.Route{Cluster: "shop"})
	})
}
