package proxy_test

import (
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestABrokenClientThatDoesNotRead is in no handover's way: its requests are called off, and it has not read yet what it did wrong.
func TestABrokenClientThatDoesNotRead(t *testing.T) {
	for _, what := range []string{"moves", "stays"} {
		t.Run(what, func(t *testing.T) {
			o := newOrigin(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 64<<10)); err != nil {
						return
					}
				}
			})
			addr := freePort(t)
			s := http2Snapshot(addr, o.addr)
			e := started(t, 1, s)
			conn := dialTCP(t, addr)
			script := newHTTP2Script()
			script.WriteString(http2.ClientPreface)
			_ = script.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
			_ = script.WriteWindowUpdate(0, 1<<30)
			for id := uint32(1); id < 20; id += 2 {
				script.headers(id, true, 0, ":method= GET", ":scheme= http", ":authority= shop.demo", ":path= /")
			}
			write(t, conn, script.Bytes())
			until(t, "it has much to read", func() bool { return mostWaiting(e) >= 16<<10 })
			time.Sleep(300 * time.Millisecond)
			script.Reset()
			_ = script.WriteData(1, false, []byte("what"))
			_ = script.WriteRawFrame(http2.FrameData, 0, 0, []byte("what"))
			write(t, conn, script.Bytes())
			until(t, "it is refused", func() bool { return e.Stats().Malformed > 0 })
			if what == "stays" {
				aborted(t, e, func() {})
			} else {
				to := started2(t, s)
				give(t, e, to)
				e = to
			}
			if n := e.Stats().Downstream[config.Outbound]; n != 1 {
				t.Errorf("%d clients", n)
			}
			_ = conn.Close()
			until(t, "it is forgotten", func() bool { return e.Stats().Downstream[config.Outbound] == 0 })
		})
	}
}
