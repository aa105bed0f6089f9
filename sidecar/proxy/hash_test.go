package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestAHashSticksHTTP: whoever a user is, all loops send them to the same endpoint, by the route's header, by the cluster's,
// or by their address.
func TestAHashSticksHTTP(t *testing.T) {
	user := []config.HashKey{{Header: "X-User"}}
	cases := map[string]struct {
		policy  config.Policy
		route   []config.HashKey
		cluster []config.HashKey
		spread  bool // users differ
	}{
		"the route's header":         {policy: config.RingHash, route: user, spread: true},
		"the cluster's header":       {policy: config.Maglev, cluster: user, spread: true},
		"the route's goes first":     {policy: config.Maglev, route: []config.HashKey{{SourceIP: true}}, cluster: user},
		"the address when none says": {policy: config.RingHash},
		"a part that is missing":     {policy: config.Maglev, route: []config.HashKey{{Header: "X-None", Terminal: true}, {Header: "X-User", Terminal: true}, {SourceIP: true}}, spread: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			one, _, _ := counting(t, "one", 0)
			two, _, _ := counting(t, "two", 0)
			s := httpSnapshot(addr, sorted(one, two)...)
			s.Clusters["shop"].Balancing = config.Balancing{Policy: tc.policy, Hash: tc.cluster}
			s.Hosts["shop.demo"].Routes[0].Hash = tc.route
			started(t, 2, s)
			all := map[string]bool{}
			for u := range 20 {
				homes := map[string]bool{}
				for range 4 {
					c := web(addr) // a connection of its own, on either loop
					req, err := http.NewRequest(http.MethodGet, "http://shop.demo/", nil)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("X-User", fmt.Sprint("user-", u))
					resp, err := c.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					body, _ := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					homes[string(body)], all[string(body)] = true, true
					c.CloseIdleConnections()
				}
				if len(homes) != 1 {
					t.Errorf("user %d was at %v, want one endpoint", u, homes)
				}
			}
			if got := len(all) == 2; got != tc.spread {
				t.Errorf("endpoints %v; more than one: want %v", all, tc.spread)
			}
		})
	}
}

func TestAHashSticksBolt(t *testing.T) {
	one, two := serve(t, nil), serve(t, nil)
	addr := freePort(t)
	s := snapshot(addr, one, two)
	s.Clusters["echo"].Balancing = config.Balancing{Policy: config.Maglev, Hash: []config.HashKey{{Header: "user"}}}
	started(t, 2, s)
	homes := map[int64]int{}
	for u := range 20 {
		before := one.requests.Load()
		for i := range uint32(6) {
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			write(t, conn, headed(i, nil, "service", echoService, "user", fmt.Sprint("user-", u)))
			if _, err := io.ReadFull(conn, make([]byte, 20)); err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
		}
		n := one.requests.Load() - before
		if n != 0 && n != 6 {
			t.Errorf("user %d was at one endpoint %d times of 6", u, n)
		}
		homes[n]++
	}
	if len(homes) != 2 {
		t.Errorf("20 users: %v, want some at each endpoint", homes)
	}
}
