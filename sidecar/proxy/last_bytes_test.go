package proxy_test

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// closing leaves a client that has not read all of what it was sent last, and whose connection is to be closed.
type closing func(t *testing.T, e *proxy.Engine, addr netip.AddrPort, ln net.Listener)

// lastAnswer gets there over HTTP: request is what the client says, head what the endpoint begins with; it is empty in a tunnel.
func lastAnswer(request, head string) closing {
	return func(t *testing.T, e *proxy.Engine, addr netip.AddrPort, ln net.Listener) {
		write(t, dialTCP(t, addr), []byte(request))
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if head != "" {
			if _, err := conn.Read(make([]byte, 4<<10)); err != nil {
				t.Fatal(err)
			}
			write(t, conn, []byte(head))
		} else {
			_ = conn.(*net.TCPConn).SetLinger(0) // a tunnel that only one side has ended goes on
		}
		fill(t, e, conn)
	}
}

var closings = map[string]struct {
	p     config.Protocol
	begin closing
}{
	"a pair":    {config.TCP, func(t *testing.T, e *proxy.Engine, addr netip.AddrPort, ln net.Listener) { lastBytes(t, e, addr, ln) }},
	"an answer": {config.HTTP1, lastAnswer("GET / HTTP/1.1\r\nHost: shop.demo\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n")},
	"a tunnel":  {config.HTTP1, lastAnswer("CONNECT shop.demo:80 HTTP/1.1\r\nHost: shop.demo:80\r\n\r\n", "")},
}

// unreadBy is an engine whose listener speaks p, with a client that does not read, as begin makes it.
func unreadBy(t *testing.T, p config.Protocol, begin closing) (e *proxy.Engine, skip func(time.Duration)) {
	t.Helper()
	ln, addr := listenTCP(t), freePort(t)
	to := ln.Addr().(*net.TCPAddr).AddrPort()
	s := httpSnapshot(addr, to)
	s.Listeners[0].Protocol = p
	if p == config.TCP {
		s = tcpSnapshot(addr, to)
	}
	e, skip = skipped(t, 1, s)
	begin(t, e, addr, ln)
	return e, skip
}

// TestLastBytesAreNotKeptForEver: whoever is to be closed and reads nothing for 60 s is closed, also by the next owner.
func TestLastBytesAreNotKeptForEver(t *testing.T) {
	for name, tc := range closings {
		for _, what := range []string{"stays", "moves", "comes back"} {
			t.Run(name+"/"+what, func(t *testing.T) {
				e, skip := unreadBy(t, tc.p, tc.begin)
				there := func() uint64 { d := e.Stats().Downstream; return d[config.Inbound] + d[config.Outbound] }
				skip(59 * time.Second)
				e, skip = owner(t, what, e, skip)
				if what != "stays" {
					skip(59 * time.Second)
				}
				if there() != 1 {
					t.Fatal("it is closed although it may only be slow")
				}
				skip(2 * time.Second)
				until(t, "it is closed", func() bool { return there() == 0 })
				if n := e.Stats().Slow; n != 1 {
					t.Errorf("slow = %d, want 1", n)
				}
			})
		}
	}
}

// TestAnEndpointThatIsLeftAndDoesNotRead is closed all the same.
func TestAnEndpointThatIsLeftAndDoesNotRead(t *testing.T) {
	b, addr := newBackend(t), freePort(t)
	s := snapshot(addr, addrOf(b.ln.Addr().(*net.TCPAddr).AddrPort()))
	e, skip := skipped(t, 1, s)
	client := dialTCP(t, addr)
	waiting := func() (n int) {
		for _, c := range e.Conns() {
			if c.Kind == "upstream" {
				n += c.Unsent
			}
		}
		return n
	}
	for id := uint32(1); waiting() == 0; id++ {
		say(t, e, client, string(frame(2, id, echoService, make([]byte, 256<<10))))
		time.Sleep(2 * time.Millisecond)
	}
	if err := e.Apply(&config.Snapshot{Listeners: s.Listeners}); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		skip(14 * time.Second)
	}
	if e.Stats().Upstream != 1 {
		t.Error("it is closed although it may only be slow")
	}
	skip(5 * time.Second)
	until(t, "it is closed", func() bool { return e.Stats().Upstream == 0 })
	if n := e.Stats().Slow; n != 1 {
		t.Errorf("slow = %d, want 1", n)
	}
}

// TestStreamsThatGoOneWayStay: a peer that has said its last is sent to for as long as the other side likes, and may rest between reads.
func TestStreamsThatGoOneWayStay(t *testing.T) {
	for name, hello := range map[string]string{"a pair": "", "a tunnel": "CONNECT shop.demo:80 HTTP/1.1\r\nHost: shop.demo:80\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			ln, addr := listenTCP(t), freePort(t)
			to := ln.Addr().(*net.TCPAddr).AddrPort()
			s := httpSnapshot(addr, to)
			if hello == "" {
				s = tcpSnapshot(addr, to)
			}
			e, skip := skipped(t, 1, s)
			client := dialTCP(t, addr).(*net.TCPConn)
			write(t, client, []byte(hello))
			conn, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if err := client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			size := 0
			for full := false; !full; {
				write(t, conn, make([]byte, 32<<10))
				size += 32 << 10
				time.Sleep(2 * time.Millisecond)
				for _, c := range e.Conns() {
					full = full || c.Kind == "downstream" && c.Unsent > 0
				}
			}
			for range 3 {
				skip(time.Hour)
			}
			write(t, conn, []byte("last"))
			_ = conn.Close()
			_ = client.SetReadDeadline(time.Now().Add(20 * time.Second))
			if got, err := io.ReadAll(client); err != nil || len(got) < size+4 || !strings.HasSuffix(string(got), "last") {
				t.Errorf("%d bytes of %d have come, %v", len(got), size+4, err)
			}
		})
	}
}
