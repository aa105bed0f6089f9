package proxy_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// TestClientsFollowTheirListener: a client that keeps its connection asks what its listener sends everything to now, whether a
// configuration says so or a takeover with one. The cluster before it is gone.
func TestClientsFollowTheirListener(t *testing.T) {
	changes := map[string]func(*testing.T, generation, *config.Snapshot) generation{
		"a configuration": func(t *testing.T, g generation, s *config.Snapshot) generation {
			t.Helper()
			if err := g.Apply(s); err != nil {
				t.Fatal(err)
			}
			return g
		},
		"a takeover": func(t *testing.T, g generation, s *config.Snapshot) generation {
			t.Helper()
			return hop(t, g, 1, s)
		},
	}
	for how, change := range changes {
		for name, listens := range map[string]config.Protocol{"HTTP1": config.HTTP1, "HTTP2": config.HTTP2, "Bolt": config.Bolt, "any": config.Auto} {
			t.Run(name+" by "+how, func(t *testing.T) {
				speaks := listens
				if speaks == config.Auto {
					speaks = config.HTTP1
				}
				old, now := newTallied(t, speaks), newTallied(t, speaks)
				addr := freePort(t)
				only := func(cluster string, to netip.AddrPort) *config.Snapshot {
					s := ruled(addr, listens, map[string]netip.AddrPort{cluster: to})
					s.Hosts, s.Listeners[0].Cluster = nil, cluster
					return s
				}
				g := first(t, 2, only("v1", old.addr))
				ask := askingOn(t, addr, speaks)
				if err := ask(); err != nil {
					t.Fatal(err)
				}
				id := theClient(t, g.Engine)
				g = change(t, g, only("v2", now.addr))
				t.Cleanup(g.Stop)
				for range 3 {
					if err := ask(); err != nil {
						t.Fatal(err)
					}
				}
				if n := now.seen(); n != 3 || old.seen() != 1 {
					t.Errorf("the cluster that the listener names now has seen %d requests and the one before %d, want 3 and 1", n, old.seen())
				}
				if got := theClient(t, g.Engine); got != id {
					t.Errorf("the client has connection %d, and had %d", got, id)
				}
			})
		}
	}
}

// tallied is a server that counts what it is asked.
type tallied struct {
	addr netip.AddrPort
	seen func() int64
}

func newTallied(t *testing.T, p config.Protocol) tallied {
	t.Helper()
	if p == config.Bolt {
		s := serve(t, nil)
		return tallied{s.addr, s.requests.Load}
	}
	o := newOrigin(t, func(int64, http.ResponseWriter, *http.Request) {})
	return tallied{o.addr, o.seen.Load}
}

// askingOn makes a client that asks once whenever it is called, and wants to be answered well.
func askingOn(t *testing.T, addr netip.AddrPort, p config.Protocol) func() error {
	t.Helper()
	if p == config.Bolt {
		c := dial(t, addr)
		return func() error {
			if err := c.ask([]byte("hello")); err != nil {
				return err
			}
			c.settle(t)
			return nil
		}
	}
	c := webs(t)[p](addr)
	return func() error {
		res, err := c.Get("http://shop.demo/")
		if err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", res.StatusCode)
		}
		_ = res.Body.Close()
		return err
	}
}

// theClient is the connection of the only client.
func theClient(t *testing.T, e *proxy.Engine) (id uint64) {
	t.Helper()
	n := 0
	for _, c := range e.Conns() {
		if c.Kind == "downstream" {
			id = c.ID
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%d clients are connected, not one", n)
	}
	return id
}
