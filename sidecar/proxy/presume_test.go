package proxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// beginOld is begin for a donor of a release that keeps no accounts; the candidate has its listener too, elsewhere.
func beginOld(t *testing.T, from *proxy.Engine, s *config.Snapshot) *twins {
	t.Helper()
	const records = 7 // the first byte of such a relay
	edit := func(warm []byte) []byte {
		if !bytes.Contains(warm, []byte(`,"Accounts":true`)) {
			t.Errorf("nothing says that accounts come: %s", warm)
		}
		return bytes.Replace(warm, []byte(`,"Accounts":true`), nil, 1)
	}
	w := beginAs(t, from, s, edit, func(r handover.Relay) bool { return r.Data[0] == records })
	elsewhere := *s
	elsewhere.Listeners = []config.Listener{s.Listeners[0]}
	elsewhere.Listeners[0].Address = freePort(t)
	if err := w.to.Apply(&elsewhere); err != nil {
		t.Fatal(err)
	}
	return w
}

// moved ends the handover. It returns the ends that the candidate counts beside those of the donor, by direction, protocol, host,
// route, code and flag.
func (w *twins) moved() map[string]uint64 {
	w.candidate.(interface{ EndMove() }).EndMove()
	got := map[string]uint64{}
	for name, c := range w.to.Stats().Series {
		for _, one := range c.Codes {
			got[name.Direction.String()+" "+name.Protocol.String()+" "+name.Host+" "+name.Route+" "+one.Code.String()+" "+one.Flag.String()] += one.N
		}
	}
	return got
}

// TestRequestsOfAReleaseWithoutAccounts are counted with what is known of them, and not where their status has passed before.
func TestRequestsOfAReleaseWithoutAccounts(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: shop.demo\r\n\r\n"
	// web asks an origin that goes on when it is told, after early, and reads the answer to its end.
	web := func(change func(*config.Snapshot), early func(http.ResponseWriter)) func(t *testing.T) map[string]uint64 {
		return func(t *testing.T) map[string]uint64 {
			hold := make(chan struct{})
			o := newOrigin(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
				early(w)
				<-hold
			})
			addr := freePort(t)
			s := httpSnapshot(addr, o.addr)
			change(s)
			e := started(t, 1, s)
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			write(t, conn, []byte(head))
			answered := make(chan error, 1)
			go func() {
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
				answered <- err
			}()
			until(t, "the request is there", func() bool { return o.seen.Load() == 1 })
			time.Sleep(20 * time.Millisecond) // so are the first bytes of its answer
			w := beginOld(t, e, s)
			w.commit(t, w.freeze(t, 2))
			close(hold)
			if err := <-answered; err != nil {
				t.Error(err)
			}
			_ = w.to.Stats()
			return w.moved()
		}
	}
	none := func(http.ResponseWriter) {}
	for name, tc := range map[string]struct {
		run  func(t *testing.T) map[string]uint64
		want map[string]uint64
	}{
		"HTTP/1": {web(func(*config.Snapshot) {}, none), map[string]uint64{"outbound http1 (other) (other) 200 -": 1}},
		"HTTP/1 by a plan": {web(func(s *config.Snapshot) {
			s.Hosts["shop.demo"].Routes[0].Retry = &config.Retry{On: config.RetryServerError, Backoff: time.Millisecond, MaxBackoff: time.Second}
		}, none), map[string]uint64{"outbound http1 shop.demo default 200 -": 1}},
		"HTTP/1 to one cluster": {web(func(s *config.Snapshot) { s.Listeners[0].Cluster = "shop" }, none), map[string]uint64{"outbound http1 shop - 200 -": 1}},
		"HTTP/1 in its answer": {web(func(*config.Snapshot) {}, func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, "first")
			w.(http.Flusher).Flush()
		}), map[string]uint64{}},
		"Bolt": {func(t *testing.T) map[string]uint64 {
			a := newAsker(t)
			a.ask(t, 1)
			a.accept(t)
			m := a.seen(t, 1)
			w := beginOld(t, a.e, a.s)
			w.commit(t, w.freeze(t, 1))
			a.answer(t, m)
			a.got(t, map[uint32]uint16{1: 0})
			return w.moved()
		}, map[string]uint64{"outbound bolt (other) (other) 0 -": 1}},
		"HTTP/2": {func(t *testing.T) map[string]uint64 {
			hold, addr := make(chan struct{}), freePort(t)
			o := newOrigin(t, func(int64, http.ResponseWriter, *http.Request) { <-hold })
			s := http2Snapshot(addr, o.addr)
			e := started(t, 1, s)
			done := make(chan error, 1)
			c := web2(t, addr)
			go func() {
				_, err := ask2(c, http.MethodGet, "/", nil)
				done <- err
			}()
			until(t, "the request is there", func() bool { return o.seen.Load() == 1 })
			w := beginOld(t, e, s)
			w.commit(t, w.freeze(t, 2))
			close(hold)
			if err := <-done; err != nil {
				t.Error(err)
			}
			return w.moved()
		}, map[string]uint64{"outbound http2 (other) (other) 200 -": 1}},
		"tcp": {func(t *testing.T) map[string]uint64 {
			ln, addr := listenTCP(t), freePort(t)
			s := tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort())
			e := started(t, 1, s)
			conn, up := pairUp(t, addr, ln)
			w := beginOld(t, e, s)
			w.commit(t, w.freeze(t, 2))
			_, _ = conn.Close(), up.Close()
			until(t, "the pair has ended", func() bool { return w.to.Stats().Downstream[config.Inbound] == 0 })
			return w.moved()
		}, map[string]uint64{"inbound tcp app - - -": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.run(t)); diff != "" {
				t.Errorf("ends (-want +got):\n%s", diff)
			}
		})
	}
}

// pairUp opens a plain connection through a listener.
func pairUp(t *testing.T, addr netip.AddrPort, ln net.Listener) (client, endpoint net.Conn) {
	t.Helper()
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if endpoint, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	write(t, client, []byte("x"))
	if _, err := io.ReadFull(endpoint, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return client, endpoint
}
