package proxy_test

import (
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestWhatNoRouteSeesEndsToo: requests that are answered before they are routed are counted and logged like others.
func TestWhatNoRouteSeesEndsToo(t *testing.T) {
	log := logging(t)
	origin := newOrigin(t, statusOnly(200))
	t.Run("http1", func(t *testing.T) {
		addr := freePort(t)
		e := started(t, 1, httpSnapshot(addr, origin.addr))
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		write(t, conn, []byte("TRACE / HTTP/1.1\r\nHost: shop.demo\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n"))
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		if got := endsOf(e.Stats(), "-", "-"); got.all != 1 || got.own != 1 {
			t.Errorf("ends %+v", got)
		}
	})
	t.Run("http2", func(t *testing.T) {
		addr := freePort(t)
		s := httpSnapshot(addr, origin.addr)
		s.Listeners[0].Protocol = config.HTTP2
		e := started(t, 1, s)
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		fields := []string{":method= GET", ":scheme= http", ":authority= shop.demo", ":path= /much"}
		for range 100 { // which the table of HPACK makes short
			fields = append(fields, "x-much= "+strings.Repeat("x", 900))
		}
		script := newHTTP2Script()
		script.WriteString(http2.ClientPreface)
		_ = script.WriteSettings()
		script.headers(1, true, 0, fields...)
		write(t, conn, script.Bytes())
		until(t, "it is refused", func() bool { return e.Stats().Malformed == 1 })
		if got := endsOf(e.Stats(), "-", "-"); got.all != 1 || got.own != 1 {
			t.Errorf("ends %+v", got)
		}
	})
	got := log.wait(t, 2)
	told(t, got[0], map[string]any{"method": "TRACE", "path": "/", "status": 405., "flags": "rule", "tries": 0.})
	told(t, got[1], map[string]any{"status": 431., "flags": "malformed", "tries": 0.})
}
