package proxy_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// askedByMany is an engine with n clients that wait for their answers; what one offer carries is far less.
func askedByMany(t *testing.T, n int) (*waiters, *proxy.Engine, *twins) {
	t.Helper()
	ws, to := waiting(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	e := started(t, 1, s)
	e.BoundHTTP2(10, 10<<10)
	e.PartHTTP2(7)
	e.Donor().Split(true)
	ws.ask(t, addr, n, 1000)
	until(t, "all requests are sent", func() bool { return e.Stats().Waiting == uint64(n) })
	return ws, e, begin(t, e, s)
}

// part is the next part of the batch, and at first the next batch.
func (w *twins) part(t *testing.T) handover.Batch {
	t.Helper()
	b, err := w.donor.Freeze(w.id, 64)
	if err != nil || len(b.Conns) == 0 {
		t.Fatalf("froze %d connections, %v", len(b.Conns), err)
	}
	duplicate(t, &b)
	return b
}

// TestMoreThanAnOfferCarriesMoves has more connections with requests than one offer takes, and heavier ones: they move in parts.
func TestMoreThanAnOfferCarriesMoves(t *testing.T) {
	for name, bound := range map[string]func(*proxy.Engine){
		"too many":  func(e *proxy.Engine) { e.BoundHTTP2(10, 1<<20) },
		"too heavy": func(e *proxy.Engine) { e.BoundHTTP2(1000, 10<<10) },
	} {
		t.Run(name, func(t *testing.T) {
			ws, to := waiting(t)
			addr := freePort(t)
			s := http2Snapshot(addr, to)
			now := first(t, 2, s)
			for range 4 {
				bound(now.Engine)
				now.PartHTTP2(7)
				ws.ask(t, addr, 20, 1000)
				e := now.Engine
				until(t, "all requests are sent", func() bool { return e.Stats().Waiting == uint64(len(ws.conns)) })
				now = hop(t, now, 1, s)
			}
			defer now.Stop()
			ws.answered(t)
			e := now.Engine
			nothingHeld(t, e)
		})
	}
}

// TestAPartThatFails gives the handover up at each part of a batch: what was prepared is dropped, and everything goes on with the donor.
func TestAPartThatFails(t *testing.T) {
	for name, fail := range map[string]func(*testing.T, *twins, handover.Batch){
		"in between": func(t *testing.T, w *twins, b handover.Batch) { w.prepare(t, b) },
		"by itself": func(t *testing.T, w *twins, b handover.Batch) {
			b.Conns[len(b.Conns)-1].State[0] = 0xff
			if err := w.candidate.Prepare(b); err == nil {
				t.Error("a state that nobody can read was taken")
			}
		},
		"at its last connection": func(t *testing.T, w *twins, b handover.Batch) {
			last := &b.Conns[len(b.Conns)-1]
			last.Counters.Consumed++
			if err := w.candidate.Prepare(b); err == nil {
				t.Error("a connection that was touched was taken")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			const parts = 3 // of 21 connections
			ws, e, w := askedByMany(t, 20)
			for at := range parts {
				w.id++
				for n := range at + 1 {
					b := w.part(t)
					if more := n < parts-1; b.More != more {
						t.Fatalf("part %d says that there is more: %v", n, b.More)
					}
					if n < at {
						w.prepare(t, b)
					} else {
						fail(t, w, b)
					}
				}
				w.donor.Thaw(w.id)
				w.candidate.Drop(w.id)
				if left := w.to.Conns(); len(left) > 0 {
					t.Errorf("after part %d the candidate has %d connections", at, len(left))
				}
			}
			w.abort()
			ws.answered(t)
			nothingHeld(t, e)
			nothingHeld(t, w.to)
			if s := e.Stats(); s.Mismatch+s.Malformed+s.Slow > 0 {
				t.Errorf("the donor has counted %+v", s.Counters)
			}
		})
	}
}

// TestTheFirstPartStopsEverything: what is not written down yet stands still, too, whatever comes meanwhile and whoever leaves.
func TestTheFirstPartStopsEverything(t *testing.T) {
	ws, e, w := askedByMany(t, 20)
	w.id++
	b := w.part(t)
	ws.let()        // answers come
	const leave = 8 // more than the first part has
	for _, conn := range ws.conns[20-leave:] {
		_ = conn.Close()
	}
	time.Sleep(20 * time.Millisecond)
	if s := e.Stats(); s.Waiting != 20 || s.Answered[1] > 0 {
		t.Errorf("amid the batch %d wait, and %d were answered", s.Waiting, s.Answered[1])
	}
	for ; b.More; b = w.part(t) {
		w.prepare(t, b)
	}
	w.commit(t, b)
	w.freeze(t, 0)
	w.candidate.Done()
	ws.conns = ws.conns[:20-leave]
	ws.answered(t)
	nothingHeld(t, w.to)
	if s := e.Stats(); s.Mismatch > 0 {
		t.Errorf("the kernel's counters of %d connections are not ours", s.Mismatch)
	}
}

// readers are clients that have asked for something large and do not read.
type readers struct {
	conns []net.Conn
	size  int
}

// small sets the receive buffer of a connection before it is opened: what waits in the kernel waits with the sender, at most 4 MiB.
func small(_, _ string, c syscall.RawConn) (err error) {
	_ = c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	return err
}

// reading opens n such clients.
func reading(t *testing.T, addr netip.AddrPort, n, size int) *readers {
	t.Helper()
	script := newHTTP2Script()
	script.WriteString(http2.ClientPreface)
	_ = script.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	_ = script.WriteWindowUpdate(0, 1<<30)
	script.headers(1, true, 0, ":method= GET", ":scheme= http", ":authority= shop.demo", ":path= /")
	rs := &readers{size: size}
	for range n {
		conn, err := (&net.Dialer{Control: small}).Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
		write(t, conn, script.Bytes())
		rs.conns = append(rs.conns, conn)
	}
	return rs
}

// whole reads what all of them have asked for.
func (rs *readers) whole(t *testing.T) {
	t.Helper()
	for i, conn := range rs.conns {
		fr := http2.NewFramer(io.Discard, conn)
		fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		got, err := 0, error(nil)
		for ended := false; !ended && err == nil; {
			var f http2.Frame
			if f, err = fr.ReadFrame(); err != nil {
				break
			}
			switch f := f.(type) {
			case *http2.DataFrame:
				for j, b := range f.Data() {
					if want := byte((got + j) % 251); b != want {
						t.Fatalf("client %d: byte %d is %d, want %d", i, got+j, b, want)
					}
				}
				got += len(f.Data())
				ended = f.StreamEnded()
			case *http2.RSTStreamFrame:
				err = errors.New(f.ErrCode.String())
			}
		}
		if err != nil || got != rs.size {
			t.Fatalf("client %d: %d bytes, %v; want %d", i, got, err, rs.size)
		}
	}
}

// pouring is a server that answers with so many bytes.
func pouring(t *testing.T, size int) netip.AddrPort {
	t.Helper()
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i % 251)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	s.Config.Protocols = onlyHTTP2()
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().(*net.TCPAddr).AddrPort()
}

// TestSlowReadersMove has more waiting for clients that do not read than one offer may carry.
func TestSlowReadersMove(t *testing.T) {
	const n, size = 12, 6 << 20
	addr := freePort(t)
	s := http2Snapshot(addr, pouring(t, size))
	now := first(t, 1, s)
	rs := reading(t, addr, n, size)
	e := now.Engine
	until(t, "all of them are slow", func() bool { return slow(e) == n })
	bound := func(e *proxy.Engine) { e.BoundHTTP2(1000, n*48<<10) }
	bound(e)
	next, given, _ := handOver(t, now, 1, s, 0)
	if given.OK || !strings.Contains(given.Reason, "HTTP/2 connections have requests") {
		t.Errorf("the handover to an older sidecar ended so: %+v", given)
	}
	next.Stop()
	for range 2 {
		now = hop(t, now, 1, s)
		bound(now.Engine)
	}
	defer now.Stop()
	rs.whole(t)
	nothingHeld(t, now.Engine)
}

// slow is how many clients have all of what may wait for the kernel.
func slow(e *proxy.Engine) (n int) {
	for _, c := range e.Conns() {
		if c.Kind == "downstream" && c.Unsent >= 60<<10 {
			n++
		}
	}
	return n
}
