package proxy_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
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
	e, set := newEngine(t, 1, 2)
	now := generation{e, set, 1}
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
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
