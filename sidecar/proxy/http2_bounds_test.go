package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// waiters are clients of which each has one request open that is answered when all are let go.
type waiters struct {
	conns []net.Conn
	let   func()
}

// waiting is a server that answers when it is told to.
func waiting(t *testing.T) (*waiters, netip.AddrPort) {
	t.Helper()
	gate := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gate:
		case <-r.Context().Done():
		}
		_, _ = fmt.Fprint(w, "x")
	}))
	s.Config.Protocols = onlyHTTP2()
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	ws := &waiters{let: sync.OnceFunc(func() { close(gate) })}
	t.Cleanup(ws.let)
	return ws, s.Listener.Addr().(*net.TCPAddr).AddrPort()
}

// ask opens n requests, each on its own connection, with a field of so many bytes.
func (ws *waiters) ask(t *testing.T, addr netip.AddrPort, n, padding int) {
	t.Helper()
	script := newHTTP2Script()
	script.WriteString(http2.ClientPreface)
	_ = script.WriteSettings()
	script.headers(1, true, 0, ":method= GET", ":scheme= http", ":authority= shop.demo", ":path= /", "x-pad= "+strings.Repeat("x", padding))
	for range n {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
		write(t, conn, script.Bytes())
		ws.conns = append(ws.conns, conn)
	}
}

// answered lets all go, and fails unless each has its answer.
func (ws *waiters) answered(t *testing.T) {
	t.Helper()
	ws.let()
	lost := 0
	for _, conn := range ws.conns {
		if err := oneAnswer(conn); err != nil {
			if lost++; lost == 1 {
				t.Errorf("a client: %v", err)
			}
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d clients have no answer", lost, len(ws.conns))
	}
}

func oneAnswer(conn net.Conn) error {
	fr := http2.NewFramer(io.Discard, conn)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			if f.StreamEnded() {
				return nil
			}
		case *http2.RSTStreamFrame:
			return fmt.Errorf("reset: %s", f.ErrCode)
		}
	}
}

// TestManyClientsWithRequestsMove: none of them is closed because they are many.
func TestManyClientsWithRequestsMove(t *testing.T) {
	ws, to := waiting(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	now := first(t, 1, s)
	e := now.Engine
	ws.ask(t, addr, 1000, 1000)
	until(t, "all requests are sent", func() bool { return e.Stats().Waiting == 1000 })
	now = hop(t, now, 1, s)
	defer now.Stop()
	if n := now.Stats().Slow + e.Stats().Slow; n != 0 {
		t.Errorf("%d clients were closed", n)
	}
	ws.answered(t)
}

// TestWhatIsTooMuchStays: more connections with requests than a handover carries make it be given up; nobody is lost, and it
// works when there are fewer.
func TestWhatIsTooMuchStays(t *testing.T) {
	for name, tc := range map[string]struct {
		features uint64 // of the candidate
		bound    func(*proxy.Engine)
	}{
		"too many for one batch":  {0, func(e *proxy.Engine) { e.BoundHTTP2(10, 1<<20) }},
		"too heavy for one batch": {0, func(e *proxy.Engine) { e.BoundHTTP2(1000, 10<<10) }},
		"too many in all":         {handover.FeatureParts, func(e *proxy.Engine) { e.WholeHTTP2(10, 1<<20) }},
		"too heavy in all":        {handover.FeatureParts, func(e *proxy.Engine) { e.WholeHTTP2(1000, 10<<10) }},
	} {
		t.Run(name, func(t *testing.T) {
			ws, to := waiting(t)
			addr := freePort(t)
			s := http2Snapshot(addr, to)
			now := first(t, 1, s)
			e := now.Engine
			tc.bound(e)
			ws.ask(t, addr, 20, 1000)
			until(t, "all requests are sent", func() bool { return e.Stats().Waiting == 20 })
			next, given, _ := handOver(t, now, 1, s, tc.features)
			if given.OK || !strings.Contains(given.Reason, "HTTP/2 connections have requests") {
				t.Errorf("the handover ended so: %+v", given)
			}
			next.Stop()
			ws.answered(t)
			until(t, "no request is open", func() bool { return e.Stats().Waiting == 0 })
			now = hop(t, now, 1, s)
			now.Stop()
		})
	}
}

// TestAConnectionIsNoHeavierThanItWeighs, so that a batch within the bound is one that a handover carries.
func TestAConnectionIsNoHeavierThanItWeighs(t *testing.T) {
	for name, route := range map[string]config.Route{"plain": {Cluster: "shop"}, "by a plan": http2Plan(time.Hour)} {
		t.Run(name, func(t *testing.T) {
			ws, to := waiting(t)
			addr := freePort(t)
			s := http2Snapshot(addr, to)
			s.Hosts["shop.demo"].Routes[0] = route
			e := started(t, 1, s)
			ws.ask(t, addr, 50, 1000)
			until(t, "all requests are sent", func() bool { return e.Stats().Waiting == 50 })
			weight := e.WeightHTTP2()
			w := begin(t, e, s)
			b := w.freeze(t, 51)
			size := 0
			for _, c := range b.Conns {
				size += len(c.State)
			}
			if t.Logf("%d bytes, weighed as %d", size, weight); size > weight || weight > 3*size {
				t.Errorf("%d bytes were weighed as %d", size, weight)
			}
			w.commit(t, b)
			w.freeze(t, 0)
			w.candidate.Done()
			ws.answered(t)
		})
	}
}

// TestAFloodOfRequestsDoesNotStay: of the exchanges that many requests at once have made, some are kept to be used again.
func TestAFloodOfRequestsDoesNotStay(t *testing.T) {
	addr := freePort(t)
	s := http2Snapshot(addr, nobody(t))
	s.Hosts["shop.demo"].Routes[0].Fault = &config.Fault{Delayed: config.Fraction{Numerator: 1, Denominator: 1}, Delay: time.Hour}
	e := started(t, 1, s)
	script := newHTTP2Script()
	script.WriteString(http2.ClientPreface)
	_ = script.WriteSettings()
	const streams = 128
	for i := range uint32(streams) {
		script.headers(2*i+1, true, 0, ":method= GET", ":scheme= http", ":authority= shop.demo", ":path= /")
	}
	_, most := e.SpareHTTP2()
	clients := most/streams + 3
	var conns []net.Conn
	for range clients {
		c := dialTCP(t, addr)
		write(t, c, script.Bytes())
		conns = append(conns, c)
	}
	until(t, "all requests are open", func() bool {
		_, open := e.HeldHTTP2()
		return open == clients*streams
	})
	for _, c := range conns {
		_ = c.Close()
	}
	nothingHeld(t, e)
	if n, _ := e.SpareHTTP2(); n != most {
		t.Errorf("%d of %d exchanges are kept, want %d", n, clients*streams, most)
	}
}
