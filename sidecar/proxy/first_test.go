package proxy_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestALimitOfConnectionsStarvesNoLoop has clients on two loops and a cluster that may have one connection: each loop opens one, and
// no more, so that none refuses its clients while the other one's connection is idle.
func TestALimitOfConnectionsStarvesNoLoop(t *testing.T) {
	const loops, rounds = 2, 20
	limit := func(s *config.Snapshot, all ...netip.AddrPort) *config.Snapshot {
		s.Clusters["v1"].MaxConnections = 1
		return endpoints(s, "v1", all...)
	}
	rule := config.Route{Name: "r", Cluster: "v1"}
	for p, web := range webs(t) {
		t.Run(fmt.Sprint("protocol ", p), func(t *testing.T) {
			one, other := newOrigin(t, statusOnly(200)), newOrigin(t, statusOnly(200))
			addr := freePort(t)
			e := started(t, loops, limit(ruled(addr, p, map[string]netip.AddrPort{"v1": one.addr}, rule), one.addr, other.addr))
			clients := []*http.Client{web(addr), web(addr)} // each goes to the loop with the fewest
			for range rounds {
				for i, c := range clients {
					if status, _ := fetch(t, c, "GET", "/", nil); status != 200 {
						t.Fatalf("client %d: status %d", i, status)
					}
				}
			}
			if n := e.Stats().Upstream; n > loops {
				t.Errorf("%d connections are open, want %d at most", n, loops)
			}
		})
	}
	t.Run("Bolt", func(t *testing.T) {
		one, other := serve(t, nil), serve(t, nil)
		addr := freePort(t)
		e := started(t, loops, limit(ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": one.addr}, rule), one.addr, other.addr))
		for _, c := range []*client{dial(t, addr), dial(t, addr)} {
			for range rounds {
				if err := c.ask([]byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			c.settle(t)
		}
		if n := e.Stats().Dialled; n != loops || one.requests.Load()+other.requests.Load() != 2*rounds {
			t.Errorf("%d connections were opened, want %d", n, loops)
		}
	})
	t.Run("busy", func(t *testing.T) {
		hold, in := make(chan struct{}), make(chan struct{}, loops)
		o := newOrigin(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
			in <- struct{}{}
			<-hold
			w.WriteHeader(200)
		})
		addr := freePort(t)
		started(t, loops, limit(ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": o.addr}, rule), o.addr))
		var wg sync.WaitGroup
		for range loops {
			wg.Go(func() { fetch(t, web(addr), "GET", "/", nil) })
			select {
			case <-in:
			case <-time.After(20 * time.Second):
				close(hold)
				t.Fatal("a loop without a connection has opened none")
			}
		}
		for i := range loops {
			if status, _ := fetch(t, web(addr), "GET", "/", nil); status != 503 {
				t.Errorf("client %d beyond the limit: status %d, want 503", i, status)
			}
		}
		close(hold)
		wg.Wait()
	})
}
