package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestARefusedBodyEndsNoConnection: what the sidecar answers itself leaves the connection open when the request's body has come
// with the head. Who was refused need not connect again, which costs most when there is least to spare.
func TestARefusedBodyEndsNoConnection(t *testing.T) {
	o := newOrigin(t, func(_ int64, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("served")) })
	addr := freePort(t)
	s := httpSnapshot(addr, o.addr)
	s.Hosts["gone.demo"] = &config.Host{Name: "gone.demo", Routes: []config.Route{{Name: "r", Status: 410}}}
	started(t, 1, s)
	bodies := map[string]string{"a length": "Content-Length: 3\r\n\r\nabc", "chunks": "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"}
	for what, body := range bodies {
		for host, status := range map[string]string{"nobody.demo": "404 ", "gone.demo": "410 "} {
			t.Run(what+" for "+host, func(t *testing.T) {
				got := rawHTTP(t, addr, "POST / HTTP/1.1\r\nHost: "+host+"\r\n"+body+"GET / HTTP/1.1\r\nHost: shop.demo\r\nConnection: close\r\n\r\n")
				if !strings.HasPrefix(got, "HTTP/1.1 "+status) || strings.Count(got, "Connection: close") != 1 || !strings.HasSuffix(got, "served") {
					t.Errorf("%q, want %s and then an answer of the endpoint", got, status)
				}
			})
		}
	}
	t.Run("a body that has not come", func(t *testing.T) {
		got := rawHTTP(t, addr, "POST / HTTP/1.1\r\nHost: nobody.demo\r\nContent-Length: 4\r\n\r\nabc")
		if !strings.HasPrefix(got, "HTTP/1.1 404 ") || !strings.Contains(got, "Connection: close") {
			t.Errorf("%q, want 404, and the end", got)
		}
	})
	t.Run("a cluster that is full", func(t *testing.T) {
		hold := make(chan struct{})
		defer close(hold)
		o := newOrigin(t, func(int64, http.ResponseWriter, *http.Request) { <-hold })
		addr := freePort(t)
		s := httpSnapshot(addr, o.addr)
		s.Clusters["shop"].MaxRequests = 1
		started(t, 1, s)
		write(t, dialTCP(t, addr), []byte("GET / HTTP/1.1\r\nHost: shop.demo\r\n\r\n"))
		until(t, "it is full", func() bool { return o.seen.Load() == 1 })
		got := rawHTTP(t, addr, "POST / HTTP/1.1\r\nHost: shop.demo\r\n"+bodies["a length"]+"GET / HTTP/1.1\r\nHost: nobody.demo\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "HTTP/1.1 404 ") {
			t.Errorf("%q, want 503 and then 404", got)
		}
	})
}
