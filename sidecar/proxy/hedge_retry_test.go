package proxy_test

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestAHedgeThatIsNotTaken is sent again beside the first try, and each of the two is one retry.
func TestAHedgeThatIsNotTaken(t *testing.T) {
	b, addr := newBackend(t), freePort(t)
	at := b.ln.Addr().(*net.TCPAddr).AddrPort()
	e := started(t, 1, ruled(addr, config.HTTP2, map[string]netip.AddrPort{"v1": at}, hedged()))
	c, answers := web2(t, addr), make(chan string, 1)
	go func() {
		got, err := say2(c, http.MethodPut, "/", strings.NewReader("a body"))
		if err != nil {
			got = err.Error()
		}
		answers <- got
	}()
	up, out := &lazyConn{ln: b.ln}, newHTTP2Script()
	if _, err := io.ReadFull(up, make([]byte, len(http2.ClientPreface))); err != nil {
		t.Fatal(err)
	}
	_ = out.WriteSettings()
	write(t, up, out.Bytes())
	in := http2.NewFramer(io.Discard, up)
	for third := false; !third; {
		f, err := in.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		out.Reset()
		if f.Header().Type == http2.FrameData { // all of the first; there is no window for others
			_ = out.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		}
		if third = f.Header().Type == http2.FrameHeaders && f.Header().StreamID == 5; third {
			out.headers(5, true, 0, ":status= 200")
		}
		write(t, up, out.Bytes())
	}
	select {
	case got := <-answers:
		if got != "" {
			t.Errorf("answer %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no answer")
	}
	if s := e.Stats(); s.Hedged != 2 || s.HedgesWon != 1 || s.Retried != 2 {
		t.Errorf("%d hedges, %d won, %d retries; want 2, 1, 2", s.Hedged, s.HedgesWon, s.Retried)
	}
	nothingHeld(t, e)
}
