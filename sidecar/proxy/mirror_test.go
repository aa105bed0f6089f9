package proxy_test

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// copied sends everything to v1 and a copy to m.
var copied = config.Route{Cluster: "v1", Mirror: &config.Mirror{Cluster: "m", Numerator: 1, Denominator: 1}}

// copies waits until all copies that were due are counted.
func copies(t *testing.T, e *proxy.Engine, want uint64) proxy.Stats {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		s := e.Stats()
		if s.Mirrored+s.MirrorDropped == want {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d copies answered and %d dropped, want %d in all", s.Mirrored, s.MirrorDropped, want)
		}
	}
}

func TestBoltIsMirrored(t *testing.T) {
	v1, m := serve(t, nil), serve(t, nil)
	addr := freePort(t)
	e := started(t, 1, ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": v1.addr, "m": m.addr}, copied))
	c := dial(t, addr)
	for range 100 {
		if err := c.ask([]byte("both get this")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.conn.Write(frame(2, 5, echoService, []byte("oneway"))); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	s := copies(t, e, 101)
	if v1.requests.Load() != 100 || m.requests.Load() != 100 || s.Mirrored != 101 {
		t.Errorf("v1 has got %d, the mirror %d, counted %d; want 100, 100, 101", v1.requests.Load(), m.requests.Load(), s.Mirrored)
	}
	for deadline := time.Now().Add(5 * time.Second); m.oneways.Load() != 1 || v1.oneways.Load() != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("oneways: %d and %d, want 1 each", v1.oneways.Load(), m.oneways.Load())
		}
	}
	if s.Clusters["v1"] != 101 || s.Clusters["m"] != 0 {
		t.Errorf("counted by cluster: %v; copies are not the cluster's requests", s.Clusters)
	}
}

// TestAMirrorHarmsNobody has mirrors that fail in every way: the requests are answered, and in time.
func TestAMirrorHarmsNobody(t *testing.T) {
	slow := serve(t, func(int64) time.Duration { return time.Minute })
	closing := serve(t, nil)
	closing.closeWith.Store(true)
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // accepts and reads nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = deaf.Close() }()
	cases := map[string]netip.AddrPort{
		"it is slow":           slow.addr,
		"it closes":            closing.addr,
		"nobody is there":      freePort(t),
		"it has no endpoint":   {},
		"it reads nothing":     netip.MustParseAddrPort(deaf.Addr().String()),
		"it is the same place": {}, // set below
	}
	for name, to := range cases {
		t.Run(name, func(t *testing.T) {
			v1 := serve(t, nil)
			if name == "it is the same place" {
				to = v1.addr
			}
			addr := freePort(t)
			e := started(t, 1, ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": v1.addr, "m": to}, copied))
			c := dial(t, addr)
			body := []byte(strings.Repeat("x", 4000))
			began := time.Now()
			const requests = 3000 // more than may wait for a mirror
			for range requests {
				if err := c.ask(body); err != nil {
					t.Fatal(err)
				}
			}
			c.settle(t)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
			if s := e.Stats(); s.Answered[config.Outbound] != requests || s.Failed != (proxy.Counters{}).Failed {
				t.Errorf("answered %v, failures %v; want %d and none", s.Answered, s.Failed, requests)
			}
		})
	}
}

func TestAMirrorTimesOutByItself(t *testing.T) {
	v1, slow := serve(t, nil), serve(t, func(int64) time.Duration { return 200 * time.Millisecond })
	addr := freePort(t)
	rule := copied
	rule.Timeout = 50 * time.Millisecond
	e := started(t, 1, ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": v1.addr, "m": slow.addr}, rule))
	c := dial(t, addr)
	for range 10 {
		if err := c.ask(nil); err != nil {
			t.Fatal(err)
		}
	}
	c.settle(t)
	if s := copies(t, e, 10); s.MirrorDropped != 10 || s.Failed[proxy.FailTimeout] != 0 {
		t.Errorf("dropped %d, timeouts %d; want 10 and 0", s.MirrorDropped, s.Failed[proxy.FailTimeout])
	}
	for deadline := time.Now().Add(5 * time.Second); e.Stats().Late < 10; time.Sleep(time.Millisecond) { // and they meet nobody
		if time.Now().After(deadline) {
			t.Fatalf("%d late answers, want 10", e.Stats().Late)
		}
	}
}

func TestHTTPIsMirrored(t *testing.T) {
	v1, n1, _ := counting(t, "v1", 0)
	m, copiesAt, bodies := counting(t, "mirror", 0)
	addr := freePort(t)
	e := started(t, 1, ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": v1, "m": m}, copied))
	c := web(addr)
	requests := []struct {
		method, path, body string
		hidden             bool // its length
		mirrored           bool
	}{
		{"GET", "/get", "", false, true},
		{"HEAD", "/head", "", false, true},
		{"POST", "/post", "a short body", false, true},
		{"POST", "/large", strings.Repeat("large", 1<<18), false, false},
	}
	dropped := uint64(0)
	for i, r := range requests {
		copies(t, e, uint64(i)) // so that one connection does for all: a copy that meets another on its way opens one more
		var body io.Reader = strings.NewReader(r.body)
		if r.hidden {
			body = io.MultiReader(body)
		}
		if status, _ := fetch(t, c, r.method, r.path, body); status != 200 {
			t.Errorf("%s: status %d", r.path, status)
		}
		if !r.mirrored {
			dropped++
		}
	}
	copies(t, e, uint64(len(requests)))
	raw := "POST /chunked HTTP/1.1\r\nHost: shop.demo\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
	if got := rawHTTP(t, addr, raw); !strings.Contains(got, "200 OK") {
		t.Errorf("a chunked body: %q", got)
	}
	s := copies(t, e, uint64(len(requests)+1))
	if n1.Load() != 5 || copiesAt.Load() != 4 || s.MirrorDropped != dropped {
		t.Errorf("v1 has got %d, the mirror %d, dropped %d; want 5, 4, %d", n1.Load(), copiesAt.Load(), s.MirrorDropped, dropped)
	}
	for body, want := range map[string]string{"a short body": "POST /post", "abcde": "POST /chunked"} {
		if got, _ := bodies.Load(body); got != want {
			t.Errorf("the mirror has got %v for the body %q, want %s", got, body, want)
		}
	}
	if open := e.Stats().Upstream; open > 2 {
		t.Errorf("%d upstream connections, want one for each server", open)
	}
}

// saying is a server that says the same to everybody and closes.
func saying(t *testing.T, what string) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, what)
			_ = conn.(*net.TCPConn).CloseWrite()
			go func() { _, _ = io.Copy(io.Discard, conn); _ = conn.Close() }()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// TestAnHTTPMirrorHarmsNobody: a request that had to wait for its copy would take as long as the route allows.
func TestAnHTTPMirrorHarmsNobody(t *testing.T) {
	const patience = 3 * time.Second // for requests of a busy machine, too
	slow, _, _ := counting(t, "slow", time.Minute)
	for name, to := range map[string]netip.AddrPort{
		"it is slow": slow, "nobody is there": nobody(t), "it has no endpoint": {}, "it closes": saying(t, ""),
		"it speaks something else": saying(t, "+OK\r\n"), "it ends in the middle": saying(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			v1, n1, _ := counting(t, "v1", 0)
			addr := freePort(t)
			rule := copied
			rule.Timeout = patience
			e := started(t, 1, ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": v1, "m": to}, rule))
			c := web(addr)
			began := time.Now()
			for range 200 {
				if status, body := fetch(t, c, "GET", "/", nil); status != 200 || body != "v1" {
					t.Fatalf("status %d, %q", status, body)
				}
			}
			if took := time.Since(began); took > 20*patience || n1.Load() != 200 { // 200 times that, if each had waited
				t.Errorf("it took %s for %d requests", took, n1.Load())
			}
			if s := copies(t, e, 200); s.MirrorDropped != 200 {
				t.Errorf("%d copies answered, want all dropped", s.Mirrored)
			}
		})
	}
}

// TestMirrorsEndAtAHandover has copies on the way, in both protocols, when their sidecar hands over.
func TestMirrorsEndAtAHandover(t *testing.T) {
	for name, p := range map[string]config.Protocol{"Bolt": config.Bolt, "HTTP": config.HTTP1} {
		t.Run(name, func(t *testing.T) {
			v1, m := serve(t, nil).addr, serve(t, func(int64) time.Duration { return 300 * time.Millisecond }).addr
			if p == config.HTTP1 {
				v1, _, _ = counting(t, "v1", 0)
				m, _, _ = counting(t, "m", 300*time.Millisecond)
			}
			addr := freePort(t)
			s := ruled(addr, p, map[string]netip.AddrPort{"v1": v1, "m": m}, copied)
			e, set := newEngine(t, 1, 1)
			now := generation{e, set, 1}
			if err := e.Apply(s); err != nil {
				t.Fatal(err)
			}
			e.Serve()
			one := func() {
				if p == config.HTTP1 {
					if status, _ := fetch(t, web(addr), "GET", "/", nil); status != 200 {
						t.Errorf("status %d", status)
					}
					return
				}
				c := dial(t, addr)
				if err := c.ask(nil); err != nil {
					t.Fatal(err)
				}
				c.settle(t)
			}
			for range 5 {
				one()
			}
			now = hop(t, now, 1, s)
			if s := now.Stats(); s.MirrorDropped != 5 {
				t.Errorf("%d copies dropped, want 5", s.MirrorDropped)
			}
			one()
			if s := copies(t, now.Engine, 6); s.Mirrored != 1 {
				t.Errorf("%d copies answered, want the one after the handover", s.Mirrored)
			}
			now.Stop()
		})
	}
}
