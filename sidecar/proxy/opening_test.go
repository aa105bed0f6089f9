package proxy_test

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestAListenerOfSeveralProtocols serves what each client begins with.
func TestAListenerOfSeveralProtocols(t *testing.T) {
	echo := serve(t, nil)
	one, _ := shop(t)
	two, _ := shop2(t)
	cases := map[string]struct {
		to       netip.AddrPort
		protocol string // of the client's connection
		ask      func(t *testing.T, addr netip.AddrPort)
	}{
		"Bolt": {echo.addr, "bolt", func(t *testing.T, addr netip.AddrPort) {
			c := dial(t, addr)
			if err := c.ask([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			c.settle(t)
		}},
		"HTTP/1.1": {one, "http1", func(t *testing.T, addr netip.AddrPort) { posts(t, web(addr), "http://shop.demo/echo", "hello") }},
		"HTTP/2":   {two, "http2", func(t *testing.T, addr netip.AddrPort) { posts(t, web2(t, addr), "http://shop.demo/echo", "hello") }},
		"HTTP/1.1 that dribbles in": {one, "", func(t *testing.T, addr netip.AddrPort) {
			got := rawHTTP(t, addr, "P", "OST /echo HTTP/1.1\r\nHost: one.demo\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
			if !strings.HasSuffix(got, "hi") {
				t.Errorf("answer %q", got)
			}
		}},
		"something else": {one, "", func(t *testing.T, addr netip.AddrPort) {
			if got := rawHTTP(t, addr, "BREW / HTTP/1.1\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") { // from the server itself
				t.Errorf("answer %q", got)
			}
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			s := tcpSnapshot(addr, tc.to)
			s.Listeners[0].Protocol = config.Auto
			e := started(t, 1, s)
			tc.ask(t, addr)
			for _, c := range e.Conns() {
				if c.Kind == "downstream" && tc.protocol != "" && c.Protocol != tc.protocol {
					t.Errorf("the client speaks %s, want %s", c.Protocol, tc.protocol)
				}
			}
		})
	}
}

// TestAServerSpeaksFirst behind a listener that waits for its clients' first bytes.
func TestAServerSpeaksFirst(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "220 ready\r\n")
		_ = conn.Close()
	}()
	addr := freePort(t)
	s := tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort())
	s.Listeners[0].Protocol = config.Auto
	started(t, 1, s)
	if got := rawHTTP(t, addr); got != "220 ready\r\n" {
		t.Errorf("the greeting is %q", got)
	}
}

func TestAProxyHeader(t *testing.T) {
	to, _ := shop(t)
	addr := freePort(t)
	s := httpSnapshot(addr, to)
	s.Listeners[0].ProxyProtocol = true
	e, skip := skipped(t, 1, s)
	const request = "GET /none HTTP/1.1\r\nHost: shop.demo\r\nConnection: close\r\n\r\n"
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb"
	for name, parts := range map[string][]string{
		"text":                  {"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n" + request},
		"text, in pieces":       {"PROX", "Y TCP4 192.0.2.1 198.51.100.7 56324 ", "443\r\n" + request[:9], request[9:]},
		"binary":                {v2 + request},
		"binary, in pieces":     {v2[:13], v2[13:], request},
		"of a check by nobody":  {"PROXY UNKNOWN\r\n" + request},
		"alone, then a request": {"PROXY UNKNOWN\r\n", request},
	} {
		if got := rawHTTP(t, addr, parts...); !strings.HasPrefix(got, "HTTP/1.1 204 ") {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := rawHTTP(t, addr, request); got != "" || e.Stats().Malformed != 1 {
		t.Errorf("without a header the answer is %q, and %d clients were malformed", got, e.Stats().Malformed)
	}
	silent, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	until(t, "the client is there", func() bool { return e.Stats().Downstream[config.Outbound] == 1 })
	skip(3 * time.Second)
	until(t, "the client that says nothing is closed", func() bool { return e.Stats().Downstream[config.Outbound] == 0 })
}

// TestAHandoverWaitsForFirstBytes: a client that has connected and said nothing is served by the next owner.
func TestAHandoverWaitsForFirstBytes(t *testing.T) {
	addr := freePort(t)
	s := snapshot(addr, serve(t, nil))
	s.Listeners[0].Protocol, s.Listeners[0].Cluster = config.Auto, "echo"
	e, set := newEngine(t, 1, 1)
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	quiet, asking := dial(t, addr), dial(t, addr)
	if err := asking.ask([]byte("before")); err != nil {
		t.Fatal(err)
	}
	asking.settle(t)
	g := hop(t, generation{e, set, 1}, 1, s)
	t.Cleanup(g.Stop)
	for _, c := range []*client{quiet, asking} {
		if err := c.ask([]byte("after")); err != nil {
			t.Fatal(err)
		}
		c.settle(t)
	}
}

// posts expects its own body for an answer.
func posts(t *testing.T, c *http.Client, url, body string) {
	t.Helper()
	res, err := c.Post(url, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != body {
		t.Errorf("%s answers %q, %v", url, b, err)
	}
}
