package proxy_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// TestUnixEndpointsMove hops under load in every protocol: no call fails, and the server keeps its connections.
func TestUnixEndpointsMove(t *testing.T) {
	for name, p := range talkers() {
		t.Run(name, func(t *testing.T) {
			ln, to := listenUnix(t, name == "bolt" || name == "http2")
			go p.serve(ln)
			addr := freePort(t)
			unixMoves(t, p, ln, addr, p.snapshot(addr, to), name == "http1")
		})
	}
}

// TestUnixEndpointsUnderTLSMove: the same with certificates on both sides.
func TestUnixEndpointsUnderTLSMove(t *testing.T) {
	for name, p := range talkers() {
		if name == "http2" {
			continue // its server here speaks without TLS only
		}
		for version, number := range versions {
			t.Run(name+" under "+version, func(t *testing.T) {
				a := newAuthority(t)
				ln, to := listenUnix(t, name == "bolt")
				go p.serve(tls.NewListener(ln, a.server(number)))
				addr := freePort(t)
				s := p.snapshot(addr, to)
				for _, c := range s.Clusters {
					c.TLS = a.outbound()
				}
				unixMoves(t, p, ln, addr, s, name == "http1")
			})
		}
	}
}

// unixMoves hops while clients call. Connections that rest may be closed by a hop.
func unixMoves(t *testing.T, p talker, ln *counted, addr netip.AddrPort, s *config.Snapshot, rests bool) {
	t.Helper()
	now := begun(t, 1, s)
	stop := make(chan struct{})
	var calls atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		call := p.dial(t, addr)
		if err := call(0); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := call(n); err != nil {
					t.Errorf("call %d: %v", n, err)
					return
				}
				calls.Add(1)
			}
		})
	}
	if one := now.Clusters()[0].Endpoints[0]; one.Requests == 0 {
		t.Errorf("the endpoint shows no requests: %+v", one)
	}
	before := ln.n.Load()
	for range 6 {
		time.Sleep(30 * time.Millisecond)
		now = hop(t, now, 1, s)
	}
	close(stop)
	wg.Wait()
	t.Logf("%d calls, %d connections moved, the server has accepted %d", calls.Load(), now.Stats().Moved, ln.n.Load())
	if n := ln.n.Load(); n != before && !rests { // whose connections do not move while they rest
		t.Errorf("the server has accepted %d connections, %d before the hops", n, before)
	}
	if calls.Load() == 0 {
		t.Error("nobody has called")
	}
	now.Stop()
}

// TestUnixFreezeAtEveryByte hops at every byte of a request and of its answer.
func TestUnixFreezeAtEveryByte(t *testing.T) {
	requests, _ := session()
	t.Run("bolt", func(t *testing.T) {
		for cut := range len(requests) + 1 {
			ln, at := listenUnix(t, false)
			sweepOn(t, &backend{ln: ln}, at, func(client net.Conn, b *backend, hop func()) {
				write(t, client, requests[:cut])
				hop()
				write(t, client, requests[cut:])
				b.accept(t)
				first, second := b.read(t), b.read(t)
				answers := append(frame(0, first.id, "", first.body), frame(0, second.id, "", second.body)...)
				write(t, b.conn, answers)
			})
			if t.Failed() {
				t.Fatalf("at byte %d of %d", cut, len(requests))
			}
		}
	})
	all := talkers()
	plain := map[string][2]string{
		"http1": {"POST / HTTP/1.1\r\nHost: shop.demo\r\nContent-Length: 8\r\n\r\nquestion", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer"},
		"tcp":   {"some bytes, a question", "and back again, the answer"},
	}
	for name, say := range plain {
		t.Run(name, func(t *testing.T) {
			for cut := range len(say[0]) + len(say[1]) + 1 {
				if unixSweep(t, all[name].snapshot, say[0], say[1], cut); t.Failed() {
					t.Fatalf("at byte %d of %d and %d", cut, len(say[0]), len(say[1]))
				}
			}
		})
	}
}

// unixSweep has a client ask and an endpoint answer; before the byte at cut everything hops.
func unixSweep(t *testing.T, snapshot func(addr netip.AddrPort, to ...netip.AddrPort) *config.Snapshot, ask, answer string, cut int) {
	t.Helper()
	ln, at := listenUnix(t, false)
	addr := freePort(t)
	s := snapshot(addr, at)
	from, to := started(t, 1, s), started2(t, s)
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	_ = client.SetDeadline(time.Now().Add(20 * time.Second))
	hop := func() {
		until(t, "the client is here", func() bool { return len(from.Conns()) > 0 })
		give(t, from, to)
	}
	at0 := min(cut, len(ask))
	write(t, client, []byte(ask[:at0]))
	if cut <= len(ask) {
		hop()
	}
	write(t, client, []byte(ask[at0:]))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	hear(t, conn, "question")
	at1 := max(cut-len(ask), 0)
	write(t, conn, []byte(answer[:at1]))
	if cut > len(ask) {
		hop()
	}
	write(t, conn, []byte(answer[at1:]))
	hear(t, client, "answer")
}

// hear reads until a word ends what was said.
func hear(t *testing.T, conn net.Conn, word string) {
	t.Helper()
	var all []byte
	for b := make([]byte, 1000); !bytes.HasSuffix(all, []byte(word)); {
		n, err := conn.Read(b)
		if all = append(all, b[:n]...); err != nil {
			t.Fatalf("%v after %q, want %q", err, all, word)
		}
	}
}

// TestAUnixConnectionThatWasTouchedDoesNotMove: the kernel counts nothing there, but its queues tell.
func TestAUnixConnectionThatWasTouchedDoesNotMove(t *testing.T) {
	ln, at := listenUnix(t, true)
	addr := freePort(t)
	s := tcpSnapshot(addr, at)
	e := started(t, 1, s)
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	write(t, client, []byte("hello"))
	hear(t, conn, "hello")
	w := begin(t, e, s)
	b := w.freeze(t, 2)
	for _, c := range b.Conns {
		if at, err := unix.Getsockname(c.FD); err == nil && isUnix(at) {
			if _, err := unix.Write(c.FD, []byte("not the owner's")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.candidate.Prepare(b); err == nil || !strings.Contains(err.Error(), "was touched after its freeze") {
		t.Errorf("Prepare = %v", err)
	}
	w.donor.Thaw(b.ID)
	w.abort()
	hear(t, conn, "not the owner's")
	write(t, client, []byte("and on"))
	hear(t, conn, "and on")
}

func isUnix(a unix.Sockaddr) bool { _, ok := a.(*unix.SockaddrUnix); return ok }

// TestAUnixEndpointThatIsNotThere is passed over like any other that cannot be reached, and used when it is back.
func TestAUnixEndpointThatIsNotThere(t *testing.T) {
	for name, p := range talkers() {
		t.Run(name, func(t *testing.T) {
			ln, there := listenUnix(t, false)
			go p.serve(ln)
			path := filepath.Join(t.TempDir(), "late.sock")
			late, err := address.Unix(path)
			if err != nil {
				t.Fatal(err)
			}
			addr := freePort(t)
			s := p.snapshot(addr, sorted(there, late)...)
			for _, c := range s.Clusters {
				c.Check = quick(config.CheckTCP)
			}
			e := started(t, 1, s)
			for n := range 5 {
				if err := p.dial(t, addr)(n); err != nil {
					t.Error(err)
				}
			}
			until(t, "the check finds it", func() bool { return healths(e)["unix://"+path] == "unhealthy" })
			second, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			back := &counted{Listener: second}
			defer func() { _ = back.Close() }()
			go p.serve(back)
			until(t, "it is well", func() bool { return healths(e)["unix://"+path] == "healthy" })
			checks := back.n.Load()
			until(t, "it is called", func() bool {
				if err := p.dial(t, addr)(1); err != nil {
					t.Fatal(err)
				}
				return back.n.Load() > checks+1 && dialled(e, "unix://"+path)
			})
		})
	}
}

// dialled says whether there is a connection to that endpoint.
func dialled(e *proxy.Engine, endpoint string) bool {
	for _, c := range e.Conns() {
		if c.Kind == "upstream" && c.Endpoint == endpoint {
			return true
		}
	}
	return false
}

// TestAUnixEndpointThatFailsIsEjected: nobody is there at all.
func TestAUnixEndpointThatFailsIsEjected(t *testing.T) {
	nowhere, err := address.Unix("@axle-test-nobody")
	if err != nil {
		t.Fatal(err)
	}
	addr := freePort(t)
	s := tcpSnapshot(addr, nowhere)
	s.Clusters["app"].Outlier = strict()
	s.Clusters["app"].Outlier.MaxPercent = 100
	e := started(t, 1, s)
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ejections(t, e)
}
