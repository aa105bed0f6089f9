package proxy_test

import (
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestAnAnsweredStreamNeedsNoPlan: a build that does not know plans of HTTP/2 refuses what needs one, and with it everything that
// has to move together. That must not last as long as streams do.
func TestAnAnsweredStreamNeedsNoPlan(t *testing.T) {
	always := config.Fraction{Numerator: 1, Denominator: 1}
	for name, tc := range map[string]struct {
		route config.Route
		needs bool // before the answer
	}{
		"retries": {http2Plan(time.Hour), true},
		"a limit": {config.Route{Limit: config.Limit{Tokens: 10, Burst: 10, Every: time.Second}}, false},
		"a delay": {config.Route{Fault: &config.Fault{Delayed: always, Delay: time.Millisecond}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			asked, head, body := make(chan struct{}), make(chan struct{}), make(chan struct{})
			o := newOrigin(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
				close(asked)
				<-head
				w.(http.Flusher).Flush()
				<-body
			})
			addr := freePort(t)
			tc.route.Name, tc.route.Cluster = "r", "v1"
			e := started(t, 1, ruled(addr, config.HTTP2, map[string]netip.AddrPort{"v1": o.addr}, tc.route))
			begun, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				res, err := web2(t, addr).Get("http://shop.demo/")
				if close(begun); err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}()
			<-asked
			if n := e.PlansHTTP2(); (n > 0) != tc.needs {
				t.Errorf("before the answer %d bytes are written", n)
			}
			close(head)
			<-begun
			if n := e.PlansHTTP2(); n > 0 {
				t.Errorf("behind the head of the answer %d bytes are written", n)
			}
			close(body)
			<-done
		})
	}
}
