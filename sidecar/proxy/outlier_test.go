package proxy_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// strict ejects one of two endpoints after three failures, for longer than a test takes.
func strict() *config.Outlier {
	return &config.Outlier{Consecutive: 3, Interval: time.Minute, BaseEjection: time.Minute, MaxEjection: time.Minute, MaxPercent: 50}
}

// ejections waits for the one, and says that only one endpoint is out.
func ejections(t *testing.T, e *proxy.Engine) {
	t.Helper()
	until(t, "one endpoint is ejected", func() bool { return e.Stats().Ejected == 1 })
	if out := e.Stats().Out; out.Ejected != 1 || out.Unhealthy != 0 {
		t.Errorf("out: %+v, want one that is ejected", out)
	}
}

func TestAnEndpointThatFailsIsEjected(t *testing.T) {
	good, bad := serve(t, nil), serve(t, nil)
	bad.closeWith.Store(true)
	addr := freePort(t)
	s := snapshot(addr, good, bad)
	s.Clusters["echo"].Outlier = strict()
	e := started(t, 2, s)
	c := dial(t, addr)
	c.lenient = true
	for range 12 {
		if err := c.ask([]byte("x")); err != nil {
			t.Fatal(err)
		}
		c.settle(t)
	}
	ejections(t, e)
	before := e.Stats().Failed[proxy.FailUpstreamClosed]
	if before != 3 {
		t.Errorf("%d requests failed, want 3 and then no more", before)
	}
	next := *s // a snapshot does not bring it back
	if err := e.Apply(&next); err != nil {
		t.Fatal(err)
	}
	strictClient := dial(t, addr)
	for range 10 {
		if err := strictClient.ask([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	strictClient.settle(t)
}

// answering is an HTTP server that always answers with one status, and counts.
func answering(t *testing.T, status int) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	n := &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		w.WriteHeader(status)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort(), n
}

func sorted(a, b netip.AddrPort) []netip.AddrPort {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return []netip.AddrPort{a, b}
}

func TestAnHTTPEndpointThatFailsIsEjected(t *testing.T) {
	for status, gateway := range map[int]bool{500: false, 503: true} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			good, _ := answering(t, 200)
			bad, asked := answering(t, status)
			addr := freePort(t)
			s := httpSnapshot(addr, sorted(good, bad)...)
			s.Clusters["shop"].Outlier = strict()
			if gateway {
				s.Clusters["shop"].Outlier.Consecutive, s.Clusters["shop"].Outlier.ConsecutiveGateway = 0, 3
			}
			e := started(t, 1, s)
			c := web(addr)
			for range 20 {
				statusOf(t, c)
			}
			ejections(t, e)
			if n := asked.Load(); n != 3 {
				t.Errorf("the bad one was asked %d times, want 3", n)
			}
		})
	}
}

// TestATimeoutIsAFailure: an endpoint that never answers is out after its third request.
func TestATimeoutIsAFailure(t *testing.T) {
	good, _ := answering(t, 200)
	bad, arrived, let := patient(t)
	defer close(let)
	addr := freePort(t)
	s := httpSnapshot(addr, sorted(good, bad)...)
	s.Clusters["shop"].Outlier = strict()
	s.Hosts["shop.demo"].Routes[0].Timeout = 50 * time.Millisecond
	e := started(t, 1, s)
	c := web(addr)
	for range 20 {
		statusOf(t, c)
	}
	ejections(t, e)
	if n := len(arrived); n != 3 {
		t.Errorf("the one that never answers was asked %d times, want 3", n)
	}
}

// TestAPlainEndpointThatCannotBeReachedIsEjected counts connections.
func TestAPlainEndpointThatCannotBeReachedIsEjected(t *testing.T) {
	addr := freePort(t)
	s := tcpSnapshot(addr, freePort(t))
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
