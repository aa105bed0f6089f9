package proxy_test

import (
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// TestHighPrioritiesHaveLimitsOfTheirOwn where those are configured, also behind a handover.
func TestHighPrioritiesHaveLimitsOfTheirOwn(t *testing.T) {
	for name, p := range map[string]config.Protocol{"HTTP": config.HTTP1, "Bolt": config.Bolt} {
		t.Run(name, func(t *testing.T) {
			let := make(chan time.Duration)
			server := serve(t, func(int64) time.Duration { return <-let })
			at, arrived, letHTTP := patient(t)
			addr := freePort(t)
			to := map[config.Protocol]netip.AddrPort{config.HTTP1: at, config.Bolt: server.addr}[p]
			s := ruled(addr, p, map[string]netip.AddrPort{"v1": to}, ranked...)
			s.Clusters["v1"].MaxRequests, s.Clusters["v1"].High = 1, &config.Breakers{MaxRequests: 2}
			e, set := newEngine(t, 1, 1)
			now := generation{e, set, 1}
			if err := e.Apply(s); err != nil {
				t.Fatal(err)
			}
			e.Serve()
			var all sync.WaitGroup
			ask := func(route string) string {
				if p == config.HTTP1 {
					return shedOrBusy(web(addr), route)
				}
				m, err := askOnce(t, addr, boltWith(echoService, "r", route, "prio", ""))
				if err != nil {
					return err.Error()
				}
				return map[uint16]string{0: ".", 4: "x"}[m.status]
			}
			all.Go(func() {
				if got := ask("high"); got != "." {
					t.Errorf("the first of high priority: %q", got)
				}
			})
			if p == config.HTTP1 {
				<-arrived
			}
			until(t, "it waits", func() bool { return p == config.HTTP1 || e.Stats().Waiting == 1 })
			now = hop(t, now, 1, s)
			defer now.Stop()
			for range 2 { // one each fits
				for _, route := range []string{"high", "default"} {
					all.Go(func() { _ = ask(route) })
				}
			}
			until(t, "two are too many", func() bool { return now.Stats().Overflow[proxy.OverRequests] == 2 })
			if n := held(now.Engine, "v1", "requests"); n != 1 {
				t.Errorf("%d of default priority are held, want 1", n)
			}
			close(let)
			close(letHTTP)
			all.Wait()
		})
	}
}

func shedOrBusy(c *http.Client, route string) string {
	req, err := http.NewRequest("GET", "http://shop.demo/", nil)
	if err != nil {
		return err.Error()
	}
	req.Header.Set("R", route)
	res, err := c.Do(req)
	if err != nil {
		return err.Error()
	}
	_ = res.Body.Close()
	return map[int]string{200: ".", 503: "x"}[res.StatusCode]
}
