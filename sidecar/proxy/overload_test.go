package proxy_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/overload"
	"github.com/axlemesh/axle/sidecar/proxy"
)

var (
	sheds = func(least config.Priority) overload.Actions { return overload.Actions{Least: least} }
	// ranked are routes of each priority by the value of the header "r"; every one may be lowered by "prio".
	ranked = []config.Route{
		{Name: "low", Cluster: "v1", Priority: config.PriorityLow, PriorityHeader: "prio", Matches: []config.Match{{Name: "r", Kind: config.MatchExact, Value: "low"}}},
		{Name: "high", Cluster: "v1", Priority: config.PriorityHigh, PriorityHeader: "prio", Matches: []config.Match{{Name: "r", Kind: config.MatchExact, Value: "high"}}},
		{Name: "default", Cluster: "v1", PriorityHeader: "prio"},
	}
)

// TestShedding asks with each priority while nothing, low and default priorities are shed.
func TestShedding(t *testing.T) {
	type asked struct{ route, lowered string }
	all := []asked{{"low", ""}, {"default", ""}, {"high", ""}, {"default", "low"}, {"high", "low"}, {"high", "default"}, {"low", "high"}, {"high", "nonsense"}}
	expected := map[config.Priority]string{
		config.PriorityLow:      "........",
		config.PriorityDefault:  "x..xx.x.",
		config.PriorityHigh:     "xx.xxxx.",
		config.PriorityHigh + 1: "xxxxxxxx",
	}
	origin, server, dubbo := newOrigin(t, statusOnly(200)), serve(t, nil), dubboServer(t, "good", nil)
	grpcServer, _ := serveGRPC(t)
	shop, _ := shop2(t)
	protocols := map[string]struct {
		p  config.Protocol
		to netip.AddrPort
		// status of the answer to what was shed.
		status int
		// ask returns a function that tells "." for an answer, "x" for what was shed.
		ask func(t *testing.T, addr netip.AddrPort) func(route, lowered string) string
	}{
		"HTTP/1.1": {config.HTTP1, origin.addr, 503, func(t *testing.T, addr netip.AddrPort) func(string, string) string { return shedHTTP(web(addr)) }},
		"HTTP/2":   {config.HTTP2, shop, 503, func(t *testing.T, addr netip.AddrPort) func(string, string) string { return shedHTTP(web2(t, addr)) }},
		"gRPC": {config.HTTP2, grpcServer, int(codes.ResourceExhausted), func(t *testing.T, addr netip.AddrPort) func(string, string) string {
			c := dialGRPC(t, addr, "shop.demo")
			return func(route, lowered string) string {
				_, err := c.UnaryCall(metadata.AppendToOutgoingContext(context.Background(), "r", route, "prio", lowered), &pb.SimpleRequest{})
				switch {
				case err == nil:
					return "."
				case want(err, codes.ResourceExhausted, "axle: the sidecar is overloaded") == nil:
					return "x"
				}
				return err.Error()
			}
		}},
		"Bolt": {config.Bolt, server.addr, 4, func(t *testing.T, addr netip.AddrPort) func(string, string) string {
			return func(route, lowered string) string {
				m, err := askOnce(t, addr, boltWith(echoService, "r", route, "prio", lowered))
				if err != nil {
					return err.Error()
				}
				return map[uint16]string{0: ".", 4: "x"}[m.status]
			}
		}},
		"Dubbo": {config.Dubbo, dubbo, 100, func(t *testing.T, addr netip.AddrPort) func(string, string) string {
			return func(route, lowered string) string {
				m := talkDubbo(t, addr, 1, dubboFrame(flagRequest, 0, 7, dubboCall(echoDubbo, "pay", nil, "r", route, "prio", lowered)))[0]
				return map[byte]string{20: ".", 100: "x"}[m.status]
			}
		}},
	}
	for name, tc := range protocols {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			s := ruled(addr, tc.p, map[string]netip.AddrPort{"v1": tc.to}, ranked...)
			s.Hosts[echoDubbo] = &config.Host{Name: echoDubbo, Routes: ranked}
			e := started(t, 2, s)
			ask := tc.ask(t, addr)
			for _, least := range []config.Priority{config.PriorityLow, config.PriorityDefault, config.PriorityHigh, config.PriorityHigh + 1, config.PriorityLow} {
				e.Relieve(sheds(least))
				got := ""
				for _, a := range all {
					got += ask(a.route, a.lowered)
				}
				if got != expected[least] {
					t.Errorf("with %s as the least: %s, want %s", least, got, expected[least])
				}
			}
			shed := [3]uint64{4 + 4 + 4, 2 + 2, 2} // as those rows have it, by the priority that was asked with
			stats := e.Stats()
			if diff := cmp.Diff(shed, stats.Shed); diff != "" {
				t.Errorf("shed (-want +got):\n%s", diff)
			}
			if n := stats.Failed[proxy.FailShed]; n != 18 {
				t.Errorf("%d failures are counted, want 18", n)
			}
			if diff := cmp.Diff(map[int]uint64{tc.status: 18}, shedEnds(stats)); diff != "" {
				t.Errorf("ends of what was shed (-want +got):\n%s", diff)
			}
		})
	}
}

// shedEnds counts the requests that ended because they were shed, by the status of their answer.
func shedEnds(s proxy.Stats) map[int]uint64 {
	all := map[int]uint64{}
	for _, c := range s.Series {
		for _, one := range c.Codes {
			if one.Flag == proxy.FlagOf(proxy.FailShed) {
				all[one.Code.Status()] += one.N
			}
		}
	}
	return all
}

// TestEasing leaves out a part of one priority, and nothing of those above it.
func TestEasing(t *testing.T) {
	server := serve(t, nil)
	addr := freePort(t)
	e := started(t, 1, ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": server.addr}, ranked...))
	e.Relieve(overload.Actions{Least: config.PriorityDefault, Easing: 0.25})
	got := map[string]int{}
	for range 200 {
		for _, route := range []string{"low", "default", "high"} {
			if m, err := askOnce(t, addr, boltWith(echoService, "r", route, "prio", "")); err != nil || m.status != 0 {
				got[route]++
			}
		}
	}
	if got["low"] != 200 || got["default"] < 20 || got["default"] > 90 || got["high"] != 0 {
		t.Errorf("of 200 each are shed: %v; want all of low and a quarter of the default priority", got)
	}
}

// shedHTTP asks over HTTP. Who is shed is told when to come again.
func shedHTTP(c *http.Client) func(route, lowered string) string {
	return func(route, lowered string) string {
		req, err := http.NewRequest("GET", "http://shop.demo/echo", nil)
		if err != nil {
			return err.Error()
		}
		req.Header.Set("R", route)
		req.Header.Set("Prio", lowered)
		res, err := c.Do(req)
		if err != nil {
			return err.Error()
		}
		_ = res.Body.Close()
		switch {
		case res.StatusCode == 200:
			return "."
		case res.StatusCode == 503 && res.Header.Get("Retry-After") == "1":
			return "x"
		}
		return res.Status
	}
}

// TestHealthChecksAreNotShed: a probe that is answered with an error would have the pod restarted, or all its traffic moved to
// others that are as full.
func TestHealthChecksAreNotShed(t *testing.T) {
	o, server := newOrigin(t, statusOnly(200)), serve(t, nil)
	addr, bolt := freePort(t), freePort(t)
	s := ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": o.addr, "echo": server.addr}, config.Route{Cluster: "v1"})
	s.Listeners = append(s.Listeners, config.Listener{Name: "bolt", Address: bolt, Protocol: config.Bolt, Cluster: "echo"})
	e := started(t, 1, s)
	e.Relieve(sheds(config.PriorityHigh + 1))
	for agent, want := range map[string]int{"kube-probe/1.36": 200, "Envoy/HC": 200, "axle-health-check": 200, "curl/8": 503, "": 503} {
		for method, want := range map[string]int{"GET": want, "POST": 503} {
			req, err := http.NewRequest(method, "http://shop.demo/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("User-Agent", agent)
			res, err := web(addr).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if _ = res.Body.Close(); res.StatusCode != want {
				t.Errorf("%s of %q: %d, want %d", method, agent, res.StatusCode, want)
			}
		}
	}
	heartbeat := frame(1, 9, "", nil)
	heartbeat[3] = 0
	if m, err := askOnce(t, bolt, heartbeat); err != nil || m.id != 9 || m.status != 0 {
		t.Errorf("a heartbeat gets %+v, %v", m, err)
	}
	if m, err := askOnce(t, bolt, frame(1, 9, echoService, nil)); err != nil || m.status != 4 {
		t.Errorf("a request to a listener with one cluster gets %+v, %v; want to be shed", m, err)
	}
}

// TestRefusing: who is there stays, who comes is turned away.
func TestRefusing(t *testing.T) {
	server := serve(t, nil)
	addr := freePort(t)
	e := started(t, 2, snapshot(addr, server))
	c := dial(t, addr)
	for range 2 {
		if err := c.ask([]byte("x")); err != nil {
			t.Fatal(err)
		}
		c.settle(t)
		e.Relieve(overload.Actions{Refuse: true, Least: config.PriorityLow})
	}
	if _, err := askOnce(t, addr, frame(1, 9, echoService, nil)); err == nil {
		t.Error("a new client is served")
	}
	if n := e.Stats().Unwelcome; n != 1 {
		t.Errorf("%d clients are counted, want 1", n)
	}
	e.Relieve(overload.Everything())
	if _, err := askOnce(t, addr, frame(1, 9, echoService, nil)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestClosingIdle closes what has nothing to do, and nothing else; in a handover nothing at all.
func TestClosingIdle(t *testing.T) {
	o, server := newOrigin(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
		}
	}), serve(t, nil)
	shop, _ := shop2(t)
	web1, web20, bolt := freePort(t), freePort(t), freePort(t)
	s := ruled(web1, config.HTTP1, map[string]netip.AddrPort{"v1": o.addr, "echo": server.addr, "two": shop}, config.Route{Cluster: "v1"})
	s.Listeners = append(s.Listeners, config.Listener{Name: "bolt", Address: bolt, Protocol: config.Bolt, Cluster: "echo"},
		config.Listener{Name: "two", Address: web20, Protocol: config.HTTP2, Cluster: "two"})
	e, pass := skipped(t, 1, s)
	busy := asking(t, web1, "GET /slow HTTP/1.1\r\nHost: shop.demo\r\n\r\n")
	until(t, "the slow request is at its endpoint", func() bool { return o.seen.Load() == 1 })
	idle, rpc := asking(t, web1, "GET / HTTP/1.1\r\nHost: shop.demo\r\n\r\n"), dial(t, bolt)
	two := web2(t, web20)
	if got, err := ask2(two, "GET", "/echo", nil); err != nil || got.status != 200 {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := rpc.ask([]byte("x")); err != nil {
		t.Fatal(err)
	}
	rpc.settle(t)
	res, err := http.ReadResponse(bufio.NewReader(idle), nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%+v, %v", res, err)
	}
	_ = res.Body.Close()
	relieve := func() {
		e.Relieve(overload.Actions{CloseIdle: true, Least: config.PriorityLow})
		e.Stats() // the loop has done it
	}
	if relieve(); e.Stats().IdleClosed != 0 {
		t.Errorf("%d connections are closed that were just used", e.Stats().IdleClosed)
	}
	pass(1500 * time.Millisecond)
	relieve()
	if n := e.Stats().IdleClosed; n != 3 {
		t.Errorf("%d connections to endpoints are closed, want those of HTTP/1, HTTP/2 and Bolt that have no request", n)
	}
	pass(5 * time.Second)
	e.Donor().BeginMove(nil)
	relieve()
	e.Donor().EndMove()
	if n := e.Stats().IdleClosed; n != 3 {
		t.Errorf("%d connections are closed in a handover", n-3)
	}
	relieve()
	if n := e.Stats().IdleClosed; n != 5 {
		t.Errorf("%d connections are closed, want also those of an HTTP/1 and an HTTP/2 client", n)
	}
	_ = idle.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // it is not wrapped
		t.Errorf("the idle client hears %v, want its end", err)
	}
	if err := rpc.ask([]byte("x")); err != nil {
		t.Fatal(err)
	}
	rpc.settle(t)
	if got, err := ask2(two, "GET", "/echo", nil); err != nil || got.status != 200 {
		t.Errorf("over HTTP/2, afterwards: %+v, %v", got, err)
	}
	_ = busy.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := busy.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "EOF") {
		t.Errorf("a client with a request hears %v", err)
	}
}

// asking sends a request and reads nothing.
func asking(t *testing.T, addr netip.AddrPort, request string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// boltWith is a Bolt request with headers.
func boltWith(service string, headers ...string) []byte {
	b := frame(1, 7, service, []byte("x"))
	body := b[len(b)-1:]
	b = b[:len(b)-1]
	for _, h := range headers {
		b = append(b, 0, 0, 0, byte(len(h)))
		b = append(b, h...)
	}
	n := len(b) - 22
	b[16], b[17] = byte(n>>8), byte(n)
	return append(b, body...)
}

// TestBusy measures a loop that waits, and one that works.
func TestBusy(t *testing.T) {
	server := serve(t, nil)
	addr := freePort(t)
	e, _ := newEngine(t, 1, 1)
	t.Cleanup(e.Stop)
	if err := e.Apply(snapshot(addr, server)); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	begin := time.Now()
	now := func() time.Duration { return time.Since(begin) }
	busy := e.Busy()
	time.Sleep(100 * time.Millisecond)
	if part := busy(now()); part > 0.5 || part < 0 {
		t.Errorf("a loop without work is busy for %v of its time", part)
	}
	e.Work(200 * time.Millisecond)
	if part := busy(now()); part < 0.5 || part > 1 {
		t.Errorf("a loop that has only worked is busy for %v of its time", part)
	}
}
