package proxy_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// TestHTTP2HopsUnderLoad moves clients in the middle of requests and responses; none is retried, none fails, and both sides
// keep their connections.
func TestHTTP2HopsUnderLoad(t *testing.T) {
	const hops, clients, streams = 10, 8, 6
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	to, conns := shop2(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	now := first(t, 2, s)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var total atomic.Int64
	for i := range clients {
		c := web2(t, addr)
		for j := range streams {
			size := rnd.IntN(100_000)
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					body := fmt.Sprintf("%d-%d-%d-%0*d", i, j, n, 1+(n*7919)%(size+1), n)
					var r io.Reader = strings.NewReader(body)
					if n%3 == 0 {
						r = &dripping{rest: body}
					}
					got, err := say2(c, "POST", "/echo", r)
					if err != nil || got != body {
						t.Errorf("client %d, request %d: %d bytes of %d, %v", i, n, len(got), len(body), err)
						return
					}
					total.Add(1)
				}
			})
		}
	}
	for i := range hops {
		time.Sleep(40 * time.Millisecond)
		now = hop(t, now, 1+i%2, s)
	}
	close(stop)
	wg.Wait()
	stats := now.Stats()
	t.Logf("%d requests over %d hops, %d connections moved, %d dialled", total.Load(), hops, stats.Moved, stats.Dialled)
	if got := int64(stats.Requests[config.Outbound]); got != total.Load() {
		t.Errorf("the clients count %d requests, the engines %d", total.Load(), got)
	}
	if n := conns.Load(); n > 4 {
		t.Errorf("the server has seen %d connections: those to endpoints do not move", n)
	}
	now.Stop()
}

// dripping is a body that comes in pieces.
type dripping struct{ rest string }

func (d *dripping) Read(b []byte) (int, error) {
	if d.rest == "" {
		return 0, io.EOF
	}
	time.Sleep(2 * time.Millisecond)
	n := copy(b, d.rest[:min(len(d.rest), 1+len(d.rest)/5)])
	d.rest = d.rest[n:]
	return n, nil
}

// TestHTTP2HopsOfTheUnruly moves clients that call off, do not read, and ask for more streams than an endpoint allows, and
// one that does none of that. Nothing is left of any of them.
func TestHTTP2HopsOfTheUnruly(t *testing.T) {
	to, _ := gently(t, grpc.MaxConcurrentStreams(3))
	also, _ := shop2(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	s.Hosts["also.demo"] = &config.Host{Name: "also.demo", Routes: []config.Route{{Name: "also", Cluster: "also"}}}
	s.Clusters["also"] = &config.Cluster{Name: "also", Connections: 1, ConnectTimeout: toConnect, Endpoints: []netip.AddrPort{also}}
	now := first(t, 2, s)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	again := func(call func(n int) error) {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := call(n); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		c, web := dialGRPC(t, addr, "shop.demo"), web2(t, addr)
		again(func(int) error { return duplex(ctx, c, 10, 30_000) })
		again(func(n int) error { // calls off, sooner or later
			brief, cancel := context.WithTimeout(ctx, time.Duration(n%20)*time.Millisecond)
			defer cancel()
			_ = duplex(brief, c, 200, 50_000)
			return nil
		})
		again(func(int) error { // reads a bit of what it has asked for
			req, err := http.NewRequestWithContext(ctx, "GET", "http://also.demo/large", nil)
			if err != nil {
				return err
			}
			res, err := web.Do(req)
			if err != nil {
				return err
			}
			defer func() { _ = res.Body.Close() }()
			_, err = io.CopyN(io.Discard, res.Body, 300_000)
			time.Sleep(5 * time.Millisecond)
			return err
		})
		again(func(int) error { return upload(ctx, c, 20, 20_000) })
	}
	for i := range 12 {
		time.Sleep(40 * time.Millisecond)
		now = hop(t, now, 1+i%2, s)
	}
	close(stop)
	wg.Wait()
	await(t, now.Engine, func(s proxy.Stats) bool { return s.Waiting == 0 })
	if bytes, exchanges := now.HeldHTTP2(); bytes+exchanges > 0 {
		t.Errorf("%d bytes are held, %d exchanges are open", bytes, exchanges)
	}
	allEnded(t, now.Stats(), 1<<32)
	if s := now.Stats(); s.Malformed > 0 || s.Slow > 0 {
		t.Errorf("malformed %d, slow %d", s.Malformed, s.Slow)
	}
	now.Stop()
}
