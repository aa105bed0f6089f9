package proxy_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// held is what a cluster's limit holds; -1 when it has none.
func held(e *proxy.Engine, cluster, limit string) int64 {
	for _, c := range e.Clusters() {
		if u, ok := c.Limits[limit]; ok && c.Name == cluster {
			return u.Held
		}
	}
	return -1
}

// patient is an HTTP server that answers when it is let, and says how many requests it has.
func patient(t *testing.T) (addr netip.AddrPort, arrived, let chan struct{}) {
	t.Helper()
	arrived, let = make(chan struct{}, 100), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-let
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort(), arrived, let
}

// statusOf asks once.
func statusOf(t *testing.T, c *http.Client) int {
	t.Helper()
	resp, err := c.Get("http://shop.demo/")
	if err != nil {
		t.Error(err)
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestHTTPLimits(t *testing.T) {
	for limit, set := range map[string]func(*config.Cluster){
		"requests":    func(c *config.Cluster) { c.MaxRequests = 1 },
		"connections": func(c *config.Cluster) { c.MaxConnections = 1 },
	} {
		t.Run(limit, func(t *testing.T) {
			to, arrived, let := patient(t)
			addr := freePort(t)
			s := httpSnapshot(addr, to)
			set(s.Clusters["shop"])
			e := started(t, 1, s)
			c := web(addr)
			var first sync.WaitGroup
			first.Go(func() {
				if got := statusOf(t, c); got != 200 {
					t.Errorf("the first got %d, want 200", got)
				}
			})
			<-arrived
			if got := statusOf(t, c); got != 503 {
				t.Errorf("the second got %d, want 503", got)
			}
			close(let)
			first.Wait()
			if got := statusOf(t, c); got != 200 {
				t.Errorf("the third got %d, want 200", got)
			}
			over := map[string]proxy.Overflow{"requests": proxy.OverRequests, "connections": proxy.OverConnections}[limit]
			if s := e.Stats(); s.Overflow[over] != 1 || s.Failed[proxy.FailBusy] != 1 {
				t.Errorf("overflows %v, failures %v; want one of each", s.Overflow, s.Failed)
			}
			if got, want := held(e, "shop", limit), map[string]int64{"requests": 0, "connections": 1}[limit]; got != want {
				t.Errorf("the limit holds %d, want %d", got, want)
			}
		})
	}
}

func TestALimitOfConnectionsUsesThoseThatAreThere(t *testing.T) {
	one, two := serve(t, nil), serve(t, nil)
	addr := freePort(t)
	s := snapshot(addr, one, two)
	s.Clusters["echo"].MaxConnections = 1
	e := started(t, 1, s)
	c := dial(t, addr)
	for range 10 {
		if err := c.ask([]byte("x")); err != nil {
			t.Fatal(err)
		}
		c.settle(t)
	}
	if n := one.conns.Load() + two.conns.Load(); n != 1 {
		t.Errorf("%d connections were opened, want 1", n)
	}
	if n := e.Stats().Overflow[proxy.OverConnections]; n != 5 {
		t.Errorf("%d requests were sent elsewhere, want 5 of 10", n)
	}
}

func TestALimitOfWaitingRequests(t *testing.T) {
	slow, _ := deaf(t, [4]byte{127, 0, 0, 1})
	addr := freePort(t)
	s := snapshot(addr, addrOf(slow))
	s.Clusters["echo"].ConnectTimeout, s.Clusters["echo"].MaxPending = time.Minute, 2
	a := &asker{backend: &backend{}, s: s, e: started(t, 1, s)}
	a.join(t)
	for id := range uint32(3) {
		a.ask(t, id)
	}
	a.got(t, map[uint32]uint16{2: 4})
	if s, n := a.e.Stats(), held(a.e, "echo", "pending"); s.Overflow[proxy.OverPending] != 1 || n != 2 {
		t.Errorf("overflows %v, %d wait; want 1 and 2", s.Overflow, n)
	}
}

// TestALimitOfRetries: two requests wait for a connection that cannot be opened, and one may try another endpoint.
func TestALimitOfRetries(t *testing.T) {
	first, _ := deaf(t, [4]byte{127, 0, 0, 1})
	second, _ := deaf(t, [4]byte{127, 0, 0, 2})
	addr := freePort(t)
	s := snapshot(addr, addrOf(first), addrOf(second))
	s.Clusters["echo"].ConnectTimeout, s.Clusters["echo"].MaxRetries = time.Second, 1
	a := &asker{backend: &backend{}, s: s, e: started(t, 1, s)}
	a.join(t)
	for id := range uint32(3) {
		a.ask(t, id)
	}
	a.got(t, map[uint32]uint16{2: 4}) // 0 and 2 were waiting for one endpoint, 1 for the other
	if s := a.e.Stats(); s.Overflow[proxy.OverRetries] < 1 {
		t.Errorf("overflows %v, want one of retries", s.Overflow)
	}
	until(t, "nothing is tried any more", func() bool { return a.e.Stats().Failed[proxy.FailConnect] > 0 && held(a.e, "echo", "retries") == 0 })
}

func TestALimitOfPlainConnections(t *testing.T) {
	ln := listenTCP(t)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	addr := freePort(t)
	s := tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort())
	s.Clusters["app"].MaxConnections = 1
	e := started(t, 1, s)
	say := func(c net.Conn) string {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.Write([]byte("x"))
		b := make([]byte, 1)
		n, _ := c.Read(b)
		return string(b[:n])
	}
	open := func() net.Conn {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	one, two := open(), net.Conn(nil)
	if got := say(one); got != "x" {
		t.Errorf("the first hears %q", got)
	}
	if two = open(); say(two) != "" {
		t.Error("the second is served")
	}
	_ = one.Close()
	until(t, "the first has gone", func() bool { return held(e, "app", "connections") == 0 })
	if got := say(open()); got != "x" {
		t.Errorf("the third hears %q", got)
	}
	if n := e.Stats().Overflow[proxy.OverConnections]; n != 1 {
		t.Errorf("%d overflows, want 1", n)
	}
}

// TestLimitsMove: what is under way when a process hands over counts in the next one, and no longer in the first.
func TestLimitsMove(t *testing.T) {
	let := make(chan time.Duration)
	slow := serve(t, func(int64) time.Duration { return <-let })
	web1, arrived, letHTTP := patient(t)
	addr, httpAddr := freePort(t), freePort(t)
	s := snapshot(addr, slow)
	h := httpSnapshot(httpAddr, web1)
	s.Listeners = append(s.Listeners, h.Listeners...)
	s.Clusters["shop"], s.Hosts["shop.demo"] = h.Clusters["shop"], h.Hosts["shop.demo"]
	for _, c := range s.Clusters {
		c.MaxRequests, c.MaxConnections = 1, 1
	}
	e, set := newEngine(t, 1, 1)
	now := generation{e, set, 1}
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	bolt, asking := dial(t, addr), sync.WaitGroup{}
	bolt.lenient = true
	if err := bolt.ask([]byte("x")); err != nil {
		t.Fatal(err)
	}
	asking.Go(func() {
		if got := statusOf(t, web(httpAddr)); got != 200 {
			t.Errorf("a request that moved got %d, want 200", got)
		}
	})
	<-arrived
	until(t, "the request is sent", func() bool { return e.Stats().Waiting == 1 })
	now = hop(t, now, 1, s)
	defer now.Stop()
	for _, cluster := range []string{"echo", "shop"} {
		for _, limit := range []string{"requests", "connections"} {
			if before, after := held(e, cluster, limit), held(now.Engine, cluster, limit); before != 0 || after != 1 {
				t.Errorf("%s of %s: %d are counted in the first process and %d in the second, want 0 and 1", limit, cluster, before, after)
			}
		}
	}
	if got := statusOf(t, web(httpAddr)); got != 503 {
		t.Errorf("a request beside one that moved got %d, want 503", got)
	}
	other := dial(t, addr)
	other.lenient = true
	if err := other.ask([]byte("x")); err != nil {
		t.Fatal(err)
	}
	other.settle(t)
	if n := now.Stats().Overflow[proxy.OverRequests]; n != 2 {
		t.Errorf("%d overflows, want 2", n)
	}
	close(letHTTP)
	close(let)
	asking.Wait()
	bolt.settle(t)
	until(t, "nothing is held", func() bool { return held(now.Engine, "echo", "requests")+held(now.Engine, "shop", "requests") == 0 })
}

func TestClustersAreDescribed(t *testing.T) {
	addr := freePort(t)
	s := snapshot(addr, addrOf(freePort(t)))
	at := s.Clusters["echo"].Endpoints[0]
	s.Clusters["echo"].Traits = map[netip.AddrPort]config.Trait{at: {Weight: 3, Zone: "z", Unhealthy: true}}
	e := started(t, 1, s)
	got := e.Clusters()
	if len(got) != 1 || got[0].Policy != "roundRobin" || len(got[0].Limits) != 0 || len(got[0].Endpoints) != 1 {
		t.Fatalf("clusters %+v", got)
	}
	if one := got[0].Endpoints[0]; one.Weight != 3 || one.Zone != "z" || one.Health != "unhealthy" || !strings.HasPrefix(one.Endpoint, "127.0.0.1:") {
		t.Errorf("endpoint %+v", one)
	}
}

// TestLimitsAreExactAfterManyHops: under load, with hops between one and two loops, nothing is counted twice or for ever.
func TestLimitsAreExactAfterManyHops(t *testing.T) {
	server := serve(t, func(int64) time.Duration { return 3 * time.Millisecond })
	shopAt, _ := shop(t)
	addr, httpAddr := freePort(t), freePort(t)
	s := snapshot(addr, server)
	h := httpSnapshot(httpAddr, shopAt)
	s.Listeners = append(s.Listeners, h.Listeners...)
	s.Clusters["shop"], s.Hosts["shop.demo"] = h.Clusters["shop"], h.Hosts["shop.demo"]
	for _, c := range s.Clusters {
		c.MaxRequests, c.MaxConnections, c.MaxPending, c.MaxRetries = 1000, 1000, 1000, 1000
		c.Balancing.Policy, c.Outlier = config.LeastRequest, strict()
	}
	e, set := newEngine(t, 1, 1)
	now := generation{e, set, 1}
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	stop, asking := make(chan struct{}), sync.WaitGroup{}
	var clients []*client
	for range 10 {
		c := dial(t, addr)
		clients = append(clients, c)
		asking.Go(func() { c.keepAsking(t, stop) })
	}
	for range 5 {
		asking.Go(func() {
			c := web(httpAddr)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, body := fetch(t, c, http.MethodPost, "/slow", strings.NewReader("x")); status != 200 || body != "x" {
					t.Errorf("status %d, body %q", status, body)
				}
			}
		})
	}
	for i := range 6 {
		time.Sleep(50 * time.Millisecond)
		now = hop(t, now, 1+i%2, s)
	}
	defer now.Stop()
	close(stop)
	asking.Wait()
	for _, c := range clients {
		c.settle(t)
	}
	sum := func(limit string) int64 { return held(now.Engine, "echo", limit) + held(now.Engine, "shop", limit) }
	for _, limit := range []string{"requests", "pending", "retries"} {
		until(t, "no "+limit+" are held", func() bool { return sum(limit) == 0 })
	}
	until(t, "as many connections are held as there are", func() bool { return sum("connections") == int64(now.Stats().Upstream) })
	if s := now.Stats(); s.Ejected != 0 || s.Overflow != ([5]uint64{}) {
		t.Errorf("ejections %d, overflows %v; want none", s.Ejected, s.Overflow)
	}
}
