package proxy_test

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// dialSmall opens a connection whose client's kernel holds little of what it does not read.
func dialSmall(t *testing.T, addr netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) })
	}}
	conn, err := d.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// waits says that bytes wait for the client, and that this is no moment before a write.
func waits(e *proxy.Engine) bool {
	for range 3 {
		time.Sleep(5 * time.Millisecond)
		for _, c := range e.Conns() {
			if c.Kind == "downstream" && c.Unsent == 0 {
				return false
			}
		}
	}
	return true
}

// unreadAnswers asks for what nobody serves until the kernel takes no more of the answers.
func unreadAnswers(request string) closing {
	return func(t *testing.T, e *proxy.Engine, addr netip.AddrPort, _ net.Listener) {
		const many = 500
		conn := dialSmall(t, addr)
		for asked := uint64(0); !waits(e); {
			write(t, conn, []byte(strings.Repeat(request, many)))
			asked += many
			until(t, "they are answered", func() bool { return e.Stats().Failed[proxy.FailNoRoute] >= asked || mostWaiting(e) > 256<<10 })
		}
	}
}

// unreadStream begins to get something that does not end: head is what the endpoint begins with.
func unreadStream(request, head string) closing {
	return func(t *testing.T, e *proxy.Engine, addr netip.AddrPort, ln net.Listener) {
		write(t, dialSmall(t, addr), []byte(request))
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if head != "" {
			if _, err := conn.Read(make([]byte, 4<<10)); err != nil {
				t.Fatal(err)
			}
		}
		write(t, conn, []byte(head))
		for !waits(e) {
			write(t, conn, make([]byte, 32<<10))
		}
	}
}

var unreadClients = map[string]struct {
	p     config.Protocol
	begin closing
	stays bool
}{
	"answers of HTTP/1":                        {config.HTTP1, unreadAnswers("GET / HTTP/1.1\r\nHost: nobody\r\n\r\n"), false},
	"an answer that is not over":               {config.HTTP1, unreadStream("GET / HTTP/1.1\r\nHost: shop.demo\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"), false},
	"answers of Bolt":                          {config.Bolt, unreadAnswers(string(frame(1, 1, "nobody", nil))), false},
	"answers of Dubbo":                         {config.Dubbo, unreadAnswers(string(dubboFrame(flagRequest, 0, 1, dubboCall("nobody", "pay", nil)))), false},
	"streams of HTTP/2":                        {config.HTTP2, unreadHTTP2(""), false},
	"streams over an HTTP/2 that HTTP/1 began": {config.HTTP1, unreadHTTP2(""), false},
	"streams behind an offer":                  {config.HTTP2, unreadHTTP2(offer("GET", "", "")), false},
	"a tunnel":                                 {config.HTTP1, unreadStream("CONNECT shop.demo:80 HTTP/1.1\r\nHost: shop.demo:80\r\n\r\n", ""), true},
	"another protocol":                         {config.HTTP1, unreadStream("GET / HTTP/1.1\r\nHost: shop.demo\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"), true},
	"a plain connection":                       {config.TCP, unreadStream("x", ""), true},
}

// TestAnswersAreNotKeptForEver: a client that takes nothing of its answers for 5 minutes is closed, also by the next owner, which begins anew.
// What is no answer may wait.
func TestAnswersAreNotKeptForEver(t *testing.T) {
	for name, tc := range unreadClients {
		for _, what := range []string{"stays", "moves", "comes back"} {
			t.Run(name+"/"+what, func(t *testing.T) {
				e, skip := unreadBy(t, tc.p, tc.begin)
				there := func() uint64 { d := e.Stats().Downstream; return d[config.Inbound] + d[config.Outbound] }
				skip(285 * time.Second)
				e, skip = owner(t, what, e, skip)
				if what != "stays" {
					skip(285 * time.Second)
				}
				if there() != 1 {
					t.Fatal("it is closed although it may only be slow")
				}
				for range 3 {
					skip(15 * time.Second)
				}
				want := uint64(1)
				if tc.stays {
					skip(time.Hour)
					want = 0
				}
				until(t, "it is settled", func() bool { return there() == 1-want })
				if n := e.Stats().Slow; n != want {
					t.Errorf("slow = %d, want %d", n, want)
				}
			})
		}
	}
}

// TestAnAnswerThatIsNotReadEndsAsSlow in metrics.
func TestAnAnswerThatIsNotReadEndsAsSlow(t *testing.T) {
	ln, addr := listenTCP(t), freePort(t)
	e, skip := skipped(t, 1, httpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
	unreadClients["an answer that is not over"].begin(t, e, addr, ln)
	for range 24 {
		skip(15 * time.Second)
	}
	until(t, "it is closed", func() bool { return e.Stats().Downstream[config.Outbound] == 0 })
	for _, c := range e.Stats().Series {
		for _, one := range c.Codes {
			if one.Flag != proxy.FlagSlow || one.N != 1 {
				t.Errorf("%d ended as %s", one.N, one.Flag)
			}
		}
	}
}

// TestAnAnswerThatIsReadSlowlyIsWhole, as long as something of it is taken every minute.
func TestAnAnswerThatIsReadSlowlyIsWhole(t *testing.T) {
	ln, addr := listenTCP(t), freePort(t)
	e, skip := skipped(t, 1, httpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
	client := dialSmall(t, addr)
	write(t, client, []byte("GET / HTTP/1.1\r\nHost: shop.demo\r\n\r\n"))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	const size = 8 << 20
	go func() {
		_, _ = conn.Read(make([]byte, 4<<10))
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n")
		_, _ = conn.Write(make([]byte, size))
	}()
	until(t, "it waits", func() bool { return waits(e) })
	_ = client.SetReadDeadline(time.Now().Add(30 * time.Second))
	read := func(n int64) {
		if _, err := io.CopyN(io.Discard, client, n); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		read(64 << 10)
		time.Sleep(5 * time.Millisecond) // until the kernel knows
		skip(40 * time.Second)
	}
	read(size - 20*64<<10)
	if n := e.Stats().Slow; n != 0 {
		t.Errorf("slow = %d", n)
	}
}
