package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// fronted dials a listener as a load balancer does, for a client at 192.0.2.1.
func fronted(t *testing.T, addr netip.AddrPort, port int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	write(t, conn, fmt.Appendf(nil, "PROXY TCP4 192.0.2.1 198.51.100.7 %d 443\r\n", port))
	return conn
}

// web2Behind is web2 behind a load balancer.
func web2Behind(t *testing.T, addr netip.AddrPort) *http.Client {
	c := web2(t, addr)
	c.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		return fronted(t, addr, 5000), nil
	}
	return c
}

// TestAProxyHeaderNamesTheClient in the access log, in every protocol, before a handover and after it.
func TestAProxyHeaderNamesTheClient(t *testing.T) {
	web1 := func(t *testing.T, addr netip.AddrPort) func() {
		conn := fronted(t, addr, 5000)
		r := bufio.NewReader(conn)
		return func() {
			write(t, conn, []byte("GET /none HTTP/1.1\r\nHost: shop.demo\r\n\r\n"))
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
		}
	}
	web2 := func(t *testing.T, addr netip.AddrPort) func() {
		c := web2Behind(t, addr)
		return func() { posts(t, c, "http://shop.demo/echo", "hello") }
	}
	for name, tc := range map[string]struct {
		snapshot func(t *testing.T, addr netip.AddrPort) *config.Snapshot
		client   func(t *testing.T, addr netip.AddrPort) (ask func())
	}{
		"HTTP/1": {func(t *testing.T, addr netip.AddrPort) *config.Snapshot {
			to, _ := shop(t)
			return httpSnapshot(addr, to)
		}, web1},
		"HTTP/2": {func(t *testing.T, addr netip.AddrPort) *config.Snapshot {
			to, _ := shop2(t)
			return http2Snapshot(addr, to)
		}, web2},
		"HTTP/2 by its preface": {func(t *testing.T, addr netip.AddrPort) *config.Snapshot {
			to, _ := shop2(t)
			return httpSnapshot(addr, to)
		}, web2},
		"Bolt": {func(t *testing.T, addr netip.AddrPort) *config.Snapshot { return snapshot(addr, serve(t, nil)) },
			func(t *testing.T, addr netip.AddrPort) func() {
				conn := fronted(t, addr, 5000)
				return func() {
					write(t, conn, frame(1, 7, echoService, nil))
					if _, err := io.ReadFull(conn, make([]byte, 20)); err != nil {
						t.Fatal(err)
					}
				}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			log, addr := logging(t), freePort(t)
			s := tc.snapshot(t, addr)
			s.Listeners[0].ProxyProtocol = true
			from := first(t, 1, s)
			ask := tc.client(t, addr)
			ask()
			now := hop(t, from, 1, s)
			t.Cleanup(now.Stop)
			ask()
			for _, line := range log.wait(t, 2) {
				told(t, line, map[string]any{"client": "192.0.2.1:5000"})
			}
		})
	}
}

// TestAPairBehindAProxyHeader is logged where it ends.
func TestAPairBehindAProxyHeader(t *testing.T) {
	log, addr := logging(t), freePort(t)
	to, _ := shop(t)
	s := tcpSnapshot(addr, to)
	s.Listeners[0].ProxyProtocol = true
	started(t, 1, s)
	conn := fronted(t, addr, 5000)
	write(t, conn, []byte("GET / HTTP/1.0\r\n\r\n"))
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()
	told(t, log.wait(t, 1)[0], map[string]any{"client": "192.0.2.1:5000"})
}

// TestAHashOfAProxyHeader: clients behind a load balancer are told apart, and each stays where it is.
func TestAHashOfAProxyHeader(t *testing.T) {
	addr := freePort(t)
	one, two := serve(t, nil), serve(t, nil)
	s := snapshot(addr, one, two)
	s.Listeners[0].ProxyProtocol = true
	s.Clusters["echo"].Balancing = config.Balancing{Policy: config.Maglev, Hash: []config.HashKey{{SourceIP: true}}}
	started(t, 2, s)
	homes := map[int64]int{}
	for client := range 20 {
		before := one.requests.Load()
		for range 4 {
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			write(t, conn, fmt.Appendf(nil, "PROXY TCP6 2001:db8::%d ::1 1 2\r\n", client))
			write(t, conn, frame(1, 7, echoService, nil))
			if _, err := io.ReadFull(conn, make([]byte, 20)); err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
		}
		homes[one.requests.Load()-before]++
	}
	if len(homes) != 2 || homes[0] == 0 || homes[4] == 0 {
		t.Errorf("of 4 connections each, 20 clients had %v at the first endpoint; want 0 or 4, and both", homes)
	}
}
