package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/proxy"
	"github.com/axlemesh/axle/sidecar/sockets"
)

// generation is one engine with its sockets, as a process would have them.
type generation struct {
	*proxy.Engine
	set *sockets.Set
	n   int64
}

// first is a generation that serves s.
func first(t *testing.T, loops int, s *config.Snapshot) generation {
	t.Helper()
	e, set := newEngine(t, 1, loops)
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	return generation{e, set, 1}
}

// hop hands everything over from one engine to a new one, through the real transport.
func hop(t *testing.T, from generation, loops int, s *config.Snapshot) generation {
	t.Helper()
	return hopAs(t, from, loops, s, handover.FeatureParts)
}

// hopAs is hop to a candidate that knows these features.
func hopAs(t *testing.T, from generation, loops int, s *config.Snapshot, features uint64) generation {
	t.Helper()
	to, given, err := handOver(t, from, loops, s, features)
	t.Logf("%d connections in %d us, of which they stood still for %d", given.Moved, given.DurationMicros, given.FreezeP99Micros)
	if err != nil || !given.OK {
		t.Fatalf("handover to generation %d: given %+v, %v", to.n, given, err)
	}
	if left := from.Conns(); len(left) > 0 {
		t.Errorf("generation %d still has %d connections: %+v", from.n, len(left), left)
	}
	if s := from.Stats(); s.Mismatch > 0 {
		t.Errorf("generation %d: the kernel's counters of %d connections are not ours", from.n, s.Mismatch)
	}
	from.Stop()
	_ = to.set.Close(sockets.Handover)
	return to
}

// handOver is hopAs for a handover that may be given up.
func handOver(t *testing.T, from generation, loops int, s *config.Snapshot, features uint64) (generation, handover.Result, error) {
	t.Helper()
	e, set := newEngine(t, from.n+1, loops)
	to := generation{e, set, from.n + 1}
	address := fmt.Sprintf("@axle-test-%s-%d", t.Name(), rand.Uint64())
	fd, err := handover.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.set.Close(sockets.Handover) }()
	if err := from.set.Adopt(sockets.Handover, fd); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	key := []byte("0123456789abcdef0123456789abcdef")
	var given handover.Result
	var giveErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		given, giveErr = handover.Serve(ctx, handover.ServeConfig{
			Listener: fd, Donor: from.Donor(), Sockets: from.set.All, Clock: time.Now, Log: testr.New(t),
			Key: func() ([]byte, int64, int64, bool) { return key, from.n, to.n, true }, BatchLimit: 8,
			Features: handover.FeatureParts,
		})
	})
	taken, err := handover.Take(ctx, handover.TakeConfig{
		Address: address, Key: key, From: from.n, To: to.n, Clock: time.Now, Log: testr.New(t),
		Candidate: to.Candidate(), Features: features,
		AdoptSockets: func(all []handover.Socket) error {
			for _, socket := range all {
				if err := set.Adopt(socket.Key, socket.FD); err != nil {
					return err
				}
			}
			return e.Apply(s)
		},
	})
	wg.Wait()
	if taken.OK != given.OK {
		t.Errorf("taken %+v, given %+v", taken, given)
	}
	return to, given, errors.Join(err, giveErr)
}

// TestHopsUnderLoad moves clients that never retry from engine to engine: every request is answered, once, correctly,
// on the connection that it was sent on; the servers' connections stay the same too.
func TestHopsUnderLoad(t *testing.T) {
	const hops, conns = 12, 60
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	jitter := func(n int64) time.Duration { return time.Duration(n%17) * time.Millisecond }
	a, b := serve(t, jitter), serve(t, jitter)
	addr := freePort(t)
	s := snapshot(addr, a, b)
	now := first(t, 2, s)
	var clients []*client
	for range conns {
		clients = append(clients, dial(t, addr))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, c := range clients {
		big := rnd.IntN(20_000)
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if c.waiting() < 8 {
					if err := c.ask([]byte(fmt.Sprintf("%d-%d-%0*d", i, n, 1+(n*7919)%(big+1), n))); err != nil {
						t.Error(err)
						return
					}
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	var last proxy.Stats
	for i := range hops {
		time.Sleep(30 * time.Millisecond)
		now = hop(t, now, 1+i%2, s)
		stats := now.Stats()
		if stats.Requests[1] < last.Requests[1] || stats.Answered[1] < last.Answered[1] {
			t.Errorf("counters went back: %+v after %+v", stats.Counters, last.Counters)
		}
		neverBack(t, last, stats)
		last = stats
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
	if int(stats.Requests[1]) != total || int(stats.Answered[1]) != total {
		t.Errorf("clients count %d requests, the engines %d and %d answers", total, stats.Requests[1], stats.Answered[1])
	}
	if n := a.conns.Load() + b.conns.Load(); n > 8 {
		t.Errorf("the servers have seen %d connections: upstream connections do not move", n)
	}
	for _, c := range clients {
		_ = c.conn.Close()
	}
	now.Stop()
}

// TestPlainConnectionsMove echoes through pairs that hop while their bytes are on the way.
func TestPlainConnectionsMove(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	addr := freePort(t)
	s := tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort())
	now := first(t, 1, s)
	var wg sync.WaitGroup
	for i := range 10 {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { pump(t, conn, uint64(i)) })
	}
	for range 10 {
		time.Sleep(20 * time.Millisecond)
		now = hop(t, now, 1, s)
	}
	wg.Wait()
	now.Stop()
}

// pump sends 16 MB of a random stream, slowly enough to meet every hop, and compares what comes back.
func pump(t *testing.T, conn net.Conn, seed uint64) {
	const size = 16 << 20
	go func() {
		out := rand.NewChaCha8([32]byte{byte(seed)})
		buf := make([]byte, 64<<10)
		for range size / len(buf) {
			_, _ = out.Read(buf)
			if _, err := conn.Write(buf); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	want := rand.NewChaCha8([32]byte{byte(seed)})
	got, expect := make([]byte, 32<<10), make([]byte, 32<<10)
	total := 0
	for {
		n, err := conn.Read(got)
		_, _ = want.Read(expect[:n])
		if string(got[:n]) != string(expect[:n]) {
			t.Errorf("bytes %d to %d are not those that were sent", total, total+n)
			return
		}
		total += n
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Error(err)
			return
		}
	}
	if total != size {
		t.Errorf("%d bytes came back, want %d", total, size)
	}
}
