package proxy_test

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

func TestHTTP2IsMirrored(t *testing.T) {
	always := config.Fraction{Numerator: 1, Denominator: 1}
	late := copied
	late.Fault = &config.Fault{Delayed: always, Delay: 20 * time.Millisecond}
	for name, tc := range map[string]struct {
		route   config.Route
		body    string
		dropped bool
	}{
		"without a body":     {copied, "", false},
		"with a body":        {copied, "both get this", false},
		"as large as may be": {copied, strings.Repeat("x", 64<<10), false},
		"a larger one":       {copied, strings.Repeat("x", 64<<10+1), true},
		"behind a delay":     {late, "both get this", false},
	} {
		t.Run(name, func(t *testing.T) {
			v1, m := newOrigin(t, statusOnly(200)), newOrigin(t, statusOnly(500))
			addr := freePort(t)
			e := started(t, 1, ruled(addr, config.HTTP2, map[string]netip.AddrPort{"v1": v1.addr, "m": m.addr}, tc.route))
			c := web2(t, addr)
			for range 10 {
				if got, err := ask2(c, "POST", "/", strings.NewReader(tc.body)); err != nil || got.status != 200 {
					t.Fatalf("%+v, %v", got, err)
				}
			}
			s := copies(t, e, 10)
			if tc.dropped != (s.MirrorDropped == 10) || !tc.dropped && (m.seen.Load() != 10 || s.Mirrored != 10 || m.body != tc.body) {
				t.Errorf("the mirror has got %d, counted %d and %d dropped; %d bytes", m.seen.Load(), s.Mirrored, s.MirrorDropped, len(m.body))
			}
			if s.Errors[config.Outbound] != 0 || s.Clusters["m"] != 0 {
				t.Errorf("%d errors, by cluster %v: copies are not requests", s.Errors[config.Outbound], s.Clusters)
			}
			nothingCopied(t, e)
		})
	}
}

// nothingCopied fails when something of a copy is left.
func nothingCopied(t *testing.T, e *proxy.Engine) {
	t.Helper()
	until(t, "no copy is left", func() bool { return e.CopiesHTTP2() == 0 })
}

func TestGRPCIsMirrored(t *testing.T) {
	v1, _ := serveGRPC(t)
	m, _ := serveGRPC(t)
	addr := freePort(t)
	e := started(t, 1, ruled(addr, config.HTTP2, map[string]netip.AddrPort{"v1": v1, "m": m}, copied))
	c := dialGRPC(t, addr, "shop.demo")
	for range 10 {
		if _, err := c.UnaryCall(t.Context(), &pb.SimpleRequest{Payload: payload(30_000)}); want(err, codes.OK, "") != nil {
			t.Fatal(err)
		}
	}
	if s := copies(t, e, 10); s.Mirrored != 10 {
		t.Errorf("%d mirrored, %d dropped", s.Mirrored, s.MirrorDropped)
	}
	if n := e.Stats().Upstreams["m"].Connections; n != 1 {
		t.Errorf("%d connections to the mirror are counted, want 1", n)
	}
	nothingCopied(t, e)
}

// TestMirrorsThatNobodyReaches are counted like every other connection.
func TestMirrorsThatNobodyReaches(t *testing.T) {
	for name, p := range map[string]config.Protocol{"http1": config.HTTP1, "http2": config.HTTP2} {
		t.Run(name, func(t *testing.T) {
			v1, addr := newOrigin(t, statusOnly(200)), freePort(t)
			e := started(t, 1, ruled(addr, p, map[string]netip.AddrPort{"v1": v1.addr, "m": freePort(t)}, copied))
			c := web(addr)
			if p == config.HTTP2 {
				c = web2(t, addr)
			}
			if got, err := ask2(c, "GET", "/", strings.NewReader("")); err != nil || got.status != 200 {
				t.Fatalf("%+v, %v", got, err)
			}
			until(t, "the copy is given up", func() bool { return e.Stats().MirrorDropped == 1 })
			if up := e.Stats().Upstreams["m"]; up.Connections != 1 || up.ConnectFailures != 1 {
				t.Errorf("counted %+v", up)
			}
		})
	}
}

// TestAnHTTP2MirrorHarmsNobody has mirrors that fail in every way, under load; and a handover while they do.
func TestAnHTTP2MirrorHarmsNobody(t *testing.T) {
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // accepts and reads nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = deaf.Close() }()
	stop := make(chan struct{})
	defer close(stop)
	slow := newOrigin(t, func(_ int64, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	})
	http1, _ := shop(t)
	cases := map[string]netip.AddrPort{
		"it is slow":         slow.addr,
		"it resets":          newOrigin(t, reset).addr,
		"nobody is there":    freePort(t),
		"it has no endpoint": {},
		"it reads nothing":   netip.MustParseAddrPort(deaf.Addr().String()),
		"it speaks HTTP/1":   http1,
	}
	for name, to := range cases {
		t.Run(name, func(t *testing.T) {
			v1 := newOrigin(t, statusOnly(200))
			addr := freePort(t)
			route := copied
			route.Timeout = 3 * time.Second
			s := ruled(addr, config.HTTP2, map[string]netip.AddrPort{"v1": v1.addr, "m": to}, route)
			e, set := newEngine(t, 1, 1)
			now := generation{e, set, 1}
			if err := e.Apply(s); err != nil {
				t.Fatal(err)
			}
			e.Serve()
			const clients, each = 4, 300
			var asking sync.WaitGroup
			for i := range clients {
				c := web2(t, addr)
				asking.Go(func() {
					for n := range each {
						if got, err := ask2(c, "POST", "/", strings.NewReader(strings.Repeat("x", 4000))); err != nil || got.status != 200 {
							t.Errorf("client %d, request %d: %+v, %v", i, n, got, err)
							return
						}
					}
				})
			}
			time.Sleep(20 * time.Millisecond)
			now = hop(t, now, 1, s)
			asking.Wait()
			copies(t, now.Engine, clients*each)
			nothingCopied(t, e)
			nothingCopied(t, now.Engine)
			if n := now.Stats().Failed; n != (proxy.Counters{}).Failed {
				t.Errorf("failures %v", fmt.Sprint(n))
			}
			now.Stop()
		})
	}
}
