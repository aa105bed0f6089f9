package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/overload"
	"github.com/axlemesh/axle/sidecar/proxy"
	"github.com/axlemesh/axle/sidecar/sockets"
)

// mostUnsent is far above what may wait for a peer that does not read, and far below what is sent to make it grow.
const mostUnsent = 2 << 20

// writeUntilFull writes piece again and again until nobody takes it any more; enough is what must not be taken.
func writeUntilFull(t *testing.T, conn net.Conn, piece []byte, enough int) (sent int) {
	t.Helper()
	for sent < enough {
		_ = conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
		n, err := conn.Write(piece)
		if sent += n; err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("write: %v", err)
			}
			return sent
		}
	}
	t.Errorf("%d bytes were taken", sent)
	return sent
}

// dialTCP is a plain connection, until the test ends.
func dialTCP(t *testing.T, addr netip.AddrPort) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// mostWaiting is the most that waits for one peer.
func mostWaiting(e *proxy.Engine) (most int) {
	for _, c := range e.Conns() {
		most = max(most, c.Unsent)
	}
	return most
}

// TestAnswersWaitForTheirReader: a client of HTTP/1 that sends requests and reads nothing is not read any more, whoever answers
// them. When it reads it has all answers, in order.
func TestAnswersWaitForTheirReader(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 60_000))
	}))
	t.Cleanup(up.Close)
	for name, c := range map[string]struct {
		host           string
		enough, answer int
	}{
		"our own":       {"nobody", 64 << 20, 0},
		"an endpoint's": {"shop.demo", 16 << 20, 60_000},
	} {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			e := started(t, 1, httpSnapshot(addr, up.Listener.Addr().(*net.TCPAddr).AddrPort()))
			conn := dialTCP(t, addr)
			request := []byte("GET / HTTP/1.1\r\nHost: " + c.host + "\r\n\r\n")
			sent := writeUntilFull(t, conn, bytes.Repeat(request, 1000), c.enough)
			if n := mostWaiting(e); n > mostUnsent {
				t.Errorf("%d bytes wait for the client", n)
			}
			whole := sent / len(request)
			_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
			go func() {
				_, _ = conn.Write(append(request[sent%len(request):], "GET /last HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n"...))
			}()
			r := bufio.NewReader(conn)
			for i := range min(whole, 2000) { // the rest is the same
				if n, err := answerSize(r); err != nil || n != c.answer {
					t.Fatalf("answer %d of %d: %d bytes, %v", i, whole, n, err)
				}
			}
		})
	}
}

// TestAShortageEndsClientsThatDoNotRead: what waits for them is what could be given back.
func TestAShortageEndsClientsThatDoNotRead(t *testing.T) {
	addr := freePort(t)
	e, pass := skipped(t, 1, httpSnapshot(addr, nobody(t)))
	writeUntilFull(t, dialTCP(t, addr), bytes.Repeat([]byte("GET / HTTP/1.1\r\nHost: nobody\r\n\r\n"), 1000), 64<<20)
	relieve := func() uint64 {
		e.Relieve(overload.Actions{CloseIdle: true})
		return e.Stats().Downstream[config.Outbound]
	}
	if pass(5 * time.Second); relieve() != 1 {
		t.Error("it is closed although it may only be slow")
	}
	if pass(30 * time.Second); relieve() != 0 || e.Stats().Slow != 1 {
		t.Errorf("it stays, and %d clients are counted as slow", e.Stats().Slow)
	}
}

// answerSize reads an answer and says how long its body is.
func answerSize(r *bufio.Reader) (int, error) {
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, res.Body)
	return int(n), errors.Join(err, res.Body.Close())
}

// TestInterimAnswersWaitForTheirReader: an endpoint may send any number of them, and its client need not read.
func TestInterimAnswersWaitForTheirReader(t *testing.T) {
	ln := listenTCP(t)
	addr := freePort(t)
	e := started(t, 1, httpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
	client := dialTCP(t, addr)
	write(t, client, []byte("GET / HTTP/1.1\r\nHost: shop.demo\r\n\r\n"))
	endpoint, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = endpoint.Close() }()
	hint := "HTTP/1.1 103 Early Hints\r\nLink: " + strings.Repeat("x", 4000) + "\r\n\r\n"
	writeUntilFull(t, endpoint, []byte(strings.Repeat(hint, 32)), 64<<20)
	if n := mostWaiting(e); n > mostUnsent {
		t.Errorf("%d bytes wait for the client", n)
	}
}

// TestComplaintsAreFew: whoever is refused may come back at once, and the log does not say it each time.
func TestComplaintsAreFew(t *testing.T) {
	addr := freePort(t)
	lines := &atomic.Int64{}
	start := time.Now()
	e := complaining(t, 0, httpSnapshot(addr, nobody(t)), func(line string) {
		if strings.Contains(line, "broke the protocol") {
			lines.Add(1)
		}
	})
	const clients = 200
	for range clients {
		rawHTTP(t, addr, "\x00")
	}
	most := int64(20 + 10*(time.Since(start)/(5*time.Second)))
	if n := lines.Load(); n == 0 || n > most {
		t.Errorf("%d lines, want some and at most %d", n, most)
	}
	if n := e.Stats().Malformed; n != clients {
		t.Errorf("%d were refused, want %d", n, clients)
	}
}

// complaining is an engine that tells each line of its log, and keeps large bytes of large frames.
func complaining(t *testing.T, large int64, s *config.Snapshot, tell func(line string)) *proxy.Engine {
	t.Helper()
	start, set := time.Now(), &sockets.Set{}
	t.Cleanup(set.Release)
	e, err := proxy.New(proxy.Options{
		Generation: 1, Sockets: set, NodeID: "test", LargeBytes: large, Clock: func() time.Duration { return time.Since(start) },
		Log: funcr.New(func(_, args string) { tell(args) }, funcr.Options{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	return e
}

// TestALargeFrameThatFindsNoRoom ends its connection, and the log says why. Others go on, also those that hold the room.
func TestALargeFrameThatFindsNoRoom(t *testing.T) {
	addr := freePort(t)
	lines := make(chan string, 100)
	e := complaining(t, 6<<20, snapshot(addr, serve(t, nil)), func(line string) { lines <- line })
	large := string(frame(1, 9, echoService, make([]byte, 7<<19)))
	first, second := dialTCP(t, addr), dialTCP(t, addr)
	say(t, e, first, large[:3<<20])
	go func() { _, _ = io.WriteString(second, large[:3<<20]) }()
	until(t, "there is no room", func() bool { return e.Stats().Downstream[config.Outbound] == 1 })
	if n := e.Stats().Malformed; n != 1 {
		t.Errorf("%d are counted as malformed, want 1", n)
	}
	until(t, "the log says why", func() bool { return len(lines) > 0 })
	if line := <-lines; !strings.Contains(line, `"on"="out"`) || !strings.Contains(line, loop.ErrBudget.Error()) {
		t.Errorf("the log says %s", line)
	}
	if m, err := askOnce(t, addr, frame(1, 7, echoService, nil)); err != nil || m.id != 7 || m.status != 0 {
		t.Errorf("a small request gets %+v, %v", m, err)
	}
	_ = first.SetDeadline(time.Now().Add(20 * time.Second))
	write(t, first, []byte(large[3<<20:]))
	if m, err := readMessage(bufio.NewReader(first)); err != nil || m.id != 9 || m.status != 0 {
		t.Errorf("the large one gets %d with status %d, %v", m.id, m.status, err)
	}
}

// TestHalfHandshakesKeepNobodyOut: silent peers hold every place there is, and somebody comes who is not.
func TestHalfHandshakesKeepNobodyOut(t *testing.T) {
	a := newAuthority(t)
	addr := freePort(t)
	s := httpSnapshot(addr, nobody(t))
	s.Listeners[0].TLS = a.inbound()
	e, skip := still(t, 1, s)
	hello := clientHello(t, a)
	const silent, places = 200, 128
	for range silent {
		write(t, dialTCP(t, addr), hello)
	}
	until(t, "they have every place", func() bool { return e.QueuedHandshakes() == silent-places })
	c := secureRaw(t, addr, a)
	go func() { _, _ = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n") }()
	until(t, "it waits", func() bool { return e.QueuedHandshakes() == silent-places+1 })
	skip(500 * time.Millisecond)
	until(t, "nobody waits", func() bool { // on a busy machine some handshakes have not come to where they wait for their peers
		time.Sleep(10 * time.Millisecond)
		if e.QueuedHandshakes() == 0 {
			return true
		}
		skip(250 * time.Millisecond)
		return false
	})
	if n, err := answerSize(bufio.NewReader(c)); err != nil || n != 0 {
		t.Fatalf("an answer of %d bytes, %v", n, err)
	}
	if left := e.Stats().Downstream[config.Outbound]; left < silent/4 {
		t.Errorf("it had to wait until all the silent ones were given up but for %d", left)
	}
}

// clientHello is what a client sends first.
func clientHello(t *testing.T, a *authority) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	defer func() { _ = ours.Close() }()
	go func() { _ = tls.Client(theirs, a.client(tls.VersionTLS13)).Handshake() }()
	b := make([]byte, 16<<10)
	n, err := ours.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	return b[:n]
}

func secureRaw(t *testing.T, addr netip.AddrPort, a *authority) net.Conn {
	t.Helper()
	conn := dialTCP(t, addr)
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return tls.Client(conn, a.client(tls.VersionTLS13))
}
