package proxy_test

import (
	"bufio"
	"bytes"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/proxy"
)

func TestAClientThatAsksAndNeverReadsIsClosed(t *testing.T) {
	up := serve(t, nil)
	addr := freePort(t)
	e := started(t, 1, snapshot(addr, up))
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	heartbeat := frame(1, 7, "", nil)
	heartbeat[3] = 0
	many := bytes.Repeat(heartbeat, 10_000)
	for sent := 0; sent < 64<<20 && err == nil; sent += len(many) {
		_, err = conn.Write(many)
	}
	if err == nil {
		t.Error("64 MiB of heartbeats were taken from a client that reads no answer")
	}
	until(t, "the client is closed", func() bool { return e.Stats().Downstream[config.Outbound] == 0 })
	if n := e.Stats().Slow; n != 1 {
		t.Errorf("slow = %d, want 1", n)
	}
}

// TestAClientThatStopsReadingIsClosed: nothing more comes for it, and what it has not read is not kept for ever.
func TestAClientThatStopsReadingIsClosed(t *testing.T) {
	up := serve(t, nil)
	addr := freePort(t)
	e, skip := skipped(t, 1, snapshot(addr, up))
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	unsent := func() (n int) {
		for _, c := range e.Conns() {
			if c.Kind == "downstream" {
				n = c.Unsent
			}
		}
		return n
	}
	for id := uint32(1); unsent() <= 2<<20; id++ {
		write(t, conn, frame(1, id, echoService, make([]byte, 1<<20)))
		until(t, "the answer is queued", func() bool { return e.Stats().Answered[config.Outbound] == uint64(id) })
	}
	skip(3 * time.Second)
	if n := e.Stats().Slow; n != 0 {
		t.Errorf("closed after 3 s without reading")
	}
	skip(3 * time.Second)
	until(t, "the client is closed", func() bool { return e.Stats().Slow == 1 })
}

// TestAnEndpointWithoutAHeartbeatIsGivenUp: three go unanswered, then what waits there gets an error.
func TestAnEndpointWithoutAHeartbeatIsGivenUp(t *testing.T) {
	a, skip := skippedAsker(t)
	a.ask(t, 1)
	a.accept(t)
	a.seen(t, 1)
	for range 3 {
		skip(16 * time.Second)
		if m := a.read(t); m.kind != 1 || m.cmd != 0 {
			t.Fatalf("the endpoint got %+v, want a heartbeat", m)
		}
		skip(6 * time.Second)
	}
	a.got(t, map[uint32]uint16{1: 5})
}

func skippedAsker(t *testing.T) (*asker, func(time.Duration)) {
	t.Helper()
	b, addr := newBackend(t), freePort(t)
	s := snapshot(addr, addrOf(b.ln.Addr().(*net.TCPAddr).AddrPort()))
	e, skip := skipped(t, 1, s)
	a := &asker{backend: b, s: s, e: e}
	a.join(t)
	return a, skip
}

// TestALateHeartbeatAnswerMeetsNoRequest, not even after a handover, when ids start over.
func TestALateHeartbeatAnswerMeetsNoRequest(t *testing.T) {
	a, skip := skippedAsker(t)
	write(t, a.client, frame(2, 9, echoService, nil)) // opens a connection and takes no id
	a.accept(t)
	a.read(t)
	skip(16 * time.Second)
	beat := a.read(t)
	skip(6 * time.Second)
	w := begin(t, a.e, a.s)
	w.commit(t, w.freeze(t, 1))
	w.commit(t, w.freeze(t, 1))
	w.freeze(t, 0)
	w.candidate.Done()
	a.ask(t, 1)
	m := a.seen(t, 1)
	if m.id == beat.id {
		t.Errorf("id %x is given out again while its answer may still come", m.id)
	}
	ack := frame(0, beat.id, "", nil)
	ack[3] = 0
	write(t, a.conn, ack)
	a.answer(t, m)
	a.got(t, map[uint32]uint16{1: 0})
}

// deaf is an address on which connections stay half open until its second result is called.
func deaf(t *testing.T, ip [4]byte) (netip.AddrPort, func() net.Conn) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: ip}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4(ip), uint16(sa.(*unix.SockaddrInet4).Port))
	fill, err := net.Dial("tcp", addr.String()) // takes the only place in the queue
	if err != nil {
		t.Fatal(err)
	}
	_ = fill.Close()
	return addr, func() net.Conn {
		conn := -1
		for range 2 { // the first is the one that was in the way
			_ = unix.Close(conn)
			if conn, _, err = unix.Accept(fd); err != nil {
				t.Fatal(err)
			}
		}
		file := os.NewFile(uintptr(conn), "accepted")
		defer func() { _ = file.Close() }()
		c, err := net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
}

// TestAConnectionThatIsBeingOpenedAtAMove: what waits for it is the candidate's, also at its last attempt.
func TestAConnectionThatIsBeingOpenedAtAMove(t *testing.T) {
	last, _ := deaf(t, [4]byte{127, 0, 0, 2})
	addr := freePort(t)
	s := snapshot(addr)
	refused := freePort(t)
	s.Clusters["echo"].Endpoints = []netip.AddrPort{refused, netip.AddrPortFrom(refused.Addr(), refused.Port()+1), last}
	s.Clusters["echo"].ConnectTimeout = time.Minute
	e := started(t, 1, s)
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	write(t, conn, frame(1, 1, echoService, nil))
	until(t, "two endpoints have refused", func() bool { return e.Stats().Dialled == 3 })
	relayed := make(chan handover.Relay, 16)
	e.Donor().BeginMove(func(r handover.Relay) { relayed <- r })
	if n := len(relayed); n != 1 || e.Stats().Failed[proxy.FailConnect] != 0 {
		t.Errorf("%d requests were relayed, %+v; want 1 and no failure", n, e.Stats().Failed)
	}
}

// TestWhatWaitsForAConnectionIsSentAfterItsClusterHasGone: a snapshot that names neither the route nor the cluster, nor the
// limit that the cluster had, comes while the connection is being opened.
func TestWhatWaitsForAConnectionIsSentAfterItsClusterHasGone(t *testing.T) {
	slow, open := deaf(t, [4]byte{127, 0, 0, 1})
	addr := freePort(t)
	s := snapshot(addr, addrOf(slow))
	s.Clusters["echo"].ConnectTimeout, s.Clusters["echo"].MaxRequests = time.Minute, 3
	a := &asker{backend: &backend{}, s: s, e: started(t, 1, s)}
	a.join(t)
	a.ask(t, 1)
	until(t, "the request waits", func() bool { return a.e.Stats().Dialled == 1 })
	if err := a.e.Apply(&config.Snapshot{Listeners: s.Listeners}); err != nil {
		t.Fatal(err)
	}
	a.conn = open()
	a.r = bufio.NewReader(a.conn)
	a.answer(t, a.seen(t, 1))
	a.got(t, map[uint32]uint16{1: 0})
	until(t, "the connection is closed after that", func() bool { return a.e.Stats().Upstream == 0 })
}

// TestAConnectionThatIsBeingOpenedHops goes through the real transport: the donor gives up the connection when the move
// begins, which makes it relay what waits before the candidate has been told to accept.
func TestAConnectionThatIsBeingOpenedHops(t *testing.T) {
	slow, open := deaf(t, [4]byte{127, 0, 0, 1})
	addr := freePort(t)
	s := snapshot(addr, addrOf(slow))
	s.Clusters["echo"].ConnectTimeout = time.Minute
	e, set := newEngine(t, 1, 1)
	now := generation{e, set, 1}
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	a := &asker{backend: &backend{}, s: s}
	a.join(t)
	a.ask(t, 1)
	until(t, "the request waits", func() bool { return e.Stats().Dialled == 1 })
	now = hop(t, now, 1, s)
	defer now.Stop()
	a.conn = open()
	a.r = bufio.NewReader(a.conn)
	a.answer(t, a.seen(t, 1))
	a.got(t, map[uint32]uint16{1: 0})
}
