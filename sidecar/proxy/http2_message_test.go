package proxy_test

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestGRPCIsToldWhatWasWrong: what has the same status for different reasons has different messages.
func TestGRPCIsToldWhatWasWrong(t *testing.T) {
	all := config.Fraction{Numerator: 1, Denominator: 1}
	for name, tc := range map[string]struct {
		rule config.Route
		most int // requests at a time
		want string
	}{
		"a fault":               {config.Route{Fault: &config.Fault{Aborted: all, Status: 503}}, 0, "axle: a fault that the call's route asks for, with status 503"},
		"a fault like a limit":  {config.Route{Fault: &config.Fault{Aborted: all, Status: 429}}, 0, "axle: a fault that the call's route asks for, with status 429"},
		"a limit of a cluster":  {config.Route{}, 1, "axle: a queue or a limit of the sidecar is full"},
		"no endpoint's address": {config.Route{}, 0, "axle: no endpoint can take this call"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			tc.rule.Name, tc.rule.Cluster = "r", "v1"
			in, hold := make(chan struct{}, 1), make(chan struct{})
			defer close(hold)
			clusters := map[string]netip.AddrPort{"v1": {}}
			if tc.most > 0 {
				clusters["v1"] = newOrigin(t, func(int64, http.ResponseWriter, *http.Request) { in <- struct{}{}; <-hold }).addr
			}
			s := ruled(addr, config.HTTP2, clusters, tc.rule)
			s.Clusters["v1"].MaxRequests = tc.most
			started(t, 1, s)
			ask := func() string {
				req, err := http.NewRequest("POST", "http://shop.demo/a.B/C", nil)
				if err != nil {
					return err.Error()
				}
				req.Header.Set("Content-Type", "application/grpc")
				res, err := web2(t, addr).Do(req)
				if err != nil {
					return err.Error()
				}
				_ = res.Body.Close()
				return res.Header.Get("Grpc-Message")
			}
			if tc.most > 0 {
				go ask()
				<-in
			}
			if got := ask(); got != tc.want {
				t.Errorf("grpc-message %q, want %q", got, tc.want)
			}
		})
	}
}
