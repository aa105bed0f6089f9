package proxy_test

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/config"
)

// answerAll turns every request of size bytes into a response of the same body, without allocating.
func answerAll(conn net.Conn, size int) {
	in := make([]byte, size)
	for {
		if _, err := io.ReadFull(conn, in); err != nil {
			return
		}
		// The response's head is two bytes shorter, and it needs no header map: send the class, header and content anew.
		out := in[2:] // so that the lengths are in their place already
		copy(out[5:10], in[5:10])
		out[0], out[1], out[2], out[3], out[4] = 1, 0, 0, 2, 1
		out[10], out[11] = 0, 0
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// exchange sends a request n times over one connection, and reads an answer of two bytes less each time.
func exchange(tb testing.TB, conn net.Conn, request, answer []byte, n int) {
	tb.Helper()
	for range n {
		if _, err := conn.Write(request); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.ReadFull(conn, answer); err != nil {
			tb.Fatal(err)
		}
		if answer[8] != 77 || answer[11] != 0 {
			tb.Fatalf("the answer begins % x", answer[:20])
		}
	}
}

// ruledRequest asks for echoService with headers that rules may look at.
var ruledRequest = headed(77, make([]byte, 1000), "sofa_head_method_name", "pay", "user", "test-7", "service", echoService)

// byRules are ways to route ruledRequest, from the plainest to everything at once.
var byRules = map[string][]config.Route{
	"one cluster": {{Cluster: "v1"}},
	"a split":     {canary},
	"everything": {
		{Matches: []config.Match{{Name: config.MatchMethod, Kind: config.MatchExact, Value: "refund"}}, Cluster: "v2"},
		{Matches: []config.Match{{Name: "zone"}}, Cluster: "v2"},
		{
			Matches: []config.Match{
				{Name: config.MatchMethod, Kind: config.MatchRegex, Value: "p.*"}, {Name: "user", Kind: config.MatchPrefix, Value: "test-"},
				{Name: "user", Kind: config.MatchRegex, Value: "[a-z]+-[0-9]+"},
			},
			Split: canary.Split, Mirror: &config.Mirror{Cluster: "v2", Numerator: 1, Denominator: 1},
		},
	},
	"a plan": {planned},
}

// planned does everything to requests that leaves them and their answers as they are to a Bolt client.
var planned = config.Route{
	Split: canary.Split, Sticky: "user",
	Retry: &config.Retry{On: config.RetryServerError | config.RetryConnect, AnyMethod: true, PerTry: time.Second, Hedge: true},
	Fault: &config.Fault{
		Delayed: config.Fraction{Numerator: 1, Denominator: 200}, Delay: time.Millisecond, Aborted: config.Fraction{Denominator: 2}, Status: 503,
	},
	Limit: config.Limit{Burst: 1000, Tokens: 1000, Every: time.Millisecond},
	Edit: &config.Edit{
		Request: []change.Field{{Name: "X-Set", Value: "new"}, {Op: change.Remove, Name: "user"}}, Prefix: "/", With: "/api/", Host: "inner.demo",
	},
}

// ruledConn is a connection to an engine that routes by rules, and by now has everything it needs.
func ruledConn(tb testing.TB, rules []config.Route, answer []byte) net.Conn {
	tb.Helper()
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
	addr, to := freePort(tb), ln.Addr().(*net.TCPAddr).AddrPort()
	e, _ := newEngine(tb, 1, 1)
	tb.Cleanup(e.Stop)
	if err := e.Apply(ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": to, "v2": to}, rules...)); err != nil {
		tb.Fatal(err)
	}
	e.Serve()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	exchange(tb, conn, ruledRequest, answer, 200) // pools fill up
	return conn
}

func TestARequestAllocatesNothing(t *testing.T) {
	for name, rules := range byRules {
		t.Run(name, func(t *testing.T) {
			answer := make([]byte, len(ruledRequest)-2)
			conn := ruledConn(t, rules, answer)
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			var before, after runtime.MemStats
			const requests = 5000
			runtime.ReadMemStats(&before)
			exchange(t, conn, ruledRequest, answer, requests)
			runtime.ReadMemStats(&after)
			if per := float64(after.Mallocs-before.Mallocs) / requests; per > 0.01 {
				t.Errorf("%.3f allocations per request, want 0", per)
			}
		})
	}
}

// BenchmarkRequest is one request after the other, peers and kernel included.
func BenchmarkRequest(b *testing.B) {
	for name, rules := range byRules {
		b.Run(name, func(b *testing.B) {
			answer := make([]byte, len(ruledRequest)-2)
			conn := ruledConn(b, rules, answer)
			b.ReportAllocs()
			b.ResetTimer()
			exchange(b, conn, ruledRequest, answer, b.N)
		})
	}
}
