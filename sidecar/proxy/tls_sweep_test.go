package proxy_test

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// cut is a connection that stops in the middle of what is written to it, once, and calls at there.
type cut struct {
	net.Conn
	mu   sync.Mutex
	sent uint64
	left int // until the cut, once it is armed
	at   func(sent uint64)
}

func (c *cut) arm(left int, at func(sent uint64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.at = left, at
}

// disarm says whether the cut was reached.
func (c *cut) disarm() (reached bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	reached = c.at == nil
	c.at = nil
	return reached
}

func (c *cut) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := 0
	if c.at != nil && c.left <= len(b) {
		at := c.at
		c.at = nil
		if n, err := c.Conn.Write(b[:c.left]); err != nil {
			return n, err
		}
		done = c.left
		c.sent += uint64(done)
		at(c.sent)
	} else {
		c.left -= len(b)
	}
	n, err := c.Conn.Write(b[done:])
	c.sent += uint64(n)
	return done + n, err
}

// TestFreezeAtEveryByteUnderTLS hops after every prefix of the ciphertext that a client or an endpoint sends.
func TestFreezeAtEveryByteUnderTLS(t *testing.T) {
	for name, version := range versions {
		for _, side := range []string{"downstream", "upstream"} {
			t.Run(name+" "+side, func(t *testing.T) {
				a := newAuthority(t)
				at := 0
				for ; secureSweep(t, a, version, side, at); at++ {
					if t.Failed() {
						t.Fatalf("at byte %d", at)
					}
				}
				if at < 50 {
					t.Errorf("only %d bytes were sent", at)
				}
			})
		}
	}
}

// secureSweep asks three times in one session with a hop at one byte of what side sends; it returns false when that byte
// is behind the end.
func secureSweep(t *testing.T, a *authority, version uint16, side string, at int) (cutThere bool) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan *cut, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			close(accepted)
			return
		}
		c := &cut{Conn: conn}
		accepted <- c
		new(server).handle(tls.Server(c, a.server(version)))
	}()
	addr := freePort(t)
	s := secure(snapshot(addr, &server{addr: ln.Addr().(*net.TCPAddr).AddrPort()}), a)
	from, to, end := neighbours(t, s)
	raw, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	down := &cut{Conn: raw}
	conn := tls.Client(down, a.client(version))
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := &client{conn: conn, open: map[uint32][]byte{}, done: make(chan struct{})}
	go c.read()
	ask := func(body string) {
		if err := c.ask([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	ask("the handshakes are over when this is answered")
	c.settle(t)
	where := map[string]*cut{"downstream": down, "upstream": <-accepted}[side]
	where.arm(at, func(sent uint64) {
		until(t, "all that was sent is read", func() bool { return received(from, side) == sent })
		give(t, from, to)
	})
	ask("first")
	ask("second")
	c.settle(t)
	cutThere = where.disarm()
	_ = raw.Close()
	_ = ln.Close()
	end()
	return cutThere
}

// received is what an engine has read from the connection of that kind.
func received(e *proxy.Engine, kind string) uint64 {
	for _, i := range e.Conns() {
		if i.Kind == kind {
			return i.RxBytes
		}
	}
	return 0
}

// TestUnsentCiphertextMoves hops while a client does not read: what is encrypted already is sent as it is.
func TestUnsentCiphertextMoves(t *testing.T) {
	a := newAuthority(t)
	up := secureServer(t, a.server(0), nil)
	addr := freePort(t)
	s := secure(snapshot(addr, up), a)
	now := begun(t, 1, s)
	conn, err := tls.Dial("tcp", addr.String(), a.client(0))
	if err != nil {
		t.Fatal(err)
	}
	c := &client{conn: conn, open: map[uint32][]byte{}, done: make(chan struct{})}
	for n := uint64(1); unsent(now.Engine) == 0; n++ { // one at a time: a client with much to read is closed
		if err := c.ask(make([]byte, 300_000)); err != nil {
			t.Fatal(err)
		}
		until(t, "it is answered", func() bool { return now.Stats().Answered[config.Outbound] == n })
	}
	for range 3 {
		now = hop(t, now, 1, s)
	}
	if unsent(now.Engine) == 0 {
		t.Error("nothing waits for the client any more: the test shows nothing")
	}
	go c.read()
	c.settle(t)
	if s := now.Stats(); s.Slow > 0 || s.Downstream[config.Outbound] != 1 {
		t.Errorf("%d slow clients closed, %v open", s.Slow, s.Downstream)
	}
	_ = conn.Close()
	now.Stop()
}

func unsent(e *proxy.Engine) int {
	for _, i := range e.Conns() {
		if i.Kind == "downstream" {
			return i.Unsent
		}
	}
	return 0
}
