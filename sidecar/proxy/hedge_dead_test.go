package proxy_test

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestNoHedgeBesideAConnectionThatIsNotOpen: a request went over a connection that turned out dead, and the handshake of the next one
// takes longer than a try may. There is nothing yet that a second try could go beside: it would be written twice, and in plain.
func TestNoHedgeBesideAConnectionThatIsNotOpen(t *testing.T) {
	const perTry = 100 * time.Millisecond
	a := newAuthority(t)
	ln := listenTCP(t)
	conns := make(chan net.Conn, 10)
	go func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			conns <- c
		}
	}()
	addr := freePort(t)
	r := hedged(func(r *config.Route) { r.Attempts, r.Timeout, r.Retry.PerTry = 6, 60*time.Second, perTry })
	s := ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": ln.Addr().(*net.TCPAddr).AddrPort()}, r)
	s.Clusters["v1"].TLS, s.Clusters["v1"].ConnectTimeout = a.outbound(), 30*time.Second
	started(t, 1, s)
	c := web(addr)
	answered := make(chan string, 1)
	ask := func() {
		res, err := c.Get("http://shop.demo/")
		if err != nil {
			answered <- err.Error()
			return
		}
		_ = res.Body.Close()
		answered <- res.Status
	}
	// read takes a request off a connection, which makes its handshake first.
	read := func(conn *tls.Conn, in *bufio.Reader) {
		t.Helper()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := http.ReadRequest(in); err != nil {
			t.Fatal(err)
		}
	}
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

	go ask()
	old := tls.Server(<-conns, a.server(0))
	in := bufio.NewReader(old)
	read(old, in)
	_, _ = old.Write(answer)
	if got := <-answered; got != "200 OK" {
		t.Fatal(got)
	}
	go ask()
	read(old, in)
	_ = old.NetConn().Close()

	open := []*tls.Conn{tls.Server(<-conns, a.server(0))}
	select {
	case beside := <-conns: // which no sound sidecar opens
		open = append(open, tls.Server(beside, a.server(0)))
	case <-time.After(5 * perTry):
	}
	for _, conn := range open {
		read(conn, bufio.NewReader(conn))
	}
	_, _ = open[0].Write(answer)
	if got := <-answered; got != "200 OK" {
		t.Error(got)
	}
	for _, conn := range open {
		_ = conn.Close()
	}
}
