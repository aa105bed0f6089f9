package proxy_test

import (
	"bufio"
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// beginMove brings a handover without a transport to where connections move.
func beginMove(t *testing.T, from, to *proxy.Engine) (handover.Donor, handover.Candidate) {
	t.Helper()
	donor, candidate := from.Donor(), to.Candidate()
	donor.Split(true)
	from.PartHTTP2(1) // so that there is something between the two connections of a request
	warm, err := donor.Warm()
	if err != nil {
		t.Fatal(err)
	}
	if err := candidate.Warm(warm); err != nil {
		t.Fatal(err)
	}
	donor.PauseAccept()
	candidate.BeginMove(donor.Relayed)
	donor.BeginMove(candidate.Relayed)
	return donor, candidate
}

// give moves everything from one engine to another without a transport: the states and duplicates of the descriptors.
func give(t *testing.T, from, to *proxy.Engine) {
	t.Helper()
	donor, candidate := beginMove(t, from, to)
	for id := uint64(1); ; id++ {
		b, err := donor.Freeze(id, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Conns) == 0 {
			break
		}
		for more := true; more; {
			duplicate(t, &b)
			if err := candidate.Prepare(b); err != nil {
				t.Fatal(err)
			}
			if more = b.More; more {
				if b, err = donor.Freeze(id, 2); err != nil || len(b.Conns) == 0 {
					t.Fatalf("a part of %d connections, %v", len(b.Conns), err)
				}
			}
		}
		candidate.Activate(id)
		donor.Release(id)
	}
	candidate.Done()
	if n := from.Stats().Mismatch; n > 0 {
		t.Errorf("%d connections with bytes unaccounted for", n)
	}
}

// backend is the other end of an upstream connection, worked by hand.
type backend struct {
	ln   net.Listener
	conn net.Conn
	r    *bufio.Reader
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return &backend{ln: ln}
}

// session is what one client sends: a large and a small request, and a heartbeat between them.
func session() (requests []byte, bodies [][]byte) {
	bodies = [][]byte{bytes.Repeat([]byte("first"), 30), []byte("second")}
	heartbeat := frame(1, 500, "", nil)
	heartbeat[3] = 0
	requests = append(requests, frame(1, 1, echoService, bodies[0])...)
	requests = append(requests, heartbeat...)
	return append(requests, frame(1, 2, echoService, bodies[1])...), bodies
}

// TestFreezeAtEveryByteOfTheRequests hops after every prefix of what a client sends.
func TestFreezeAtEveryByteOfTheRequests(t *testing.T) {
	requests, bodies := session()
	for cut := 0; cut <= len(requests); cut++ {
		sweep(t, func(client net.Conn, b *backend, hop func()) {
			write(t, client, requests[:cut])
			hop()
			write(t, client, requests[cut:])
			b.accept(t)
			for range bodies {
				m := b.read(t)
				write(t, b.conn, frame(0, m.id, "", m.body))
			}
		})
		if t.Failed() {
			t.Fatalf("at byte %d of %d", cut, len(requests))
		}
	}
}

// TestFreezeAtEveryByteOfTheAnswers hops after every prefix of what the endpoint answers, with both requests pending.
func TestFreezeAtEveryByteOfTheAnswers(t *testing.T) {
	requests, bodies := session()
	size := 0
	for _, body := range bodies {
		size += len(frame(0, 0, "", body))
	}
	for cut := 0; cut <= size; cut++ {
		sweep(t, func(client net.Conn, b *backend, hop func()) {
			write(t, client, requests)
			b.accept(t)
			var answers []byte
			for range bodies {
				m := b.read(t)
				answers = append(answers, frame(0, m.id, "", m.body)...)
			}
			write(t, b.conn, answers[:cut])
			hop()
			write(t, b.conn, answers[cut:])
		})
		if t.Failed() {
			t.Fatalf("at byte %d of %d", cut, size)
		}
	}
}

// neighbours are an engine that serves s and one that takes over from it. end stops both and closes their sockets.
func neighbours(t *testing.T, s *config.Snapshot) (from, to *proxy.Engine, end func()) {
	t.Helper()
	return neighboursOf(t, s, 1)
}

func neighboursOf(t *testing.T, s *config.Snapshot, loops int) (from, to *proxy.Engine, end func()) {
	t.Helper()
	from, fromSet := newEngine(t, 1, loops)
	to, toSet := newEngine(t, 2, loops)
	if err := from.Apply(s); err != nil {
		t.Fatal(err)
	}
	from.Serve()
	inner := *s
	inner.Listeners = nil // the client is there already
	if err := to.Apply(&inner); err != nil {
		t.Fatal(err)
	}
	return from, to, func() {
		from.Stop()
		to.Stop()
		for _, set := range []interface{ All() []handover.Socket }{fromSet, toSet} {
			for _, socket := range set.All() {
				_ = unix.Close(socket.FD)
			}
		}
	}
}

// sweep runs one session against two engines, and checks what its client got.
func sweep(t *testing.T, run func(client net.Conn, b *backend, hop func())) {
	t.Helper()
	b := newBackend(t)
	sweepOn(t, b, b.ln.Addr().(*net.TCPAddr).AddrPort(), run)
}

func sweepOn(t *testing.T, b *backend, at netip.AddrPort, run func(client net.Conn, b *backend, hop func())) {
	t.Helper()
	_, bodies := session()
	addr := freePort(t)
	s := snapshot(addr, &server{addr: at})
	from, to, end := neighbours(t, s)
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = client.SetDeadline(time.Now().Add(10 * time.Second))
	run(client, b, func() {
		for from.Stats().Downstream[config.Outbound] == 0 {
			time.Sleep(100 * time.Microsecond)
		}
		give(t, from, to)
	})
	checkAnswers(t, client, bodies)
	_ = client.Close()
	end()
	_ = b.conn.Close()
	_ = b.ln.Close()
}

func checkAnswers(t *testing.T, client net.Conn, bodies [][]byte) {
	t.Helper()
	r := bufio.NewReader(client)
	seen := map[uint32]int{}
	for range len(bodies) + 1 {
		m, err := readMessage(r)
		if err != nil {
			t.Error(err)
			return
		}
		seen[m.id]++
		if m.cmd != 0 && (m.status != 0 || !bytes.Equal(m.body, bodies[m.id-1])) {
			t.Errorf("answer %d has status %d and %d bytes", m.id, m.status, len(m.body))
		}
	}
	if seen[1] != 1 || seen[2] != 1 || seen[500] != 1 {
		t.Errorf("answers %v, want one for 1, 2 and the heartbeat 500", seen)
	}
}

func write(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if len(b) == 0 {
		return
	}
	if _, err := c.Write(b); err != nil {
		t.Error(err)
	}
}

func (b *backend) accept(t *testing.T) {
	t.Helper()
	conn, err := b.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // and until then the collector leaves it open
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	b.conn, b.r = conn, bufio.NewReader(conn)
}

func (b *backend) read(t *testing.T) message {
	t.Helper()
	m, err := readMessage(b.r)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
