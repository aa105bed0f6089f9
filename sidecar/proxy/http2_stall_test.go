package proxy_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/axlemesh/axle/sidecar/proxy"
)

// TestHTTP2ZeroWindowsAreBounded has clients ask for large responses and grant no window for them. What is kept for them is
// bounded; when they have been stuck for a while they make room for others.
func TestHTTP2ZeroWindowsAreBounded(t *testing.T) {
	const limit = 32 << 20
	to, _ := shop2(t)
	addr := freePort(t)
	e := started(t, 1, http2Snapshot(addr, to))
	good := web2(t, addr)
	s := newHTTP2Script()
	s.WriteString(http2.ClientPreface)
	_ = s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for id := uint32(1); id < 2*128; id += 2 {
		s.headers(id, true, 0, ":method= GET", ":scheme= http", ":authority= shop.demo", ":path= /large")
	}
	for range 6 {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		write(t, conn, s.Bytes())
	}
	await(t, e, func(s proxy.Stats) bool { return s.Answered[1] > 500 && s.Slow > 0 })
	for start := time.Now(); time.Since(start) < time.Second; time.Sleep(20 * time.Millisecond) {
		if bytes, _ := e.HeldHTTP2(); bytes > limit+768*16<<10 {
			t.Fatalf("%d bytes are held", bytes)
		}
		if got, err := say2(good, "POST", "/echo", strings.NewReader(strings.Repeat("x", 10_000))); err != nil || len(got) != 10_000 {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
}
