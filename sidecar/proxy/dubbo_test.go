package proxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// talkDubbo sends raw bytes over a new connection and reads as many answers.
func talkDubbo(t *testing.T, addr netip.AddrPort, answers int, raw ...[]byte) (all []dubboMessage) {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	for _, b := range raw {
		write(t, conn, b)
	}
	r := bufio.NewReader(conn)
	for range answers {
		m, err := readDubbo(r)
		if err != nil {
			t.Fatalf("answer %d: %v", len(all)+1, err)
		}
		all = append(all, m)
	}
	return all
}

func TestDubboIsRoutedByServiceKey(t *testing.T) {
	is := func(name string, kind config.MatchKind, value, cluster string) config.Route {
		return config.Route{Matches: []config.Match{{Name: name, Kind: kind, Value: value}}, Cluster: cluster}
	}
	hosts := map[string][]config.Route{
		"com.x.Pay":          {{Cluster: "plain"}},
		"com.x.Pay:1.0":      {is(config.MatchMethod, config.MatchExact, "refund", "refunds"), is("user", config.MatchPrefix, "test-", "test"), {Cluster: "v1"}},
		"com.x.Pay:1.0@gray": {{Cluster: "gray"}},
		"com.x.Old":          {{Status: 503}},
	}
	addr := freePort(t)
	s := dubboSnapshot(addr, addr)
	for key, routes := range hosts {
		s.Hosts[key] = &config.Host{Name: key, Routes: routes}
	}
	for _, name := range []string{"plain", "refunds", "test", "v1", "gray"} {
		s.Clusters[name] = &config.Cluster{Name: name, Connections: 1, ConnectTimeout: toConnect, Endpoints: []netip.AddrPort{dubboServer(t, name, nil)}}
	}
	started(t, 1, s)
	generic := []byte(hessian("2.0.2") + hessian("com.x.Pay") + hessian("1.0") + hessian("$invoke") + hessian("Ljava/lang/String;") + hessian("refund") + "HZ")
	cases := map[string]struct {
		body   []byte
		want   string // the server, or the message
		status byte
	}{
		"no version, no group":         {dubboCall("com.x.Pay", "pay", nil), "plain", 20},
		"a version":                    {dubboCall("com.x.Pay:1.0", "pay", nil), "v1", 20},
		"a version and a group":        {dubboCall("com.x.Pay:1.0@gray", "refund", nil), "gray", 20},
		"a method":                     {dubboCall("com.x.Pay:1.0", "refund", nil), "refunds", 20},
		"what a generic call invokes":  {generic, "refunds", 20},
		"an attachment":                {dubboCall("com.x.Pay:1.0", "pay", nil, "user", "test-7"), "test", 20},
		"another group":                {dubboCall("com.x.Pay:1.0@blue", "pay", nil), "no route takes this service, version and group", 60},
		"a rule that answers":          {dubboCall("com.x.Old", "pay", nil), "a rule refuses the request", 60},
		"arguments that nest too deep": {[]byte(strings.Replace(string(dubboCall("com.x.Pay", "pay", nil)), "B\x00\x00", strings.Repeat("y", 40)+"N", 1)), "cannot be routed", 40},
		"no hessian2, says its body":   {[]byte("\xff"), "cannot be routed", 40},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := talkDubbo(t, addr, 1, dubboFrame(flagRequest, 0, 1<<63+5, tc.body))[0]
			if got.status != tc.status || got.id != 1<<63+5 || got.flags != flagResponse {
				t.Errorf("got flags %x, status %d, id %x, want status %d", got.flags, got.status, got.id, tc.status)
			}
			if !strings.Contains(string(got.body), tc.want) {
				t.Errorf("got %.60q, want %q", got.body, tc.want)
			}
		})
	}
}

// TestOtherSerialisationsOfDubbo pass through a listener with a cluster, and are refused where they would be routed; either
// way the connection stays.
func TestOtherSerialisationsOfDubbo(t *testing.T) {
	to := dubboServer(t, "any", nil)
	fixed, routed := freePort(t), freePort(t)
	s := dubboSnapshot(routed, to)
	s.Listeners = append(s.Listeners, config.Listener{Name: "in", Address: fixed, Protocol: config.Dubbo, Cluster: "echo"})
	started(t, 1, s)
	java := dubboFrame(0xc3, 0, 9, []byte("java objects"))
	heartbeat := dubboFrame(0xe6, 0, 10, []byte("null\n"))
	cases := map[string]struct {
		addr   netip.AddrPort
		status byte
		flags  byte
		body   string
	}{
		"a cluster for everything": {fixed, 20, 3, "anyjava objects"},
		"routed":                   {routed, 40, 2, "axle: the request cannot be routed"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for _, m := range talkDubbo(t, tc.addr, 3, java, heartbeat, java) {
				switch {
				case m.id == 10 && (m.flags != 0x26 || m.status != 20 || string(m.body) != "null\n"):
					t.Errorf("a heartbeat got flags %x, status %d, %q", m.flags, m.status, m.body)
				case m.id == 9 && (m.flags != tc.flags || m.status != tc.status || !strings.Contains(string(m.body), tc.body)):
					t.Errorf("got flags %x, status %d, %.80q", m.flags, m.status, m.body)
				}
			}
		})
	}
}

func TestAnswersOfOurOwnToDubbo(t *testing.T) {
	never := dubboServer(t, "never", func(uint64) time.Duration { return time.Hour })
	silent := newBackend(t)
	go func() {
		for {
			conn, err := silent.ln.Accept()
			if err != nil {
				return
			}
			_, _ = readDubbo(conn)
			_ = conn.Close()
		}
	}()
	cases := map[string]struct {
		to      netip.AddrPort
		timeout string
		status  byte
		message string
	}{
		"no endpoint":          {netip.AddrPort{}, "", 35, "no endpoint"},
		"none that is there":   {freePort(t), "", 35, "could be reached"},
		"one that hangs up":    {silent.ln.Addr().(*net.TCPAddr).AddrPort(), "", 35, "closed the connection"},
		"one that says nought": {never, "50", 31, "in time"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			s := dubboSnapshot(addr, tc.to)
			if !tc.to.IsValid() {
				s.Clusters["echo"].Endpoints = nil
			}
			started(t, 1, s)
			var attachments []string
			if tc.timeout != "" {
				attachments = []string{"timeout", tc.timeout}
			}
			got := talkDubbo(t, addr, 1, dubboFrame(flagRequest, 0, 7, dubboCall(echoDubbo, "pay", nil, attachments...)))[0]
			if got.status != tc.status || got.id != 7 || !strings.Contains(string(got.body), tc.message) {
				t.Errorf("got status %d, id %d, %q, want %d with %q", got.status, got.id, got.body, tc.status, tc.message)
			}
		})
	}
}

// TestADubboEndpointThatGoesReadOnly finishes what it has and gets nothing more.
func TestADubboEndpointThatGoesReadOnly(t *testing.T) {
	b, addr := newBackend(t), freePort(t)
	started(t, 1, dubboSnapshot(addr, b.ln.Addr().(*net.TCPAddr).AddrPort()))
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	_ = client.SetDeadline(time.Now().Add(10 * time.Second))
	body := dubboCall(echoDubbo, "pay", nil)
	write(t, client, dubboFrame(flagRequest, 0, 1, body))
	b.accept(t)
	old := b.conn
	first, err := readDubbo(old)
	if err != nil {
		t.Fatal(err)
	}
	write(t, old, dubboFrame(flagAsk, 0, 99, []byte("N")))
	write(t, old, dubboFrame(flagNews, 0, 100, []byte("\x01R")))
	if ack, err := readDubbo(old); err != nil || ack.flags != flagAck || ack.id != 99 || ack.status != 20 || string(ack.body) != "N" {
		t.Errorf("its heartbeat got %+v, %v", ack, err)
	}
	time.Sleep(50 * time.Millisecond)
	write(t, client, dubboFrame(flagRequest, 0, 2, body))
	b.accept(t) // another connection
	second, err := readDubbo(b.conn)
	if err != nil {
		t.Fatal(err)
	}
	write(t, old, dubboFrame(flagResponse, 20, first.id, []byte("one")))
	write(t, b.conn, dubboFrame(flagResponse, 20, second.id, []byte("two")))
	for range 2 {
		m, err := readDubbo(client)
		if err != nil || m.status != 20 || m.id == 1 && string(m.body) != "one" || m.id == 2 && string(m.body) != "two" {
			t.Errorf("the client got %+v, %v", m, err)
		}
	}
	if n, err := old.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes more came on the connection that takes no requests", n)
	}
}

// TestDubboAndBoltShareACluster, and no connection.
func TestDubboAndBoltShareACluster(t *testing.T) {
	b := newBackend(t)
	addr, rpc := freePort(t), freePort(t)
	s := dubboSnapshot(addr, b.ln.Addr().(*net.TCPAddr).AddrPort())
	s.Listeners[0].Cluster = "echo"
	s.Listeners = append(s.Listeners, config.Listener{Name: "bolt", Address: rpc, Protocol: config.Bolt, Direction: config.Outbound, Cluster: "echo"})
	started(t, 1, s)
	for to, raw := range map[netip.AddrPort][]byte{
		addr: dubboFrame(flagRequest, 0, 1, dubboCall(echoDubbo, "pay", nil)), rpc: frame(1, 1, echoService, nil),
	} {
		conn, err := net.Dial("tcp", to.String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		write(t, conn, raw)
		b.accept(t)
		got := make([]byte, 2)
		if _, err := io.ReadFull(b.conn, got); err != nil || !bytes.Equal(got, raw[:2]) {
			t.Errorf("the endpoint got % x, %v, want % x", got, err, raw[:2])
		}
	}
}

func TestDubboOnewayAndMirror(t *testing.T) {
	copies, addr := newBackend(t), freePort(t)
	s := dubboSnapshot(addr, dubboServer(t, "one", nil))
	s.Hosts[echoDubbo].Routes[0].Mirror = &config.Mirror{Cluster: "shadow", Numerator: 1, Denominator: 1}
	s.Clusters["shadow"] = &config.Cluster{Name: "shadow", Connections: 1, ConnectTimeout: toConnect, Endpoints: []netip.AddrPort{copies.ln.Addr().(*net.TCPAddr).AddrPort()}}
	e := started(t, 1, s)
	body := dubboCall(echoDubbo, "pay", nil)
	got := talkDubbo(t, addr, 1, dubboFrame(flagOneway, 0, 4, body), dubboFrame(flagRequest, 0, 5, body))[0]
	if got.id != 5 || got.status != 20 {
		t.Errorf("got %+v", got)
	}
	copies.accept(t)
	for i, flags := range []byte{flagOneway, flagRequest} {
		m, err := readDubbo(copies.conn)
		if err != nil || m.flags != flags || !bytes.Equal(m.body, body) {
			t.Fatalf("copy %d is %+v, %v", i, m, err)
		}
		if flags == flagRequest {
			write(t, copies.conn, dubboFrame(flagResponse, 20, m.id, []byte("nobody reads this")))
		}
	}
	until(t, "both copies are counted", func() bool { return e.Stats().Mirrored == 2 })
}

func TestADubboRequestAllocatesNothing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	request := dubboFrame(flagRequest, 0, 1<<40, dubboCall(echoDubbo, "pay", make([]byte, 1000), "user", "test-7"))
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		in := make([]byte, len(request))
		for {
			if _, err := io.ReadFull(conn, in); err != nil {
				return
			}
			in[2], in[3] = flagResponse, 20
			if _, err := conn.Write(in); err != nil {
				return
			}
		}
	}()
	addr := freePort(t)
	s := dubboSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort())
	s.Hosts[echoDubbo].Routes = append([]config.Route{
		{Matches: []config.Match{{Name: "user", Kind: config.MatchExact, Value: "ann"}}, Cluster: "echo"},
	}, s.Hosts[echoDubbo].Routes...)
	started(t, 1, s)
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	answer := make([]byte, len(request))
	ask := func(n int) {
		for range n {
			if _, err := conn.Write(request); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, answer); err != nil || answer[3] != 20 || !bytes.Equal(answer[4:], request[4:]) {
				t.Fatalf("got % x, %v", answer[:16], err)
			}
		}
	}
	ask(200)
	var before, after runtime.MemStats
	const requests = 5000
	runtime.ReadMemStats(&before)
	ask(requests)
	runtime.ReadMemStats(&after)
	if per := float64(after.Mallocs-before.Mallocs) / requests; per > 0.01 {
		t.Errorf("%.3f allocations per request, want 0", per)
	}
}
