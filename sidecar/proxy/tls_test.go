package proxy_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// secure puts TLS on every listener and cluster of s.
func secure(s *config.Snapshot, a *authority) *config.Snapshot {
	for i := range s.Listeners {
		s.Listeners[i].TLS = a.inbound()
	}
	for _, c := range s.Clusters {
		c.TLS = a.outbound()
	}
	return s
}

// secureServer is serve with TLS.
func secureServer(t *testing.T, cfg *tls.Config, delay func(int64) time.Duration) *server {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	s := &server{addr: ln.Addr().(*net.TCPAddr).AddrPort(), delay: delay, listener: ln}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			go s.handle(conn)
		}
	}()
	return s
}

// secureDial is dial with TLS.
func secureDial(t *testing.T, addr netip.AddrPort, cfg *tls.Config) *client {
	t.Helper()
	conn, err := tls.Dial("tcp", addr.String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{conn: conn, open: map[uint32][]byte{}, done: make(chan struct{})}
	go c.read()
	return c
}

func TestBoltOverTLS(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			up := secureServer(t, a.server(version), nil)
			addr := freePort(t)
			e := started(t, 1, secure(snapshot(addr, up), a))
			c := secureDial(t, addr, a.client(version))
			for _, size := range []int{0, 1, 1000, 40_000, 3 << 20} {
				if err := c.ask(make([]byte, size)); err != nil {
					t.Fatal(err)
				}
				c.settle(t)
			}
			for _, i := range e.Conns() {
				if !strings.HasPrefix(i.TLS, name) {
					t.Errorf("a connection of %s: %+v", name, i)
				}
			}
			if s := e.Stats(); s.Handshakes != 2 || s.HandshakesFailed != 0 {
				t.Errorf("%d handshakes, %d failed; want 2 and 0", s.Handshakes, s.HandshakesFailed)
			}
		})
	}
}

// TestOneWritePerTurn counts system calls: requests that come together leave together, encrypted. They are oneways, so that no answer is counted.
func TestOneWritePerTurn(t *testing.T) {
	a := newAuthority(t)
	up := secureServer(t, a.server(tls.VersionTLS13), nil)
	addr := freePort(t)
	e := started(t, 1, secure(snapshot(addr, up), a))
	c := secureDial(t, addr, a.client(tls.VersionTLS13))
	if err := c.ask(nil); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	before := e.Stats()
	var batch []byte
	for id := uint32(1000); id < 1064; id++ {
		batch = append(batch, frame(2, id, echoService, []byte("x"))...)
	}
	if _, err := c.conn.Write(batch); err != nil {
		t.Fatal(err)
	}
	until(t, "all have arrived", func() bool { return up.oneways.Load() == 64 })
	// One write to the endpoint, or a few when the record came in pieces.
	if writes := e.Stats().Writes - before.Writes; writes < 1 || writes > 4 {
		t.Errorf("%d writes for 64 requests that came as one", writes)
	}
}

func TestHandshakesThatFail(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	up := serve(t, nil)
	addr := freePort(t) // behind what takes a port: it may be the same
	e := started(t, 1, secure(snapshot(addr, up), a))
	e.Snapshot().Clusters["echo"].TLS = nil
	stranger := a.client(0)
	stranger.Certificates = []tls.Certificate{a.pair("stranger.test", "spiffe://mesh.test/ns/other/sa/web")}
	foreign := a.client(0)
	foreign.Certificates = []tls.Certificate{other.pair("web.test", webID)}
	nobody := a.client(0)
	nobody.Certificates = nil
	for name, cfg := range map[string]*tls.Config{"another namespace": stranger, "another authority": foreign, "no certificate": nobody} {
		for v, version := range versions {
			t.Run(name+" "+v, func(t *testing.T) {
				cfg := cfg.Clone()
				cfg.MinVersion, cfg.MaxVersion = version, version
				if cfg.Certificates != nil { // shown whatever authorities the server names
					cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cfg.Certificates[0], nil }
				}
				before := e.Stats().HandshakesFailed
				conn, err := tls.Dial("tcp", addr.String(), cfg)
				if err == nil {
					_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
					_, err = conn.Read(make([]byte, 1)) // of TLS 1.3, the client hears only now
					_ = conn.Close()
				}
				if err == nil || !strings.Contains(err.Error(), "remote error: tls") {
					t.Errorf("%v, want an alert", err)
				}
				until(t, "it is counted", func() bool { return e.Stats().HandshakesFailed == before+1 })
			})
		}
	}
	t.Run("no TLS", func(t *testing.T) {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(frame(1, 1, echoService, nil))
		if n, err := io.ReadAll(conn); len(n) > 0 {
			t.Errorf("got %d bytes, %v", len(n), err)
		}
	})
	if open := e.Stats().Downstream; open[config.Outbound] != 0 {
		t.Errorf("%v client connections are still counted", open)
	}
}

// TestEndpointsThatAreNotWhoTheySay are not sent anything.
func TestEndpointsThatAreNotWhoTheySay(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	wrong := a.server(0)
	wrong.Certificates = []tls.Certificate{a.pair("server.test", "spiffe://mesh.test/ns/shop/sa/impostor")}
	foreign := a.server(0)
	foreign.Certificates = []tls.Certificate{other.pair("server.test", serverID)}
	for name, cfg := range map[string]*tls.Config{"another name": wrong, "another authority": foreign} {
		t.Run(name, func(t *testing.T) {
			up := secureServer(t, cfg, nil)
			addr := freePort(t)
			s := secure(snapshot(addr, up), a)
			s.Listeners[0].TLS = nil
			e := started(t, 1, s)
			c := dial(t, addr)
			c.lenient = true
			if err := c.ask(nil); err != nil {
				t.Fatal(err)
			}
			c.settle(t)
			if got := e.Stats(); got.Failed[proxy.FailConnect] != 1 || got.HandshakesFailed == 0 || up.requests.Load() != 0 {
				t.Errorf("failed %v, %d handshakes failed, %d requests came through", got.Failed, got.HandshakesFailed, up.requests.Load())
			}
		})
	}
}

func TestPermissive(t *testing.T) {
	a := newAuthority(t)
	up := secureServer(t, a.server(0), nil)
	addr := freePort(t) // behind what takes a port: it may be the same
	s := secure(snapshot(addr, up), a)
	s.Listeners[0].TLS.Permissive = true
	e := started(t, 1, s)
	silent, err := net.Dial("tcp", addr.String()) // says nothing, as a pool's connection does
	if err != nil {
		t.Fatal(err)
	}
	asked(t, addr)
	c := secureDial(t, addr, a.client(0))
	if err := c.ask([]byte("with")); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	secured := 0
	for _, i := range e.Conns() {
		if i.Kind == "downstream" && i.TLS != "" {
			secured++
		}
	}
	if secured != 1 {
		t.Errorf("%d of the clients' connections have TLS, want 1", secured)
	}
	late := &client{conn: silent, open: map[uint32][]byte{}, done: make(chan struct{})}
	go late.read()
	if err := late.ask([]byte("at last")); err != nil {
		t.Fatal(err)
	}
	late.settle(t)
	_ = silent.Close()
}

// TestCertificatesRotate replaces files under an engine that serves.
func TestCertificatesRotate(t *testing.T) {
	a := newAuthority(t)
	up := serve(t, nil)
	addr := freePort(t) // behind what takes a port: it may be the same
	s := secure(snapshot(addr, up), a)
	s.Clusters["echo"].TLS = nil
	e := started(t, 1, s)
	serialOf := func(c *client) string {
		return c.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	ask := func(c *client) {
		if err := c.ask([]byte("?")); err != nil {
			t.Fatal(err)
		}
		c.settle(t)
	}
	first := secureDial(t, addr, a.client(0))
	ask(first)
	time.Sleep(10 * time.Millisecond) // the files' times differ
	_, key := a.issue("in.test", "spiffe://mesh.test/ns/shop/sa/in")
	e.RefreshCertificates()
	second := secureDial(t, addr, a.client(0))
	ask(second)
	if serialOf(first) == serialOf(second) {
		t.Error("a new handshake was shown the old certificate")
	}
	time.Sleep(10 * time.Millisecond)
	a.save(key, "PRIVATE KEY", []byte("damaged"))
	e.RefreshCertificates()
	third := secureDial(t, addr, a.client(0))
	ask(third)
	if serialOf(third) != serialOf(second) {
		t.Error("a file that is of no use has changed something")
	}
	ask(first) // whose certificate is long gone
}

// TestATruncatedStreamIsNoEnd closes TCP under TLS: a stream that ends so may lack its end.
func TestATruncatedStreamIsNoEnd(t *testing.T) {
	for _, clean := range []bool{true, false} {
		a := newAuthority(t)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := freePort(t)
		s := secure(tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()), a)
		s.Clusters[s.Listeners[0].Cluster].TLS = nil
		e := started(t, 1, s)
		raw, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(raw, a.client(0))
		if _, err := conn.Write([]byte("all there is")); err != nil {
			t.Fatal(err)
		}
		end, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = end.SetDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 100)
		if n, err := io.ReadFull(end, buf[:12]); err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if clean {
			_ = conn.CloseWrite()
		} else {
			_ = raw.(*net.TCPConn).CloseWrite()
		}
		_, err = end.Read(buf)
		if !errors.Is(err, io.EOF) {
			t.Errorf("clean %t: %v", clean, err)
		}
		// Behind close_notify the other direction goes on; a truncated connection is over.
		_, _ = end.Write([]byte("answer"))
		_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
		n, err := io.ReadFull(conn, buf[:6])
		if clean != (err == nil) {
			t.Errorf("clean %t: the answer came as %q, %v", clean, buf[:n], err)
		}
		_ = end.Close()
		_ = conn.Close()
		_ = ln.Close()
		until(t, "all is closed", func() bool { return len(e.Conns()) == 0 })
	}
}
