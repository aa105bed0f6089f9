package proxy_test

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// lastBytes leaves a pair whose endpoint has closed while its client has not read all of its answer: it returns the
// client, and how many bytes are to come.
func lastBytes(t *testing.T, e *proxy.Engine, addr netip.AddrPort, ln net.Listener) (client net.Conn, size int) {
	t.Helper()
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	_ = client.SetDeadline(time.Now().Add(20 * time.Second))
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(conn); err != nil {
		t.Fatal(err)
	}
	size = fill(t, e, conn)
	return client, size
}

// fill writes to conn, an endpoint's, until its client's connection takes no more, and closes it.
func fill(t *testing.T, e *proxy.Engine, conn net.Conn) (size int) {
	t.Helper()
	for full := 0; full < 3; { // the kernel holds no more for the client, and that is no moment before a write
		if full == 0 {
			n, err := conn.Write(bytes.Repeat([]byte("a"), 32<<10))
			if err != nil {
				t.Fatal(err)
			}
			size += n
		}
		time.Sleep(2 * time.Millisecond) // all of it has been passed on, or waits
		full++
		for _, c := range e.Conns() {
			if c.Kind == "downstream" && c.Unsent == 0 {
				full = 0
			}
		}
	}
	_ = conn.Close()
	until(t, "the endpoint's side is closed", func() bool {
		for _, c := range e.Conns() {
			if c.Kind == "upstream" && c.Connected {
				return false
			}
		}
		return true
	})
	return size
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func TestTheLastBytesOfAPairMove(t *testing.T) {
	ln, addr := listenTCP(t), freePort(t)
	s := tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort())
	from := started(t, 1, s)
	client, size := lastBytes(t, from, addr, ln)
	to, _ := newEngine(t, 2, 1)
	defer to.Stop()
	give(t, from, to)
	if n := to.Stats().Downstream[config.Inbound]; n != 1 {
		t.Errorf("%d clients have moved, want the one that still reads", n)
	}
	from.Stop()
	got, err := io.ReadAll(client)
	if err != nil || len(got) != size {
		t.Errorf("the client read %d bytes, %v; want %d", len(got), err, size)
	}
	until(t, "the client is gone", func() bool { return to.Stats().Downstream[config.Inbound] == 0 })
	for name, c := range to.Stats().Series {
		if name.Protocol != proxy.SpokenTCP || c.Ended() != 1 || c.Codes[0].Flag != proxy.FlagNone {
			t.Errorf("%+v: %+v", name, c)
		}
	}
	if n := len(to.Stats().Series); n != 1 {
		t.Errorf("%d series, want the one connection's", n)
	}
}

func TestLeavingWaitsForTheLastBytes(t *testing.T) {
	ln, addr := listenTCP(t), freePort(t)
	e := started(t, 1, tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
	client, size := lastBytes(t, e, addr, ln)
	e.Leave()
	select {
	case <-e.Left():
		t.Error("left while a client had not got everything")
	default:
	}
	got, err := io.ReadAll(client)
	if err != nil || len(got) != size {
		t.Errorf("the client read %d bytes, %v; want %d", len(got), err, size)
	}
	<-e.Left()
}

func TestAClientThatNeverReadsItsLastBytesIsClosed(t *testing.T) {
	ln, addr := listenTCP(t), freePort(t)
	e, skip := skipped(t, 1, tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
	lastBytes(t, e, addr, ln)
	skip(59 * time.Second)
	if n := e.Stats().Downstream[config.Inbound]; n != 1 {
		t.Error("it is closed although it may only be slow")
	}
	skip(2 * time.Second)
	until(t, "the client is closed", func() bool { return e.Stats().Downstream[config.Inbound] == 0 })
	if n := e.Stats().Slow; n != 1 {
		t.Errorf("slow = %d, want 1", n)
	}
}

// TestAClientThatBreaksOffBeforeThereIsAnEndpoint: a reset is heard although nothing is read yet.
func TestAClientThatBreaksOffBeforeThereIsAnEndpoint(t *testing.T) {
	ln, addr := listenTCP(t), freePort(t)
	e := started(t, 1, tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
	e.Donor().BeginMove(func(handover.Relay) {}) // nothing is dialled during a move
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the client is here", func() bool { return e.Stats().Downstream[config.Inbound] == 1 })
	write(t, client, []byte("nobody reads this"))
	_ = client.(*net.TCPConn).SetLinger(0)
	_ = client.Close()
	until(t, "the client is gone", func() bool { return e.Stats().Downstream[config.Inbound] == 0 })
}

// TestPairsThatWaitForAnEndpointGoOnAfterAnAbort: what was accepted or being connected during the move is served here.
func TestPairsThatWaitForAnEndpointGoOnAfterAnAbort(t *testing.T) {
	ln, addr := listenTCP(t), freePort(t)
	e := started(t, 1, tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
	donor := e.Donor()
	donor.BeginMove(func(handover.Relay) {})
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	until(t, "the client is here", func() bool { return e.Stats().Downstream[config.Inbound] == 1 })
	donor.PauseAccept()
	b, err := donor.Freeze(1, 8)
	if err != nil || len(b.Conns) != 1 {
		t.Fatalf("froze %d connections, %v; want the client's", len(b.Conns), err)
	}
	donor.Thaw(1)
	donor.EndMove()
	donor.ResumeAccept()
	write(t, client, []byte("hello"))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("the endpoint read %q, %v", got, err)
	}
}
