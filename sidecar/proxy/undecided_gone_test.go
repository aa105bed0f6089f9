package proxy_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestUndecidedClientsThatGo are forgotten, wherever they are: with their connections in order or not, also those that have begun.
func TestUndecidedClientsThatGo(t *testing.T) {
	a := newAuthority(t)
	for _, secured := range []bool{false, true} {
		for _, reset := range []bool{false, true} {
			for _, when := range []string{"stays", "moves", "comes back"} {
				t.Run(fmt.Sprintf("TLS %t, reset %t, %s", secured, reset, when), func(t *testing.T) {
					addr := freePort(t)
					s := several(t, addr)
					if secured {
						s.Listeners[0].TLS = a.inbound()
					}
					e, _ := skipped(t, 1, s)
					var raws []net.Conn
					for _, says := range []string{"", "G"} {
						raw := dialTCP(t, addr)
						raws = append(raws, raw)
						conn := raw
						if secured {
							conn = under(t, raw, a)
						}
						write(t, conn, []byte(says))
					}
					until(t, "both are undecided", func() bool { return fmt.Sprint(spoken(e)) == "[undecided undecided]" })
					leave := func() {
						for _, raw := range raws {
							if reset {
								_ = raw.(*net.TCPConn).SetLinger(0)
							}
							_ = raw.Close()
						}
					}
					now := e
					switch when {
					case "moves":
						now, _ = moved(t, e, s)
					case "comes back":
						aborted(t, e, leave)
					}
					now.Leave()
					leave()
					<-now.Left()
					if n := e.Stats().Downstream[config.Outbound] + now.Stats().Downstream[config.Outbound]; n != 0 || len(spoken(now)) != 0 || len(spoken(e)) != 0 {
						t.Errorf("%d clients are counted, there are %v and %v", n, spoken(e), spoken(now))
					}
				})
			}
		}
	}
}
