package proxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

func started(t *testing.T, loops int, s *config.Snapshot) *proxy.Engine {
	t.Helper()
	e, _ := newEngine(t, 1, loops)
	t.Cleanup(e.Stop)
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	return e
}

func TestRequestsOfManyClientsShareAConnection(t *testing.T) {
	a, b := serve(t, nil), serve(t, nil)
	addr := freePort(t)
	e := started(t, 2, snapshot(addr, a, b))
	var clients []*client
	for range 20 {
		clients = append(clients, dial(t, addr))
	}
	for i := range 50 {
		for _, c := range clients {
			if err := c.ask(bytes.Repeat([]byte{byte(i)}, i*100)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range clients {
		c.settle(t)
	}
	s := e.Stats()
	if s.Requests[config.Outbound] != 1000 || s.Answered[config.Outbound] != 1000 || s.Downstream[config.Outbound] != 20 {
		t.Errorf("requests %v, answered %v, connections %v; want 1000, 1000, 20", s.Requests, s.Answered, s.Downstream)
	}
	if a.conns.Load()+b.conns.Load() != 4 {
		t.Errorf("the servers have %d and %d connections, want one for each of two loops", a.conns.Load(), b.conns.Load())
	}
	if a.requests.Load() < 400 || b.requests.Load() < 400 {
		t.Errorf("the servers have got %d and %d of 1000 requests, want a half each", a.requests.Load(), b.requests.Load())
	}
}

func TestLargeAndSplitFrames(t *testing.T) {
	a := serve(t, nil)
	addr := freePort(t)
	started(t, 1, snapshot(addr, a))
	c := dial(t, addr)
	if err := c.ask(bytes.Repeat([]byte("large"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.open[99] = []byte("split")
	c.mu.Unlock()
	for _, b := range frame(1, 99, echoService, []byte("split")) {
		if _, err := c.conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Microsecond)
	}
	c.settle(t)
}

// askOnce sends raw bytes and reads one message.
func askOnce(t *testing.T, addr netip.AddrPort, raw []byte) (message, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write(raw); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	return readMessage(bufio.NewReader(conn))
}

func TestAnswersOfOurOwn(t *testing.T) {
	up := serve(t, nil)
	silent := serve(t, func(int64) time.Duration { return time.Minute })
	closing := serve(t, nil)
	closing.closeWith.Store(true)
	nobody := &server{addr: freePort(t)}
	heartbeat := frame(1, 7, "", nil)
	heartbeat[3] = 0
	quick := frame(1, 7, echoService, nil)
	quick[12], quick[13] = 0, 50 // its own timeout: 50 ms
	cases := map[string]struct {
		to     *server
		raw    []byte
		status uint16
	}{
		"a heartbeat is answered here":         {up, heartbeat, 0},
		"a service that nobody serves":         {up, frame(1, 7, "com.example.Nobody:1.0", nil), 6},
		"an endpoint that cannot be reached":   {nobody, frame(1, 7, echoService, nil), 5},
		"an endpoint that closes unanswered":   {closing, frame(1, 7, echoService, nil), 5},
		"an endpoint that does not answer":     {silent, quick, 7},
		"a request without a key has no route": {up, frame(1, 7, "", nil), 6},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			started(t, 1, snapshot(addr, tc.to))
			m, err := askOnce(t, addr, tc.raw)
			if err != nil || m.kind != 0 || m.id != 7 || m.status != tc.status {
				t.Errorf("got %+v, %v; want status %d for request 7", m, err, tc.status)
			}
		})
	}
}

// TestAClientsOwnTimerFiresFirst: a client that says how long it waits has a timer too. Stock clients tell an answer of ours
// from their own timer's error, so the answer only comes when they have given up.
func TestAClientsOwnTimerFiresFirst(t *testing.T) {
	addr := freePort(t)
	started(t, 1, snapshot(addr, serve(t, func(int64) time.Duration { return time.Minute })))
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	quick := frame(1, 7, echoService, nil)
	quick[12], quick[13] = 0, 50 // ms
	sent := time.Now()
	if _, err := conn.Write(quick); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(sent.Add(5 * time.Second))
	m, err := readMessage(bufio.NewReader(conn))
	if took := time.Since(sent); err != nil || m.status != 7 || took < 500*time.Millisecond {
		t.Errorf("got %+v, %v, %s after a request that waits 50 ms", m, err, took)
	}
}

func TestABadFrameClosesOneConnection(t *testing.T) {
	a := serve(t, nil)
	addr := freePort(t)
	e := started(t, 1, snapshot(addr, a))
	good := dial(t, addr)
	if _, err := askOnce(t, addr, []byte("GET / HTTP/1.1\r\n\r\n")); err == nil {
		t.Error("an HTTP request was answered with Bolt")
	}
	if err := good.ask([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	good.settle(t)
	if n := e.Stats().Malformed; n != 1 {
		t.Errorf("malformed = %d, want 1", n)
	}
}

func TestOnewayIsForwarded(t *testing.T) {
	a := serve(t, nil)
	addr := freePort(t)
	started(t, 1, snapshot(addr, a))
	c := dial(t, addr)
	if _, err := c.conn.Write(frame(2, 5, echoService, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if err := c.ask([]byte("after it")); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	if a.oneways.Load() != 1 {
		t.Errorf("the server has seen %d oneways, want 1", a.oneways.Load())
	}
}

// TestAClientMaySendAOnewayAndLeave also while the connection to the endpoint is only being opened.
func TestAClientMaySendAOnewayAndLeave(t *testing.T) {
	a := serve(t, nil)
	addr := freePort(t)
	started(t, 1, snapshot(addr, a))
	const clients = 50
	for range clients {
		c := dial(t, addr)
		if _, err := c.conn.Write(frame(2, 1, echoService, []byte("x"))); err != nil {
			t.Fatal(err)
		}
		_ = c.conn.Close()
	}
	until(t, "every oneway arrives", func() bool { return a.oneways.Load() == clients })
}

func TestAnEndpointThatLeavesFinishesWhatItHas(t *testing.T) {
	a, b := serve(t, func(int64) time.Duration { return 50 * time.Millisecond }), serve(t, nil)
	addr := freePort(t)
	e := started(t, 1, snapshot(addr, a))
	c := dial(t, addr)
	for range 10 {
		if err := c.ask([]byte("slow")); err != nil {
			t.Fatal(err)
		}
	}
	for a.requests.Load() < 10 {
		time.Sleep(time.Millisecond)
	}
	if err := e.Apply(snapshot(addr, b)); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := c.ask([]byte("fast")); err != nil {
			t.Fatal(err)
		}
	}
	c.settle(t)
	if a.requests.Load() != 10 || b.requests.Load() != 10 {
		t.Errorf("requests at a %d, at b %d, want 10 each", a.requests.Load(), b.requests.Load())
	}
	for deadline := time.Now().Add(5 * time.Second); e.Stats().Upstream != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d upstream connections, want the one to b", e.Stats().Upstream)
		}
	}
}

func TestABadSnapshotKeepsTheLastGoodOne(t *testing.T) {
	a := serve(t, nil)
	addr := freePort(t)
	e := started(t, 1, snapshot(addr, a))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	bad := snapshot(addr, a)
	bad.Listeners = append(bad.Listeners, config.Listener{
		Name: "second", Protocol: config.Bolt, Direction: config.Outbound,
		Address: taken.Addr().(*net.TCPAddr).AddrPort(),
	})
	if err := e.Apply(bad); err == nil {
		t.Error("an address that is taken was accepted")
	}
	c := dial(t, addr)
	if err := c.ask([]byte("as before")); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
}

func TestLeaveReportsWhenTheLastClientHasGone(t *testing.T) {
	a := serve(t, nil)
	addr := freePort(t)
	e := started(t, 1, snapshot(addr, a))
	c := dial(t, addr)
	if err := c.ask(nil); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	e.Leave()
	select {
	case <-e.Left():
		t.Fatal("left with a client")
	default:
	}
	if err := c.ask([]byte("served while leaving")); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	_ = c.conn.Close()
	<-e.Left()
}

func TestPlainTCPBothWaysWithHalfClose(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // answers only after the client's end
				b, _ := io.ReadAll(conn)
				_, _ = conn.Write(b)
				_ = conn.Close()
			}()
		}
	}()
	addr := freePort(t)
	e := started(t, 1, tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort()))
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	go func() {
		_, _ = conn.Write(want)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
	}
	for deadline := time.Now().Add(5 * time.Second); e.Stats().Downstream[config.Inbound] != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the pair is still open")
		}
	}
}

func tcpSnapshot(addr, to netip.AddrPort) *config.Snapshot {
	return &config.Snapshot{
		Listeners: []config.Listener{{Name: "in", Address: addr, Protocol: config.TCP, Cluster: "app"}},
		Clusters:  map[string]*config.Cluster{"app": {Name: "app", Connections: 1, ConnectTimeout: toConnect, Endpoints: []netip.AddrPort{to}}},
	}
}

func TestALimitOfPendingRequestsCountsAllLoops(t *testing.T) {
	slow := serve(t, func(int64) time.Duration { return 200 * time.Millisecond })
	addr := freePort(t)
	s := snapshot(addr, slow)
	s.Clusters["echo"].MaxRequests = 3
	e := started(t, 2, s)
	clients := []*client{dial(t, addr), dial(t, addr), dial(t, addr)}
	for _, c := range clients {
		for range 2 {
			if err := c.ask([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		s := e.Stats()
		if s.Answered[config.Outbound] == 3 && s.Failed[proxy.FailBusy] == 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("answered %v, busy %d; want 3 and 3", s.Answered, s.Failed[proxy.FailBusy])
		}
	}
	c := dial(t, addr)
	if err := c.ask([]byte("there is room again")); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
}
