package proxy_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// endless serves HTTP/2 at ln: answers that do not end, as fast as they are taken, and with "/rare" a byte that is all for long.
func endless(t *testing.T, ln net.Listener) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if r.URL.Path == "/rare" {
			_, _ = w.Write([]byte("x"))
			_ = rc.Flush()
			<-r.Context().Done()
		}
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}))
	_ = s.Listener.Close()
	s.Listener, s.Config.Protocols = ln, onlyHTTP2()
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
}

// http2Asks begins with request, if any, and then the preface, grants windows of that size, and asks for path three times.
func http2Asks(request string, window uint32, path string) []byte {
	s := newHTTP2Script()
	s.WriteString(request)
	s.WriteString(http2.ClientPreface)
	_ = s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	if window > 0 {
		_ = s.WriteWindowUpdate(0, window)
	}
	for id := uint32(3); id < 9; id += 2 {
		s.headers(id, true, 0, ":method= GET", ":scheme= http", ":authority= shop.demo", ":path= "+path)
	}
	return s.Bytes()
}

// unreadHTTP2 grants windows for what it never reads.
func unreadHTTP2(request string) closing {
	return func(t *testing.T, e *proxy.Engine, addr netip.AddrPort, ln net.Listener) {
		endless(t, ln)
		write(t, dialSmall(t, addr), http2Asks(request, 1<<30, "/"))
		until(t, "it has to read", func() bool { return waits(e) })
	}
}

// TestHTTP2ClientsThatReadStay: one that reads what comes is healthy, however little that is and whatever windows it grants.
func TestHTTP2ClientsThatReadStay(t *testing.T) {
	for name, tc := range map[string]struct {
		begin []byte
		more  func(t *testing.T, conn net.Conn) // every now and then; nil for nothing
	}{
		"no window":     {http2Asks("", 0, "/"), nil},
		"a long stream": {http2Asks("", 1<<30, "/rare"), nil},
		"pings": {http2Asks("", 0, "/"), func(t *testing.T, conn net.Conn) {
			s := newHTTP2Script()
			_ = s.WritePing(false, [8]byte{1})
			write(t, conn, s.Bytes())
		}},
		"an offer": {http2Asks(offer("GET", "", ""), 0, "/"), nil},
	} {
		for _, what := range []string{"stays", "moves", "comes back"} {
			t.Run(name+"/"+what, func(t *testing.T) {
				ln, addr := listenTCP(t), freePort(t)
				endless(t, ln)
				e, skip := skipped(t, 1, http2Snapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
				conn := dialSmall(t, addr)
				go func() { _, _ = io.Copy(io.Discard, conn) }()
				write(t, conn, tc.begin)
				until(t, "it has asked", func() bool { return e.Stats().Requests[config.Outbound] >= 3 })
				e, skip = owner(t, what, e, skip)
				for range 24 {
					if tc.more != nil {
						tc.more(t, conn)
					}
					time.Sleep(10 * time.Millisecond) // endpoints answer PINGs
					skip(15 * time.Second)
				}
				if s := e.Stats(); s.Downstream[config.Outbound] != 1 || s.Slow != 0 {
					t.Errorf("%d clients, slow = %d", s.Downstream[config.Outbound], s.Slow)
				}
			})
		}
	}
}

// TestStreamsThatAreNotReadEndAsSlow in metrics, each.
func TestStreamsThatAreNotReadEndAsSlow(t *testing.T) {
	ln, addr := listenTCP(t), freePort(t)
	e, skip := skipped(t, 1, http2Snapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
	unreadHTTP2("")(t, e, addr, ln)
	for range 22 {
		skip(15 * time.Second)
	}
	until(t, "it is closed", func() bool { return e.Stats().Downstream[config.Outbound] == 0 })
	ends := uint64(0)
	for _, c := range e.Stats().Series {
		for _, one := range c.Codes {
			if ends += one.N; one.Flag != proxy.FlagSlow {
				t.Errorf("%d ended as %s", one.N, one.Flag)
			}
		}
	}
	if ends != 3 {
		t.Errorf("%d requests ended, want 3", ends)
	}
}
