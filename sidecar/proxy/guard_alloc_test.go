package proxy_test

import (
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// guards are ways to choose and to protect endpoints, with everything that looks at requests.
func guards() map[string]func(*config.Cluster) {
	all := func(c *config.Cluster) {
		c.MaxConnections, c.MaxPending, c.MaxRequests, c.MaxRetries = 100, 100, 100, 100
		c.Outlier = strict()
		c.Outlier.SuccessRate = &config.SuccessRate{Endpoints: 5, Requests: 100, Factor: 1.9}
		c.Balancing.Hash = []config.HashKey{{Header: "user"}, {SourceIP: true}}
	}
	out := map[string]func(*config.Cluster){"plain": func(*config.Cluster) {}}
	for _, p := range config.Policies() {
		out[p.String()] = func(c *config.Cluster) { all(c); c.Balancing.Policy = p }
	}
	return out
}

// guardedConn is ruledConn for a cluster of several endpoints that are all the same server.
func guardedConn(tb testing.TB, guard func(*config.Cluster), answer []byte) net.Conn {
	tb.Helper()
	var to []netip.AddrPort
	for range 4 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				go answerAll(conn, len(ruledRequest))
			}
		}()
		to = append(to, ln.Addr().(*net.TCPAddr).AddrPort())
	}
	addr := freePort(tb)
	s := ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": to[0]}, config.Route{Cluster: "v1"})
	slices.SortFunc(to, netip.AddrPort.Compare)
	s.Clusters["v1"].Endpoints = to
	guard(s.Clusters["v1"])
	e, _ := newEngine(tb, 1, 1)
	tb.Cleanup(e.Stop)
	if err := e.Apply(s); err != nil {
		tb.Fatal(err)
	}
	e.Serve()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	exchange(tb, conn, ruledRequest, answer, 200)
	return conn
}

func TestAGuardedRequestAllocatesNothing(t *testing.T) {
	for name, guard := range guards() {
		t.Run(name, func(t *testing.T) {
			answer := make([]byte, len(ruledRequest)-2)
			conn := guardedConn(t, guard, answer)
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			var before, after runtime.MemStats
			const requests = 3000
			runtime.ReadMemStats(&before)
			exchange(t, conn, ruledRequest, answer, requests)
			runtime.ReadMemStats(&after)
			if per := float64(after.Mallocs-before.Mallocs) / requests; per > 0.01 {
				t.Errorf("%.3f allocations per request, want 0", per)
			}
		})
	}
}

// BenchmarkGuarded is BenchmarkRequest with endpoints to choose from and to protect.
func BenchmarkGuarded(b *testing.B) {
	for name, guard := range guards() {
		b.Run(name, func(b *testing.B) {
			answer := make([]byte, len(ruledRequest)-2)
			conn := guardedConn(b, guard, answer)
			b.ReportAllocs()
			b.ResetTimer()
			exchange(b, conn, ruledRequest, answer, b.N)
		})
	}
}
