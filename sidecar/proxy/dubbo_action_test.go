package proxy_test

import (
	"bufio"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// failingDubbo is a server that answers with this status, or hangs up when that is 0.
func failingDubbo(t *testing.T, status byte) netip.AddrPort {
	t.Helper()
	b := newBackend(t)
	go func() {
		for {
			conn, err := b.ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				r := bufio.NewReader(conn)
				for {
					m, err := readDubbo(r)
					if err != nil || status == 0 {
						return
					}
					if _, err := conn.Write(dubboFrame(2, status, m.id, []byte(hessian("no")))); err != nil {
						return
					}
				}
			}()
		}
	}()
	return b.ln.Addr().(*net.TCPAddr).AddrPort()
}

func TestDubboRouteActions(t *testing.T) {
	all := config.Fraction{Numerator: 1, Denominator: 1}
	cases := map[string]struct {
		bad     byte // status of one of two endpoints; 20 for none
		route   config.Route
		want    []byte
		retried bool
		flag    proxy.Flag
	}{
		"aborted":             {20, config.Route{Fault: &config.Fault{Aborted: all, Status: 404}}, []byte{60, 60}, false, proxy.FlagOf(proxy.FailFault)},
		"delayed":             {20, config.Route{Fault: &config.Fault{Delayed: all, Delay: 20 * time.Millisecond}}, []byte{20, 20}, false, proxy.FlagNone},
		"limited":             {20, config.Route{Limit: config.Limit{Burst: 1, Tokens: 1, Every: time.Hour}}, []byte{20, 100}, false, proxy.FlagOf(proxy.FailLimit)},
		"busy, tried again":   {100, config.Route{Retry: &config.Retry{Statuses: []int{503}}}, []byte{20, 20}, true, proxy.FlagNone},
		"reset, tried again":  {0, config.Route{Retry: &config.Retry{On: config.RetryReset, AnyMethod: true}}, []byte{20, 20}, true, proxy.FlagNone},
		"reset may have done": {0, config.Route{Retry: &config.Retry{On: config.RetryReset}}, []byte{20, 35}, false, proxy.FlagOf(proxy.FailUpstreamClosed)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			s := dubboSnapshot(addr, dubboServer(t, "good", nil))
			if tc.bad != 20 {
				endpoints(s, "echo", s.Clusters["echo"].Endpoints[0], failingDubbo(t, tc.bad))
			}
			tc.route.Name, tc.route.Cluster = "r", "echo"
			s.Hosts[echoDubbo].Routes = []config.Route{tc.route}
			e := started(t, 1, s)
			var got []byte
			for id := range uint64(2) {
				m := talkDubbo(t, addr, 1, dubboFrame(flagRequest, 0, id, dubboCall(echoDubbo, "pay", nil)))[0]
				if got = append(got, m.status); m.id != id {
					t.Errorf("id %d, want %d", m.id, id)
				}
				if m.status == 100 && !strings.Contains(string(m.body), "axle: ") {
					t.Errorf("message %q is not the sidecar's", m.body)
				}
			}
			slices.Sort(got) // which endpoint comes first is up to chance
			if string(got) != string(tc.want) {
				t.Errorf("statuses %d, want %d", got, tc.want)
			}
			stats := e.Stats()
			count := stats.Series[proxy.SeriesName{Direction: config.Outbound, Protocol: proxy.SpokenDubbo, RouteName: proxy.RouteName{Host: echoDubbo, Route: "r"}}]
			last := proxy.CodeOf(int(tc.want[1]))
			counted := slices.ContainsFunc(count.Codes, func(c proxy.CodeCount) bool { return c.Code == last && c.Flag == tc.flag })
			if (stats.Retried > 0) != tc.retried || count.Ended() != 2 || !counted {
				t.Errorf("%d retries, want some: %t; %+v", stats.Retried, tc.retried, count)
			}
		})
	}
}
