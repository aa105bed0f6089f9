package proxy_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestATunnelsClientThatDoesNotRead may say something when its endpoint has gone: it is for nobody.
func TestATunnelsClientThatDoesNotRead(t *testing.T) {
	for name, head := range map[string]string{
		"upgrade": "GET / HTTP/1.1\r\nHost: shop.demo\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
		"connect": "CONNECT shop.demo:443 HTTP/1.1\r\nHost: shop.demo:443\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			ln := listenTCP(t)
			addr := freePort(t)
			e := started(t, 1, httpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
			conn := dialTCP(t, addr)
			write(t, conn, []byte(head))
			endpoint, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if name == "upgrade" {
				write(t, endpoint, []byte("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"))
			}
			sent := writeUntilFull(t, endpoint, make([]byte, 64<<10), 64<<20)
			_ = endpoint.(*net.TCPConn).SetLinger(-1)
			_ = endpoint.Close()
			go func() {
				for range 20 {
					time.Sleep(20 * time.Millisecond)
					_, _ = conn.Write([]byte("is anybody there?"))
				}
			}()
			time.Sleep(500 * time.Millisecond)
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			if n, err := io.Copy(io.Discard, conn); n == 0 { // what it still says may break the connection off
				t.Errorf("%d bytes of %d, %v", n, sent, err)
			}
			until(t, "it is forgotten", func() bool { return e.Stats().Downstream[config.Outbound] == 0 })
		})
	}
}

// TestAnAnswerForWhoHasSaidAll comes to a client that ends its direction with its request.
func TestAnAnswerForWhoHasSaidAll(t *testing.T) {
	addr := freePort(t)
	started(t, 1, httpSnapshot(addr, nobody(t)))
	for _, n := range []int{1, 3, 20_000} {
		conn := dialTCP(t, addr)
		go func() {
			_, _ = conn.Write([]byte(strings.Repeat("GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", n)))
			_ = conn.(*net.TCPConn).CloseWrite()
		}()
		time.Sleep(300 * time.Millisecond)
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		b, err := io.ReadAll(conn)
		if got := strings.Count(string(b), "HTTP/1.1 404"); got != n || err != nil {
			t.Errorf("%d answers of %d, %v", got, n, err)
		}
	}
}
