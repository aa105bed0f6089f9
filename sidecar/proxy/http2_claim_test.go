package proxy_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// TestHTTP2LimitsAcrossAHop: one stream holds a place in each process that it is in, and gives it back with its reset.
func TestHTTP2LimitsAcrossAHop(t *testing.T) {
	to, _ := shop2(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	s.Clusters["shop"].MaxRequests, s.Clusters["shop"].MaxConnections = 1, 1
	e, set := newEngine(t, 1, 1)
	now := generation{e, set, 1}
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	c := web2(t, addr)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	asking := sync.WaitGroup{}
	asking.Go(func() {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://shop.demo/silent", nil)
		if res, err := c.Do(req); err == nil {
			t.Errorf("status %d, want none", res.StatusCode)
			_ = res.Body.Close()
		}
	})
	until(t, "the request is sent", func() bool { return e.Stats().Waiting == 1 })
	now = hop(t, now, 1, s)
	defer now.Stop()
	for _, limit := range []string{"requests", "connections"} {
		if before, after := held(e, "shop", limit), held(now.Engine, "shop", limit); before != 0 || after != 1 {
			t.Errorf("%s: %d are counted in the first process and %d in the second, want 0 and 1", limit, before, after)
		}
	}
	if got, err := ask2(c, "GET", "/echo", nil); err != nil || got.status != 503 {
		t.Errorf("a request beside one that moved: %+v, %v; want status 503", got, err)
	}
	if n := now.Stats().Overflow[proxy.OverRequests]; n != 1 {
		t.Errorf("%d overflows, want 1", n)
	}
	cancel()
	asking.Wait()
	until(t, "nothing is held", func() bool { return held(now.Engine, "shop", "requests") == 0 })
	if got, err := ask2(c, "GET", "/echo", nil); err != nil || got.status != 200 {
		t.Errorf("a request after it: %+v, %v; want status 200", got, err)
	}
}

// TestHTTP2LimitsAreExactAfterManyHops is TestLimitsAreExactAfterManyHops for streams.
func TestHTTP2LimitsAreExactAfterManyHops(t *testing.T) {
	to, _ := shop2(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	shop := s.Clusters["shop"]
	shop.MaxRequests, shop.MaxConnections, shop.MaxPending, shop.MaxRetries = 1000, 1000, 1000, 1000
	shop.Balancing.Policy, shop.Outlier = config.PeakEWMA, strict()
	e, set := newEngine(t, 1, 1)
	now := generation{e, set, 1}
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	stop, asking := make(chan struct{}), sync.WaitGroup{}
	for range 5 {
		c := web2(t, addr)
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := ask2(c, "POST", "/echo", strings.NewReader("x")); err != nil || got.body != "x" {
					t.Errorf("%+v, %v; want x", got, err)
					return
				}
			}
		})
	}
	for i := range 6 {
		time.Sleep(50 * time.Millisecond)
		now = hop(t, now, 1+i%2, s)
	}
	defer now.Stop()
	close(stop)
	asking.Wait()
	for _, limit := range []string{"requests", "pending", "retries"} {
		until(t, "no "+limit+" are held", func() bool { return held(now.Engine, "shop", limit) == 0 })
	}
	until(t, "as many connections are held as there are", func() bool {
		return held(now.Engine, "shop", "connections") == int64(now.Stats().Upstream)
	})
	if s := now.Stats(); s.Ejected != 0 || s.Overflow != ([5]uint64{}) {
		t.Errorf("ejections %d, overflows %v; want none", s.Ejected, s.Overflow)
	}
}

// TestGRPCVerdictsEject: what an application says about a call does not speak against its endpoint, what its server says does.
func TestGRPCVerdictsEject(t *testing.T) {
	for name, tc := range map[string]struct {
		code  codes.Code
		eject uint64
	}{
		"unavailable": {codes.Unavailable, 1},
		"internal":    {codes.Internal, 1},
		"not found":   {codes.NotFound, 0},
	} {
		t.Run(name, func(t *testing.T) {
			one, _ := serveGRPC(t)
			two, _ := serveGRPC(t)
			addr := freePort(t)
			s := http2Snapshot(addr, sorted(one, two)...)
			s.Clusters["shop"].Outlier = strict()
			e := started(t, 1, s)
			c := dialGRPC(t, addr, "shop.demo")
			for range 12 {
				_, err := c.UnaryCall(t.Context(), &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: int32(tc.code)}})
				if err := want(err, tc.code, ""); err != nil {
					t.Fatal(err)
				}
			}
			if got := e.Stats().Ejected; got != tc.eject {
				t.Errorf("%d endpoints were ejected, want %d", got, tc.eject)
			}
		})
	}
}
