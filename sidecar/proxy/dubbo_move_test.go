package proxy_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// dubboSession is what one client sends: two requests, and a heartbeat between them.
func dubboSession() (requests []byte, bodies [][]byte) {
	bodies = [][]byte{dubboCall(echoDubbo, "pay", bytes.Repeat([]byte("first"), 20)), dubboCall(echoDubbo, "pay", nil)}
	requests = dubboFrame(flagRequest, 0, 1<<63+1, bodies[0])
	requests = append(requests, dubboFrame(flagAsk, 0, 1<<63+500, []byte("N"))...)
	return append(requests, dubboFrame(flagRequest, 0, 1<<63+2, bodies[1])...), bodies
}

func TestFreezeAtEveryByteOfDubboRequests(t *testing.T) {
	requests, bodies := dubboSession()
	for cut := 0; cut <= len(requests); cut++ {
		sweepDubbo(t, func(client net.Conn, b *backend, hop func()) {
			write(t, client, requests[:cut])
			hop()
			write(t, client, requests[cut:])
			b.accept(t)
			for range bodies {
				if m, err := readDubbo(b.conn); err == nil {
					write(t, b.conn, dubboFrame(flagResponse, 20, m.id, m.body))
				}
			}
		})
		if t.Failed() {
			t.Fatalf("at byte %d of %d", cut, len(requests))
		}
	}
}

func TestFreezeAtEveryByteOfDubboAnswers(t *testing.T) {
	requests, bodies := dubboSession()
	size := 16*len(bodies) + len(bodies[0]) + len(bodies[1])
	for cut := 0; cut <= size; cut++ {
		sweepDubbo(t, func(client net.Conn, b *backend, hop func()) {
			write(t, client, requests)
			b.accept(t)
			var answers []byte
			for range bodies {
				m, err := readDubbo(b.conn)
				if err != nil {
					t.Fatal(err)
				}
				answers = append(answers, dubboFrame(flagResponse, 20, m.id, m.body)...)
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

// sweepDubbo runs one session against two engines, and checks what its client got.
func sweepDubbo(t *testing.T, run func(client net.Conn, b *backend, hop func())) {
	t.Helper()
	b, addr := newBackend(t), freePort(t)
	s := dubboSnapshot(addr, b.ln.Addr().(*net.TCPAddr).AddrPort())
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
	_, bodies := dubboSession()
	seen := map[uint64]int{}
	for range len(bodies) + 1 {
		m, err := readDubbo(client)
		if err != nil {
			t.Error(err)
			break
		}
		seen[m.id-1<<63]++
		if m.flags == flagResponse && (m.status != 20 || !bytes.Equal(m.body, bodies[m.id-1<<63-1])) {
			t.Errorf("answer %x has status %d and %d bytes", m.id, m.status, len(m.body))
		}
	}
	if seen[1] != 1 || seen[2] != 1 || seen[500] != 1 {
		t.Errorf("answers %v, want one for 1, 2 and the heartbeat 500", seen)
	}
	_ = client.Close()
	end()
	_ = b.conn.Close()
	_ = b.ln.Close()
}

// TestDubboHopsUnderLoad moves Dubbo clients that never retry from engine to engine.
func TestDubboHopsUnderLoad(t *testing.T) {
	const hops, conns = 8, 40
	to := dubboServer(t, "one", func(id uint64) time.Duration { return time.Duration(id%17) * time.Millisecond })
	addr := freePort(t)
	s := dubboSnapshot(addr, to)
	now := first(t, 2, s)
	var clients []*dubboClient
	for range conns {
		clients = append(clients, dialDubbo(t, addr, "one"))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, c := range clients {
		big := rand.IntN(20_000)
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if c.waiting() < 8 {
					if err := c.ask(fmt.Appendf(nil, "%d-%d-%0*d", i, n, 1+(n*7919)%(big+1), n)); err != nil {
						t.Error(err)
						return
					}
				}
				time.Sleep(2 * time.Millisecond)
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
	if int(stats.Requests[1]) != total || int(stats.Answered[1]) != total || stats.Moved < hops*conns {
		t.Errorf("clients count %d requests, the engines %d, %d answers and %d moves", total, stats.Requests[1], stats.Answered[1], stats.Moved)
	}
	for _, c := range now.Conns() {
		if c.Protocol != "dubbo" {
			t.Errorf("a connection speaks %q", c.Protocol)
		}
	}
	for _, c := range clients {
		_ = c.conn.Close()
	}
	now.Stop()
}

// leaving are two Dubbo endpoints behind a sidecar: one holds a request and is about to leave, the other answers everything.
type leaving struct {
	gen     generation
	s       *config.Snapshot
	client  net.Conn
	one     *backend
	other   netip.AddrPort
	held    uint64 // the one's id of its request
	request []byte
}

func newLeaving(t *testing.T) *leaving {
	t.Helper()
	x := &leaving{one: newBackend(t), other: dubboServer(t, "stays", nil), request: dubboCall(echoDubbo, "pay", nil)}
	addr := freePort(t)
	x.s = dubboSnapshot(addr, x.one.ln.Addr().(*net.TCPAddr).AddrPort())
	x.s.Clusters["echo"].Endpoints = append(x.s.Clusters["echo"].Endpoints, x.other)
	slices.SortFunc(x.s.Clusters["echo"].Endpoints, netip.AddrPort.Compare)
	e, set := newEngine(t, 1, 1)
	x.gen = generation{e, set, 1}
	t.Cleanup(func() { x.gen.Stop() })
	if err := e.Apply(x.s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	x.client = dialTCP(t, addr)
	_ = x.client.SetDeadline(time.Now().Add(10 * time.Second))
	x.ask(t, 1)
	x.ask(t, 2) // one of both goes to each
	x.one.accept(t)
	m, err := readDubbo(x.one.conn)
	if err != nil {
		t.Fatal(err)
	}
	x.held = m.id
	x.answered(t, "stays")
	return x
}

func (x *leaving) ask(t *testing.T, id uint64) {
	t.Helper()
	write(t, x.client, dubboFrame(flagRequest, 0, id, x.request))
}

func (x *leaving) answered(t *testing.T, by string) {
	t.Helper()
	if m, err := readDubbo(x.client); err != nil || m.status != 20 || !bytes.HasPrefix(m.body, []byte(by)) {
		t.Fatalf("the client got %+v, %v, want an answer of the one that %s", m, err, by)
	}
}

// TestADubboEndpointThatLeavesIsLeftAlone: it goes on listening for as long as it has requests, and gets no connection in the place of the
// one that takes no more; an upgrade does not forget that.
func TestADubboEndpointThatLeavesIsLeftAlone(t *testing.T) {
	x := newLeaving(t)
	write(t, x.one.conn, dubboFrame(flagNews, 0, 100, []byte("\x01R")))
	write(t, x.one.conn, dubboFrame(flagAsk, 0, 101, []byte("N")))
	if ack, err := readDubbo(x.one.conn); err != nil || ack.id != 101 {
		t.Fatalf("its heartbeat got %+v, %v", ack, err)
	}
	for hops := range uint64(3) {
		if hops > 0 {
			x.gen = hop(t, x.gen, 1, x.s)
		}
		for id := range uint64(10) {
			x.ask(t, 10*hops+id+10)
			x.answered(t, "stays")
		}
	}
	write(t, x.one.conn, dubboFrame(flagResponse, 20, x.held, []byte("leaves")))
	x.answered(t, "leaves")
}

// TestADubboEndpointThatIsRemovedIsUsedAgain by a successor whose configuration has it: it has never said that it leaves.
func TestADubboEndpointThatIsRemovedIsUsedAgain(t *testing.T) {
	x := newLeaving(t)
	s, c := *x.s, *x.s.Clusters["echo"]
	c.Endpoints, s.Clusters = []netip.AddrPort{x.other}, map[string]*config.Cluster{"echo": &c}
	if err := x.gen.Apply(&s); err != nil {
		t.Fatal(err)
	}
	for id := range uint64(5) {
		x.ask(t, 10+id)
		x.answered(t, "stays")
	}
	x.gen = hop(t, x.gen, 1, x.s)
	for id := range uint64(5) {
		x.ask(t, 20+id)
	}
	_ = x.one.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if m, err := readDubbo(x.one.conn); err != nil || m.flags != flagRequest {
		t.Errorf("it got %+v, %v, want a request", m, err)
	}
}
