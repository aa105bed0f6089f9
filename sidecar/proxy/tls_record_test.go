package proxy_test

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// pieceful is a client's connection whose records can be kept back.
type pieceful struct {
	net.Conn
	keep bool
	kept []byte
}

func (p *pieceful) Write(b []byte) (int, error) {
	if p.keep {
		p.kept = append(p.kept, b...)
		return len(b), nil
	}
	return p.Conn.Write(b)
}

// dribbles is a client under TLS that has said whole, and begins with a record of more without finishing it.
func dribbles(t *testing.T, e *proxy.Engine, s *config.Snapshot, a *authority, whole, more string) (raw net.Conn, rest string) {
	t.Helper()
	p := &pieceful{Conn: dialTCP(t, s.Listeners[0].Address)}
	conn := tls.Client(p, a.client(tls.VersionTLS13))
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	write(t, conn, []byte(whole))
	if whole != "" {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Read(make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	p.keep = true
	write(t, conn, []byte(more))
	until(t, "it is served", func() bool { return len(e.Conns()) > 0 && e.Stats().Handshakes == 1 })
	say(t, e, p.Conn, string(p.kept[:10]))
	return p.Conn, string(p.kept[10:])
}

// begunRecords are what a client has said, and what it goes on with in a record that does not end; stays when that may be of a body or
// of a tunnel.
var begunRecords = map[string]struct {
	p           config.Protocol
	whole, more string
	stays       bool
}{
	"HTTP/1":                   {config.HTTP1, "", "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", false},
	"HTTP/1, behind an answer": {config.HTTP1, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", false},
	"HTTP/2":                   {config.HTTP2, http2Pieces(func(*http2Script) {}), http2Pieces(func(*http2Script) {})[len(http2.ClientPreface):], false},
	"Bolt":                     {config.Bolt, "", string(frame(1, 1, "nobody", nil)), false},
	"Dubbo, behind an answer": {
		config.Dubbo, string(dubboFrame(flagRequest, 0, 1, dubboCall("nobody", "pay", nil))), string(dubboFrame(flagRequest, 0, 2, dubboCall("nobody", "pay", nil))), false,
	},
	"a body of HTTP/1": {config.HTTP1, "POST / HTTP/1.1\r\nHost: shop.demo\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n", "so long", true},
	"a tunnel":         {config.HTTP1, "CONNECT shop.demo:80 HTTP/1.1\r\nHost: shop.demo:80\r\n\r\n", "hello", true},
	"a body of HTTP/2": {config.HTTP2, http2Pieces(func(s *http2Script) {
		s.headers(1, false, 0, ":method= POST", ":scheme= http", ":authority= shop.demo", ":path= /")
	}), "\x00\x00\x01\x00\x00\x00\x00\x00\x01x", true},
}

// TestARecordHasToComeWhole within 60 s, as what it is a part of.
func TestARecordHasToComeWhole(t *testing.T) {
	a, settings := newAuthority(t), http2Pieces(func(*http2Script) {})[len(http2.ClientPreface):]
	for name, tc := range begunRecords {
		for _, what := range []string{"stays", "moves", "comes back"} {
			t.Run(name+"/"+what, func(t *testing.T) {
				ln := listenTCP(t)
				go func() {
					for conn, err := ln.Accept(); err == nil; conn, err = ln.Accept() {
						t.Cleanup(func() { _ = conn.Close() })
						if tc.p == config.HTTP1 {
							_, _ = conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
						} else {
							_, _ = conn.Write([]byte(settings))
						}
					}
				}()
				s := httpSnapshot(freePort(t), ln.Addr().(*net.TCPAddr).AddrPort())
				s.Listeners[0].Protocol, s.Listeners[0].TLS = tc.p, a.inbound()
				e, skip := skipped(t, 1, s)
				conn, rest := dribbles(t, e, s, a, tc.whole, tc.more)
				until(t, "the endpoint has spoken", func() bool { return !tc.stays || fromEndpoints(e) > 0 })
				if what != "stays" {
					skip(40 * time.Second)
				}
				e, skip = owner(t, what, e, skip)
				skip(40 * time.Second)
				say(t, e, conn, rest[:1])
				skip(10 * time.Second)
				if stats := e.Stats(); stats.Downstream[config.Outbound] != 1 || stats.Malformed != 0 {
					t.Fatal("it is closed although there is time left")
				}
				skip(11 * time.Second)
				want := uint64(1)
				if tc.stays {
					skip(10 * time.Minute)
					want = 0
				}
				until(t, "it is settled", func() bool { return e.Stats().Downstream[config.Outbound] == 1-want })
				if n := e.Stats().Malformed; n != want {
					t.Errorf("%d are counted as malformed, want %d", n, want)
				}
			})
		}
	}
}
