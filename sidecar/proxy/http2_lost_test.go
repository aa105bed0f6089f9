package proxy_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestACompleteAnswerOutlivesItsConnection: an endpoint answers before it has all of a request, and ends the connection while
// most of the answer still waits for its client.
func TestACompleteAnswerOutlivesItsConnection(t *testing.T) {
	b := newBackend(t)
	addr := freePort(t)
	e := started(t, 1, http2Snapshot(addr, b.ln.Addr().(*net.TCPAddr).AddrPort()))
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	_ = client.SetDeadline(time.Now().Add(10 * time.Second))
	s := newHTTP2Script()
	s.WriteString(http2.ClientPreface)
	_ = s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	s.headers(1, false, 0, ":method= POST", ":scheme= http", ":authority= shop.demo", ":path= /")
	write(t, client, s.Bytes())
	up := &lazyConn{ln: b.ln}
	if _, err := io.ReadFull(up, make([]byte, len(http2.ClientPreface))); err != nil {
		t.Fatal(err)
	}
	a := newHTTP2Script()
	_ = a.WriteSettings()
	write(t, up, a.Bytes())
	until(t, "the request is sent", func() bool { return e.Stats().Clusters["shop"] == 1 })
	a.Reset()
	a.headers(1, false, 0, ":status= 200", "x-id= 7")
	_ = a.WriteData(1, true, []byte(strings.Repeat("x", 5000)))
	write(t, up, a.Bytes())
	until(t, "the answer begins", func() bool { return e.Stats().Answered[config.Outbound] == 1 })
	up.hangUp()
	until(t, "its connection has ended", func() bool { return e.Stats().Upstream == 0 })
	more := newHTTP2Script()
	_ = more.WriteWindowUpdate(1, 10_000)
	write(t, client, more.Bytes())
	all, err := readHTTP2(client, 1, nil)
	if u := all[1]; err != nil || u == nil || len(u.body) != 5000 {
		t.Errorf("the client has %+v, %v; want 5,000 bytes", u, err)
	}
	if n := e.Stats().Failed; n != ([len(n)]uint64{}) {
		t.Errorf("failures are counted: %v", n)
	}
	nothingHeld(t, e)
}

// TestTheNextProcessCountsWhatItsLimitIsFor, also when the one before had no limit.
func TestTheNextProcessCountsWhatItsLimitIsFor(t *testing.T) {
	to, _ := shop2(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	now := first(t, 1, s)
	e := now.Engine
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := web2(t, addr)
	var asking sync.WaitGroup
	asking.Go(func() {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://shop.demo/silent", nil)
		if res, err := c.Do(req); err == nil {
			_ = res.Body.Close()
			t.Errorf("status %d", res.StatusCode)
		}
	})
	until(t, "the request is sent", func() bool { return e.Stats().Waiting == 1 })
	limited := http2Snapshot(addr, to)
	limited.Clusters["shop"].MaxRequests = 1
	now = hop(t, now, 1, limited)
	defer now.Stop()
	if n := held(now.Engine, "shop", "requests"); n != 1 {
		t.Errorf("%d requests are counted, want 1", n)
	}
	cancel()
	asking.Wait()
	until(t, "nothing is held", func() bool { return held(now.Engine, "shop", "requests") == 0 })
}

// deafTo is an endpoint that answers each request with n bytes, and takes nothing of its body.
func deafTo(t *testing.T, n int) *backend {
	t.Helper()
	b := newBackend(t)
	go func() {
		for {
			conn, err := b.ln.Accept()
			if err != nil {
				return
			}
			go answerDeaf(conn, n)
		}
	}()
	return b
}

func answerDeaf(conn net.Conn, n int) {
	defer func() { _ = conn.Close() }()
	_, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
	s := newHTTP2Script()
	_ = s.WriteSettings()
	fr := http2.NewFramer(io.Discard, conn)
	for {
		if _, err := conn.Write(s.Bytes()); err != nil {
			return
		}
		s.Reset()
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		if _, ok := f.(*http2.HeadersFrame); ok {
			s.headers(f.Header().StreamID, false, 0, ":status= 200")
			for range n / (16 << 10) {
				_ = s.WriteData(f.Header().StreamID, false, make([]byte, 16<<10))
			}
		}
	}
}

// TestAStuckStreamLeavesNothing has clients that read nothing upload until streams are reset for it, those too that are just
// uploading: what was kept for them is given back.
func TestAStuckStreamLeavesNothing(t *testing.T) {
	const clients, streams, piece = 3, 128, 16 << 10
	b := deafTo(t, 3*piece)
	addr := freePort(t)
	e, skip := skipped(t, 1, http2Snapshot(addr, b.ln.Addr().(*net.TCPAddr).AddrPort()))
	asked, uploads := newHTTP2Script(), newHTTP2Script()
	asked.WriteString(http2.ClientPreface)
	_ = asked.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for id := uint32(1); id < 2*streams; id += 2 {
		asked.headers(id, false, 0, ":method= POST", ":scheme= http", ":authority= shop.demo", ":path= /")
		for range 3 {
			_ = uploads.WriteData(id, false, make([]byte, piece))
		}
	}
	var conns []net.Conn
	for range clients {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		write(t, conn, asked.Bytes())
	}
	held := func() int {
		bytes, _ := e.HeldHTTP2()
		return bytes
	}
	until(t, "all answers wait", func() bool { return held() == clients*streams*3*piece })
	skip(time.Minute)
	for _, conn := range conns {
		go func() { _, _ = conn.Write(uploads.Bytes()) }()
	}
	until(t, "streams are reset", func() bool { return e.Stats().Slow > 0 })
	for _, conn := range conns {
		_ = conn.Close()
	}
	nothingHeld(t, e)
}
