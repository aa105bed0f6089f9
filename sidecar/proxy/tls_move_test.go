package proxy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// begun is a first generation that serves s.
func begun(t *testing.T, loops int, s *config.Snapshot) generation {
	t.Helper()
	e, set := newEngine(t, 1, loops)
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	return generation{e, set, 1}
}

// TestTLSHopsUnderLoad moves Bolt clients and endpoints from engine to engine under TLS on both sides, with clients that
// never retry.
func TestTLSHopsUnderLoad(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) { hopsUnderLoad(t, version) })
	}
}

func hopsUnderLoad(t *testing.T, version uint16) {
	const hops, conns = 12, 24
	a := newAuthority(t)
	jitter := func(n int64) time.Duration { return time.Duration(n%17) * time.Millisecond }
	up := secureServer(t, a.server(version), jitter)
	addr := freePort(t)
	s := secure(snapshot(addr, up), a)
	now := begun(t, 2, s)
	var clients []*client
	for range conns {
		clients = append(clients, secureDial(t, addr, a.client(version)))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if c.waiting() < 8 {
					if err := c.ask([]byte(fmt.Sprintf("%d-%0*d", i, 1+(n*7919)%5_000, n))); err != nil {
						t.Error(err)
						return
					}
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	for i := range hops {
		time.Sleep(30 * time.Millisecond)
		now = hop(t, now, 1+i%2, s)
	}
	close(stop)
	wg.Wait()
	total := 0
	for _, c := range clients {
		c.settle(t)
		total += c.got
	}
	stats := now.Stats()
	allEnded(t, stats, 0)
	t.Logf("%d requests over %d hops, %d connections moved", total, hops, stats.Moved)
	if int(stats.Answered[1]) != total || stats.Distrusted+stats.HandshakesFailed > 0 {
		t.Errorf("clients count %d answers, the engines %d; %d distrusted, %d handshakes failed",
			total, stats.Answered[1], stats.Distrusted, stats.HandshakesFailed)
	}
	if n := up.conns.Load(); n > 4 {
		t.Errorf("the server has seen %d connections: upstream connections do not move", n)
	}
	for _, c := range clients {
		_ = c.conn.Close()
	}
	now.Stop()
}

// TestTLSStreamsMove echoes through pairs with TLS on both sides that hop while their bytes are on the way, up to the
// end of the stream.
func TestTLSStreamsMove(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			ln, err := tls.Listen("tcp", "127.0.0.1:0", a.server(version))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ln.Close() }()
			go func() {
				for {
					conn, err := ln.Accept()
					if err != nil {
						return
					}
					go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
				}
			}()
			addr := freePort(t)
			s := secure(tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()), a)
			now := begun(t, 1, s)
			var wg sync.WaitGroup
			for i := range 6 {
				conn, err := tls.Dial("tcp", addr.String(), a.client(version))
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() { stream(t, conn, uint64(i)) })
			}
			for range 10 {
				time.Sleep(20 * time.Millisecond)
				now = hop(t, now, 1, s)
			}
			wg.Wait()
			until(t, "all pairs are gone", func() bool { return len(now.Conns()) == 0 })
			now.Stop()
		})
	}
}

// stream sends 8 MB of a random stream and its end, and compares what comes back.
func stream(t *testing.T, conn *tls.Conn, seed uint64) {
	const size = 8 << 20
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	go func() {
		out := rand.NewChaCha8([32]byte{byte(seed)})
		buf := make([]byte, 64<<10)
		for range size / len(buf) {
			_, _ = out.Read(buf)
			if _, err := conn.Write(buf); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond)
		}
		_ = conn.CloseWrite()
	}()
	want, got := make([]byte, size), make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(want)
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != string(want) {
		t.Errorf("%d bytes came back, %v, all of them those that were sent: %t", n, err, string(got) == string(want))
	}
	if n, err := conn.Read(got); n > 0 || err != io.EOF { //nolint:errorlint // crypto/tls returns it bare behind a close_notify
		t.Errorf("behind the end: %d bytes, %v", n, err)
	}
}

// TestHTTPOverTLSMoves asks over TLS on both sides while engines change; some requests are slow, some large.
func TestHTTPOverTLSMoves(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			to := secureShop(t, a.server(version))
			addr := freePort(t)
			s := secure(httpSnapshot(addr, to), a)
			now := begun(t, 1, s)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			var mu sync.Mutex
			asked := 0
			for i := range 8 {
				c := web(addr)
				c.Transport.(*http.Transport).TLSClientConfig = a.client(version)
				wg.Go(func() {
					defer c.CloseIdleConnections()
					for n := 0; ; n++ {
						select {
						case <-stop:
							return
						default:
						}
						body := strings.Repeat(fmt.Sprint(i, n), 1+n*977%30_000)
						res, err := c.Post("https://shop.demo/slow", "text/plain", strings.NewReader(body))
						if err != nil {
							t.Error(err)
							return
						}
						got, err := io.ReadAll(res.Body)
						_ = res.Body.Close()
						if err != nil || res.StatusCode != 200 || string(got) != body {
							t.Errorf("status %d, %d bytes of %d, %v", res.StatusCode, len(got), len(body), err)
							return
						}
						mu.Lock()
						asked++
						mu.Unlock()
					}
				})
			}
			for range 8 {
				time.Sleep(40 * time.Millisecond)
				now = hop(t, now, 1, s)
			}
			close(stop)
			wg.Wait()
			t.Logf("%d requests", asked)
			now.Stop()
		})
	}
}

// secureShop answers with what it was sent, slowly.
func secureShop(t *testing.T, cfg *tls.Config) netip.AddrPort {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
		_, _ = w.Write(body)
	}))
	s.TLS = cfg
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort()
}

// TestHandshakesAroundAHandover hops with handshakes at every stage: not begun, half a first record, in the middle, and
// over without a word said.
func TestHandshakesAroundAHandover(t *testing.T) {
	a := newAuthority(t)
	up := secureServer(t, a.server(0), nil)
	addr := freePort(t) // behind what takes a port: it may be the same
	s := secure(snapshot(addr, up), a)
	now := begun(t, 1, s)
	gates := make([]*gated, 40)
	var wg sync.WaitGroup
	for i := range gates {
		raw, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		version := uint16(tls.VersionTLS12 + i%2)
		g := &gated{Conn: raw, free: i * 61, opened: make(chan struct{})} // bytes that go out before the gate
		gates[i] = g
		conn := tls.Client(g, a.client(version))
		wg.Go(func() {
			if err := conn.Handshake(); err != nil {
				t.Errorf("client %d: %v", i, err)
				_ = conn.Close()
				return
			}
			c := &client{conn: conn, open: map[uint32][]byte{}, done: make(chan struct{})}
			go c.read()
			if err := c.ask([]byte("at last")); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
			c.settle(t)
			_ = conn.Close()
		})
	}
	until(t, "all are connected", func() bool { return now.Stats().Accepted[config.Outbound] == uint64(len(gates)) })
	time.Sleep(50 * time.Millisecond)
	time.AfterFunc(200*time.Millisecond, func() { // the handover waits for those in the middle
		for _, g := range gates {
			close(g.opened)
		}
	})
	now = hop(t, now, 1, s)
	wg.Wait()
	if n := now.Stats().HandshakesFailed; n > 0 {
		t.Errorf("%d handshakes failed", n)
	}
	now.Stop()
}

// gated holds back what is written behind its first free bytes until it is opened.
type gated struct {
	net.Conn
	free   int
	opened chan struct{}
}

func (g *gated) Write(b []byte) (int, error) {
	n := min(g.free, len(b))
	g.free -= n
	if _, err := g.Conn.Write(b[:n]); err != nil || n == len(b) {
		return n, err
	}
	<-g.opened
	g.free = 1 << 30
	m, err := g.Conn.Write(b[n:])
	return n + m, err
}

// TestPeersAreCheckedAgain hands over to a generation that trusts another authority: the clients' and endpoints'
// connections of the old one end there, and plain ones do not.
func TestPeersAreCheckedAgain(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	up := secureServer(t, a.server(0), nil)
	addr := freePort(t)
	s := secure(snapshot(addr, up), a)
	now := begun(t, 1, s)
	c := secureDial(t, addr, a.client(0))
	if err := c.ask(nil); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	next := secure(snapshot(addr, up), other)
	now = hop(t, now, 1, next)
	until(t, "both are closed", func() bool { return now.Stats().Distrusted == 2 })
	select {
	case <-c.done:
		if !strings.Contains(fmt.Sprint(c.err), "bad certificate") {
			t.Errorf("the client was told %v, want an alert", c.err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the client's connection is still open")
	}
	now.Stop()
}
