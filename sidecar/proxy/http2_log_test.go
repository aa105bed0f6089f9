package proxy_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestABodyThatIsSentAgainIsLoggedOnce: it has come once.
func TestABodyThatIsSentAgainIsLoggedOnce(t *testing.T) {
	for name, p := range map[string]config.Protocol{"http1": config.HTTP1, "http2": config.HTTP2} {
		t.Run(name, func(t *testing.T) {
			log, addr := logging(t), freePort(t)
			o := newOrigin(t, func(n int64, w http.ResponseWriter, _ *http.Request) {
				if n < 3 {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			route := config.Route{Name: "r", Cluster: "v1", Attempts: 5, Retry: &config.Retry{On: config.RetryServerError, Backoff: time.Millisecond}}
			started(t, 1, ruled(addr, p, map[string]netip.AddrPort{"v1": o.addr}, route))
			c := web(addr)
			if p == config.HTTP2 {
				c = web2(t, addr)
			}
			if got, err := ask2(c, http.MethodPut, "/", strings.NewReader("twenty bytes of body")); err != nil || got.status != http.StatusOK {
				t.Fatalf("%+v, %v", got, err)
			}
			told(t, log.wait(t, 1)[0], map[string]any{"status": 200., "tries": 3., "bytes_in": 20., "flags": "-"})
		})
	}
}
