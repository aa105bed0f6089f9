package proxy_test

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestRetriesOfHTTPShareConnections has one of two endpoints fail each request: those that are sent again go over connections that rest.
func TestRetriesOfHTTPShareConnections(t *testing.T) {
	const requests = 50
	slow := func(_ int64, w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
		w.WriteHeader(200)
	}
	for name, tc := range map[string]struct {
		bad   func(int64, http.ResponseWriter, *http.Request)
		retry config.Retry
		lost  uint64 // connections that each retry costs
	}{
		"for its status": {statusOnly(503), config.Retry{On: config.RetryGateway}, 0},
		"beside a slow one": {
			slow, config.Retry{On: config.RetryGateway, PerTry: 5 * time.Millisecond, Hedge: true}, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := newOrigin(t, tc.bad), newOrigin(t, statusOnly(200))
			addr := freePort(t)
			tc.retry.Backoff, tc.retry.BudgetMin = time.Millisecond, requests
			s := ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": good.addr}, config.Route{Name: "r", Cluster: "v1", Retry: &tc.retry})
			e := started(t, 1, endpoints(s, "v1", bad.addr, good.addr))
			c := web(addr)
			for range requests {
				if got, _ := fetch(t, c, "GET", "/", nil); got != 200 {
					t.Fatalf("status %d", got)
				}
			}
			stats := e.Stats()
			if most := 4 + tc.lost*stats.Retried; stats.Retried < requests/4 || stats.Dialled > most {
				t.Errorf("%d connections for %d retries of %d requests, want %d at most", stats.Dialled, stats.Retried, requests, most)
			}
		})
	}
}
