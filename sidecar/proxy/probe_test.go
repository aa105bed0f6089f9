package proxy_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// quick is a check that decides fast.
func quick(kind config.CheckKind) *config.Check {
	return &config.Check{
		Kind: kind, Interval: 100 * time.Millisecond, Jitter: 10 * time.Millisecond, Timeout: 100 * time.Millisecond, Unhealthy: 2, Healthy: 2,
		Path: "/health", Host: "shop", Expect: [2]int{200, 300},
	}
}

// healths are what the checks say of the endpoints of a cluster, by address.
func healths(e *proxy.Engine) map[string]string {
	all := map[string]string{}
	for _, c := range e.Clusters() {
		for _, one := range c.Endpoints {
			all[one.Endpoint] = one.Health
		}
	}
	return all
}

func TestHTTPHealthChecks(t *testing.T) {
	var sick atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/health" || r.Host != "shop":
			w.WriteHeader(http.StatusTeapot)
		case sick.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	one := s.Listener.Addr().(*net.TCPAddr).AddrPort()
	two, _ := answering(t, 200)
	addr := freePort(t)
	snap := httpSnapshot(addr, sorted(one, two)...)
	snap.Clusters["shop"].Check = quick(config.CheckHTTP)
	e := started(t, 2, snap)
	time.Sleep(300 * time.Millisecond)
	if got := healths(e); got[one.String()] != "healthy" || got[two.String()] != "healthy" {
		t.Fatalf("at first: %v", got)
	}
	sick.Store(true)
	until(t, "the sick one is passed over", func() bool { return healths(e)[one.String()] == "unhealthy" })
	c := web(addr)
	for range 10 {
		if got := statusOf(t, c); got != 200 {
			t.Errorf("status %d, want that of the healthy endpoint", got)
		}
	}
	if out := e.Stats().Out; out.Unhealthy != 1 {
		t.Errorf("out: %+v, want one unhealthy", out)
	}
	sick.Store(false)
	until(t, "it is back", func() bool { return healths(e)[one.String()] == "healthy" })
	none := *snap
	none.Clusters = map[string]*config.Cluster{"shop": {Name: "shop", Connections: 1, Endpoints: snap.Clusters["shop"].Endpoints}}
	if err := e.Apply(&none); err != nil {
		t.Fatal(err)
	}
	sick.Store(true)
	time.Sleep(300 * time.Millisecond)
	if got := healths(e)[one.String()]; got != "healthy" {
		t.Errorf("without checks it is %s", got)
	}
}

// TestChecksOfEveryKind has one endpoint that answers, one that only accepts and one that does not.
func TestChecksOfEveryKind(t *testing.T) {
	bolt, mute, shut := serve(t, nil), listenTCP(t), freePort(t)
	silent := mute.Addr().(*net.TCPAddr).AddrPort()
	http, _ := answering(t, 204)
	cases := map[string]struct {
		kind config.CheckKind
		well netip.AddrPort
		want map[netip.AddrPort]string
	}{
		"tcp":  {config.CheckTCP, http, map[netip.AddrPort]string{http: "healthy", silent: "healthy", shut: "unhealthy"}},
		"http": {config.CheckHTTP, http, map[netip.AddrPort]string{http: "healthy", silent: "unhealthy", shut: "unhealthy"}},
		"bolt": {config.CheckBolt, bolt.addr, map[netip.AddrPort]string{bolt.addr: "healthy", silent: "unhealthy", shut: "unhealthy"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := &config.Cluster{Name: "echo", Connections: 1, Check: quick(tc.kind)}
			for a := range tc.want {
				c.Endpoints = append(c.Endpoints, a)
			}
			slices.SortFunc(c.Endpoints, netip.AddrPort.Compare)
			s := snapshot(freePort(t))
			s.Clusters["echo"] = c
			e := started(t, 2, s)
			until(t, "every verdict", func() bool {
				got := healths(e)
				for a, want := range tc.want {
					if got[a.String()] != want {
						return false
					}
				}
				return true
			})
			time.Sleep(250 * time.Millisecond)
			for a, want := range tc.want {
				if got := healths(e)[a.String()]; got != want {
					t.Errorf("%v is %s later, want %s", a, got, want)
				}
			}
		})
	}
}

// TestAHandoverChecksOn: the next process asks by itself.
func TestAHandoverChecksOn(t *testing.T) {
	shut, well := freePort(t), serve(t, nil)
	s := snapshot(freePort(t), well, addrOf(shut))
	s.Clusters["echo"].Check = quick(config.CheckTCP)
	e, set := newEngine(t, 1, 2)
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	until(t, "a verdict", func() bool { return healths(e)[shut.String()] == "unhealthy" })
	now := hop(t, generation{e, set, 1}, 1, s)
	defer now.Stop()
	until(t, "the same verdict", func() bool { return healths(now.Engine)[shut.String()] == "unhealthy" })
}
