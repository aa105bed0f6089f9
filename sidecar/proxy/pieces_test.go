package proxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// http2Pieces is the preface and SETTINGS, with what more writes behind them.
func http2Pieces(more func(s *http2Script)) string {
	s := newHTTP2Script()
	s.WriteString(http2.ClientPreface)
	_ = s.WriteSettings()
	more(s)
	return s.String()
}

// block is the beginning of a header block, and continuation a frame that goes on with it.
var (
	block = http2Pieces(func(s *http2Script) {
		_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}, EndStream: true})
	})
	continuation = string([]byte{0, 0, 1, byte(http2.FrameContinuation), 0, 0, 0, 0, 1, 0x84})
)

// begunClients begin with something, go on with a bit of it, and never finish.
var begunClients = map[string]struct {
	p           config.Protocol
	begin, more string
	answer      string // contains this
}{
	"a head of HTTP/1":            {config.HTTP1, "GET / HTTP/1.1\r\nHo", "s", "HTTP/1.1 408 "},
	"one behind an answer":        {config.HTTP1, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\nG", "E", "HTTP/1.1 408 "},
	"what may be a preface":       {config.HTTP1, "PRI * HTTP", "/", "HTTP/1.1 408 "},
	"what may be several of them": {config.Auto, "P", "R", ""},
	"one of several protocols":    {config.Auto, "GET / HTTP/1.1\r\nHo", "s", "HTTP/1.1 408 "},
	"the preface of HTTP/2":       {config.HTTP2, "PRI * HTTP", "/", "\x00\x00\x00\x01"},
	"an offer without its body":   {config.HTTP2, "POST / HTTP/1.1\r\nHost: shop.demo\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n\r\n", "h", "\x00\x00\x00\x01"},
	"a preface without SETTINGS":  {config.HTTP2, http2.ClientPreface, "\x00", "\x00\x00\x00\x01"},
	"a header block":              {config.HTTP2, block, continuation, "\x00\x00\x00\x01"},
	"a frame of HTTP/2":           {config.HTTP2, http2Pieces(func(*http2Script) {}) + "\x00", "\x00", "\x00\x00\x00\x01"},
	"a frame of Bolt":             {config.Bolt, string(frame(1, 1, echoService, nil)[:20]), "\x00", ""},
	"a frame of Dubbo":            {config.Dubbo, string(dubboFrame(flagRequest, 0, 7, make([]byte, 100))[:20]), "\x00", ""},
	"a frame of Bolt, by auto":    {config.Auto, string(frame(1, 1, echoService, nil)[:20]), "\x00", ""},
	"a frame behind a whole one":  {config.Bolt, string(append(frame(2, 1, "nobody", nil), 1)), "\x01", ""},
	"a large frame, but too slow": {config.Bolt, string(frame(1, 1, echoService, make([]byte, 1<<20))[:200<<10]), strings.Repeat("x", 60<<10), ""},
}

// TestWhatIsBegunHasToComeWhole within 60 s, whoever has the connection: a handover begins them anew.
func TestWhatIsBegunHasToComeWhole(t *testing.T) {
	for name, tc := range begunClients {
		for _, what := range []string{"stays", "moves", "comes back"} {
			t.Run(name+"/"+what, func(t *testing.T) {
				addr := freePort(t)
				s := httpSnapshot(addr, nobody(t))
				s.Listeners[0].Protocol = tc.p
				e, skip := skipped(t, 1, s)
				conn := dialTCP(t, addr)
				say(t, e, conn, tc.begin)
				if what != "stays" {
					skip(40 * time.Second)
				}
				e, skip = owner(t, what, e, skip)
				skip(40 * time.Second)
				say(t, e, conn, tc.more)
				skip(10 * time.Second)
				if stats := e.Stats(); stats.Downstream[config.Outbound] != 1 || stats.Malformed != 0 {
					t.Fatal("it is closed although there is time left")
				}
				skip(11 * time.Second)
				_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
				got, err := io.ReadAll(conn)
				if !strings.Contains(string(got), tc.answer) || err != nil && tc.answer != "" {
					t.Errorf("the answer is %q, %v; want %q in it", got, err, tc.answer)
				}
				until(t, "it is closed", func() bool { return e.Stats().Downstream[config.Outbound] == 0 })
				if n := e.Stats().Malformed; n != 1 {
					t.Errorf("%d are counted as malformed, want 1", n)
				}
			})
		}
	}
}

// say writes and waits until the sidecar has read it.
func say(t *testing.T, e *proxy.Engine, conn net.Conn, what string) {
	t.Helper()
	read := func() (n uint64) {
		for _, c := range e.Conns() {
			if c.Kind == "downstream" {
				n += c.RxBytes
			}
		}
		return n
	}
	before := read()
	write(t, conn, []byte(what))
	until(t, "it is read", func() bool { return read() >= before+uint64(len(what)) })
}

// TestIdleClientsStay: who has said everything may be silent for as long as it likes, and is served when it goes on.
func TestIdleClientsStay(t *testing.T) {
	settled := http2Pieces(func(s *http2Script) {})
	request := newHTTP2Script()
	request.headers(1, true, 0, ":method= GET", ":scheme= http", ":authority= nobody", ":path= /")
	for name, tc := range map[string]struct {
		p              config.Protocol
		pieces         []string
		request, reply string
	}{
		"HTTP/1":                                 {config.HTTP1, []string{"GET / HT", "TP/1.1\r\nHost: nobody\r\n\r\n"}, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", "HTTP/1.1 404 "},
		"HTTP/1, an empty line behind a request": {config.HTTP1, []string{"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", "\r\n"}, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n", "HTTP/1.1 404 "},
		"HTTP/2":                                 {config.HTTP2, []string{settled[:5], settled[5:30], settled[30:]}, request.String(), "\x00\x00\x00\x01"},
		"Bolt":                                   {config.Bolt, []string{string(frame(2, 1, "nobody", nil)[:9]), string(frame(2, 1, "nobody", nil)[9:])}, string(frame(1, 7, "nobody", nil)), "\x00\x00\x00\x07"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			s := httpSnapshot(addr, nobody(t))
			s.Listeners[0].Protocol = tc.p
			e, skip := skipped(t, 1, s)
			conn := dialTCP(t, addr)
			for _, p := range tc.pieces {
				say(t, e, conn, p)
				skip(45 * time.Second)
			}
			skip(time.Hour)
			for range 2 {
				skip(61 * time.Second)
			}
			write(t, conn, []byte(tc.request))
			until(t, "an answer", func() bool { return e.Stats().Failed[proxy.FailNoRoute] > 0 })
			_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			if got, _ := io.ReadAll(conn); !strings.Contains(string(got), tc.reply) {
				t.Errorf("the answer is %q, want %q in it", got, tc.reply)
			}
			if n := e.Stats().Malformed; n != 0 {
				t.Errorf("%d are counted as malformed", n)
			}
		})
	}
}

// TestALargeFrameThatGetsOnStays, also when it takes minutes.
func TestALargeFrameThatGetsOnStays(t *testing.T) {
	addr := freePort(t)
	e, skip := skipped(t, 1, snapshot(addr, serve(t, nil)))
	conn := dialTCP(t, addr)
	rest := string(frame(1, 9, echoService, bytes.Repeat([]byte("x"), 600<<10)))
	for len(rest) > 0 {
		n := min(len(rest), 70<<10)
		say(t, e, conn, rest[:n])
		if rest = rest[n:]; len(rest) > 0 {
			skip(50 * time.Second)
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if m, err := readMessage(bufio.NewReader(conn)); err != nil || m.id != 9 || m.status != 0 {
		t.Errorf("the answer is %d with status %d, %v", m.id, m.status, err)
	}
}

// fromEndpoints is how many bytes endpoints have sent.
func fromEndpoints(e *proxy.Engine) (n uint64) {
	for _, c := range e.Conns() {
		if c.Kind == "upstream" {
			n += c.RxBytes
		}
	}
	return n
}

// uploads is a client of HTTP/2 in the middle of a frame of a body, whose rest is returned.
func uploads(t *testing.T, e *proxy.Engine, addr netip.AddrPort) (conn net.Conn, rest string) {
	t.Helper()
	s := newHTTP2Script()
	s.headers(1, false, 0, ":method= POST", ":scheme= http", ":authority= shop.demo", ":path= /")
	_ = s.WriteData(1, true, make([]byte, 10_000))
	all := http2Pieces(func(*http2Script) {}) + s.String()
	conn = dialTCP(t, addr)
	say(t, e, conn, all[:len(all)-9000])
	until(t, "the endpoint has spoken", func() bool { return fromEndpoints(e) > 0 })
	return conn, all[len(all)-9000:]
}

// TestASlowUploadStays over HTTP/2 as over HTTP/1, also when its client stops for minutes in the middle of a frame, and through an
// upgrade.
func TestASlowUploadStays(t *testing.T) {
	for _, what := range []string{"stays", "moves", "comes back"} {
		t.Run(what, func(t *testing.T) {
			o, addr := newOrigin(t, statusOnly(http.StatusOK)), freePort(t)
			e, skip := skipped(t, 1, http2Snapshot(addr, o.addr))
			conn, rest := uploads(t, e, addr)
			e, skip = owner(t, what, e, skip)
			for len(rest) > 0 {
				for range 3 {
					skip(50 * time.Second)
				}
				n := min(len(rest), 3000)
				say(t, e, conn, rest[:n])
				rest = rest[n:]
			}
			until(t, "it is answered", func() bool { return e.Stats().Answered[config.Outbound] == 1 })
			if n := e.Stats().Malformed; n != 0 {
				t.Errorf("%d are counted as malformed", n)
			}
		})
	}
}

// TestWhatWeHaveNotReadIsNotLate: a sidecar that has stood still for minutes, and finds timers that are over, reads first.
func TestWhatWeHaveNotReadIsNotLate(t *testing.T) {
	var standstill sync.Mutex
	now, ahead := clockFrom(), time.Duration(0)
	addr := freePort(t)
	e, _ := served(t, snapshot(addr, serve(t, nil)), func() time.Duration {
		standstill.Lock()
		defer standstill.Unlock()
		return now() + ahead
	}, 1)
	conn, whole := dialTCP(t, addr), string(frame(1, 9, echoService, make([]byte, 1000)))
	say(t, e, conn, whole[:20])
	var others []net.Conn
	for range 16 {
		others = append(others, dialTCP(t, addr))
	}
	until(t, "all are there", func() bool { return e.Stats().Downstream[config.Outbound] == 17 })
	time.Sleep(20 * time.Millisecond)
	standstill.Lock()
	for _, c := range others {
		write(t, c, []byte{1}) // every loop begins to read
	}
	time.Sleep(50 * time.Millisecond)
	write(t, conn, []byte(whole[20:]))
	ahead = 2 * time.Minute
	standstill.Unlock()
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if m, err := readMessage(bufio.NewReader(conn)); err != nil || m.id != 9 || m.status != 0 {
		t.Errorf("the answer is %d with status %d, %v", m.id, m.status, err)
	}
}

// TestAPipelinedHeadIsWaitedForWhenItIsRead: what has come of it while the answer before it was on its way is no delay.
func TestAPipelinedHeadIsWaitedForWhenItIsRead(t *testing.T) {
	answer := make(chan struct{})
	o := newOrigin(t, func(n int64, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			<-answer
		}
		w.WriteHeader(http.StatusNoContent)
	})
	addr := freePort(t)
	e, skip := skipped(t, 1, httpSnapshot(addr, o.addr))
	conn := dialTCP(t, addr)
	say(t, e, conn, "G")
	say(t, e, conn, "ET / HTTP/1.1\r\nHost: shop.demo\r\n\r\nGET / HT")
	until(t, "the endpoint has the request", func() bool { return e.Stats().Waiting+uint64(len(e.Conns())) > 1 })
	for range 3 {
		skip(50 * time.Second)
	}
	close(answer)
	r := bufio.NewReader(conn)
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := answerSize(r); err != nil {
		t.Fatal(err)
	}
	skip(50 * time.Second)
	write(t, conn, []byte("TP/1.1\r\nHost: shop.demo\r\n\r\n"))
	if _, err := answerSize(r); err != nil || e.Stats().Answered[config.Outbound] != 2 {
		t.Errorf("%d requests are answered, %v; want 2", e.Stats().Answered[config.Outbound], err)
	}
}

// TestAnEndpointThatDoesNotFinishIsLeft: it always says something, and so is asked for no heartbeat.
func TestAnEndpointThatDoesNotFinishIsLeft(t *testing.T) {
	a, skip := skippedAsker(t)
	a.ask(t, 1)
	a.accept(t)
	a.seen(t, 1)
	endless := string(frame(0, 7, "", make([]byte, 1000)))
	for n := range 4 {
		if a.e.Stats().Upstream != 1 {
			t.Fatalf("it is closed after %d s", n*14)
		}
		write(t, a.conn, []byte(endless[n:n+1]))
		until(t, "it is read", func() bool { return fromEndpoints(a.e) == uint64(n)+1 })
		skip(14 * time.Second)
	}
	for range 2 {
		skip(15 * time.Second)
	}
	until(t, "it is closed", func() bool { return a.e.Stats().Upstream == 0 })
	if n := a.e.Stats().Malformed; n != 1 {
		t.Errorf("%d are counted as malformed, want 1", n)
	}
}

// TestAnHTTP2EndpointThatDoesNotFinish a header block is left, whoever has its connection.
func TestAnHTTP2EndpointThatDoesNotFinish(t *testing.T) {
	for _, what := range []string{"stays", "moves", "comes back"} {
		t.Run(what, func(t *testing.T) {
			ln, addr := listenTCP(t), freePort(t)
			e, skip := skipped(t, 1, http2Snapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
			request := http2Pieces(func(s *http2Script) {
				s.headers(1, true, 0, ":method= GET", ":scheme= http", ":authority= shop.demo", ":path= /")
			})
			write(t, dialTCP(t, addr), []byte(request))
			conn, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			answer := block[len(http2.ClientPreface):]
			write(t, conn, []byte(answer[:9]))
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadFull(conn, make([]byte, len(request))); err != nil {
				t.Fatal(err)
			}
			write(t, conn, []byte(answer[9:]))
			until(t, "it is read", func() bool { return fromEndpoints(e) == uint64(len(answer)) })
			e, skip = owner(t, what, e, skip)
			for range 5 {
				skip(11 * time.Second)
			}
			if n := e.Stats().Malformed; n != 0 {
				t.Error("it is closed although there is time left")
			}
			for range 2 {
				skip(15 * time.Second)
			}
			until(t, "it is left", func() bool { return e.Stats().Malformed == 1 })
		})
	}
}
