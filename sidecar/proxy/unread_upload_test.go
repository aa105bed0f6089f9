package proxy_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestWhoStillAsksNeedNotRead: many clients read their answer only when their request is sent. One that goes on sending is not stuck;
// one that neither reads nor sends is.
func TestWhoStillAsksNeedNotRead(t *testing.T) {
	const request = "POST / HTTP/1.1\r\nHost: shop.demo\r\nContent-Length: 1000000\r\n\r\n"
	for _, what := range []string{"stays", "moves", "comes back"} {
		t.Run(what, func(t *testing.T) {
			ln, addr := listenTCP(t), freePort(t)
			e, skip := skipped(t, 1, httpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
			client := dialSmall(t, addr)
			write(t, client, []byte(request))
			conn, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			if _, err := conn.Read(make([]byte, 4<<10)); err != nil {
				t.Fatal(err)
			}
			write(t, conn, []byte("HTTP/1.1 200 OK\r\n\r\n"))
			for !waits(e) {
				write(t, conn, make([]byte, 32<<10))
			}
			there := func() bool { return e.Stats().Downstream[config.Outbound] == 1 }
			upload := func() {
				for range 24 {
					write(t, client, []byte(strings.Repeat("x", 100)))
					if _, err := conn.Read(make([]byte, 4<<10)); err != nil {
						t.Fatal(err)
					}
					if skip(15 * time.Second); !there() {
						t.Fatal("it is closed although it goes on sending")
					}
				}
			}
			upload()
			e, skip = owner(t, what, e, skip)
			upload()
			for range 24 {
				skip(15 * time.Second)
			}
			until(t, "it is closed", func() bool { return !there() })
			if n := e.Stats().Slow; n != 1 {
				t.Errorf("slow = %d", n)
			}
		})
	}
}
