package proxy_test

import (
	"bufio"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestATryThatIsNotReadIsReadAgain: an endpoint's interim answers have filled its client, who reads when another try is out; that one
// fails, and the first one answers.
func TestATryThatIsNotReadIsReadAgain(t *testing.T) {
	conns := make(chan net.Conn, 10)
	var all []netip.AddrPort
	for range 2 {
		ln := listenTCP(t)
		all = append(all, ln.Addr().(*net.TCPAddr).AddrPort())
		go func() {
			for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
				conns <- c
			}
		}()
	}
	addr := freePort(t)
	r := hedged(func(r *config.Route) { r.Attempts, r.Timeout, r.Retry.PerTry = 2, 60*time.Second, 4*time.Second })
	e := started(t, 1, endpoints(ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": all[0]}, r), "v1", all...))
	client := dialTCP(t, addr)
	write(t, client, []byte("GET / HTTP/1.1\r\nHost: shop.demo\r\nConnection: close\r\n\r\n"))
	first := <-conns
	defer func() { _ = first.Close() }()
	hint := "HTTP/1.1 103 Early Hints\r\nLink: " + strings.Repeat("x", 4000) + "\r\n\r\n"
	rest := fillUp(first, hint) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	second := <-conns
	go func() { _, _ = first.Write([]byte(rest)) }()
	_ = client.SetDeadline(time.Now().Add(20 * time.Second))
	br := bufio.NewReader(client)
	if _, err := br.Discard(1 << 20); err != nil {
		t.Fatal(err)
	}
	until(t, "the client has all that was read", func() bool {
		_, _ = br.Discard(br.Buffered())
		_ = client.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = br.Discard(1 << 20)
		return mostWaiting(e) == 0
	})
	_ = second.Close()
	_ = client.SetReadDeadline(time.Now().Add(20 * time.Second))
	for line := ""; !strings.Contains(line, http.StatusText(http.StatusOK)); {
		var err error
		if line, err = br.ReadString('\n'); err != nil || strings.Contains(line, "HTTP/1.1 5") {
			t.Fatalf("the answer is %.100q, %v", line, err)
		}
	}
}

// fillUp writes piece again and again until nobody takes it for a while, and returns what is left of the last one.
func fillUp(conn net.Conn, piece string) (rest string) {
	defer func() { _ = conn.SetWriteDeadline(time.Time{}) }()
	for {
		_ = conn.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		if n, err := conn.Write([]byte(piece)); err != nil {
			return piece[n:]
		}
	}
}
