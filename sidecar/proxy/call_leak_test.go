package proxy_test

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
)

var (
	everyOne = config.Fraction{Numerator: 1, Denominator: 1}
	anyReset = &config.Retry{On: config.RetryReset, Statuses: []int{503}, AnyMethod: true, Backoff: time.Millisecond}
)

// TestADelayedOnewayIsForgotten once it is written: nothing will ever come back for it.
func TestADelayedOnewayIsForgotten(t *testing.T) {
	up := serve(t, nil)
	addr := freePort(t)
	e := started(t, 1, ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": up.addr}, config.Route{
		Name: "r", Cluster: "v1", Retry: anyReset, Fault: &config.Fault{Delayed: everyOne, Delay: time.Millisecond},
	}))
	c := dial(t, addr)
	for range 5 {
		if _, err := c.conn.Write(frame(2, 1, echoService, []byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "every oneway arrives", func() bool { return up.oneways.Load() == 5 })
	if bytes, open := e.Calls(); bytes != 0 || open != 0 {
		t.Errorf("%d bytes are kept and %d requests open, want none", bytes, open)
	}
}

// TestAnAnswerForNobody is late, not given; its route's request ended when the client left.
func TestAnAnswerForNobody(t *testing.T) {
	let := make(chan time.Duration)
	up := serve(t, func(int64) time.Duration { return <-let })
	addr := freePort(t)
	e := started(t, 1, ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": up.addr}, config.Route{Name: "r", Cluster: "v1"}))
	c := dial(t, addr)
	if err := c.ask([]byte("x")); err != nil {
		t.Fatal(err)
	}
	until(t, "it is sent", func() bool { return e.Stats().Waiting == 1 })
	_ = c.conn.Close()
	until(t, "the client has gone", func() bool { return e.Stats().Downstream[config.Outbound] == 0 })
	close(let)
	until(t, "the answer has come", func() bool { return e.Stats().Late == 1 })
	s := e.Stats()
	if n := endsOf(s, echoService, "r"); s.Answered[config.Outbound] != 0 || n.gone != 1 || n.answered != 0 {
		t.Errorf("%d answers are counted as given, and by the route %+v; want the client to be gone", s.Answered[config.Outbound], n)
	}
}

// TestAPlaceForARetryMoves with the request that holds it.
func TestAPlaceForARetryMoves(t *testing.T) {
	bad := newBackend(t)
	addr := freePort(t)
	at := bad.ln.Addr().(*net.TCPAddr).AddrPort()
	s := ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": at}, config.Route{Name: "r", Cluster: "v1", Retry: anyReset})
	s.Clusters["v1"].MaxRetries = 1
	e, set := newEngine(t, 1, 1)
	now := generation{e, set, 1}
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	seen := make(chan message, 2)
	go func() {
		bad.accept(t)
		m := bad.read(t)
		busy(bad, m)
		seen <- bad.read(t)
	}()
	c := dial(t, addr)
	if err := c.ask([]byte("x")); err != nil {
		t.Fatal(err)
	}
	m := <-seen
	now = hop(t, now, 1, s)
	defer now.Stop()
	if before, after := held(e, "v1", "retries"), held(now.Engine, "v1", "retries"); before != 0 || after != 1 {
		t.Errorf("%d retries are counted in the first process and %d in the second, want 0 and 1", before, after)
	}
	f := frame(0, m.id, "", m.body)
	_, _ = bad.conn.Write(f)
	c.settle(t)
	until(t, "nothing is held", func() bool { return held(now.Engine, "v1", "retries") == 0 })
}

// TestATryEndsWhileConnectionsMove: the client must not learn of the handover by an error that a retry would have spared it.
func TestATryEndsWhileConnectionsMove(t *testing.T) {
	slow := *anyReset
	slow.PerTry = 50 * time.Millisecond
	for name, tc := range map[string]struct {
		retry *config.Retry
		fail  func(*backend, message)
	}{"too slow": {&slow, silent}, "a reset": {anyReset, hangUp}, "busy": {anyReset, busy}} {
		t.Run(name, func(t *testing.T) {
			bad, good := newBackend(t), serve(t, nil)
			addr := freePort(t)
			at := bad.ln.Addr().(*net.TCPAddr).AddrPort()
			s := ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": good.addr}, config.Route{Name: "r", Cluster: "v1", Retry: tc.retry})
			e := started(t, 1, endpoints(s, "v1", at, good.addr))
			got := make(chan message, 1)
			go func() {
				bad.accept(t)
				got <- bad.read(t)
			}()
			c := dial(t, addr)
			var m message
			for m.body == nil || good.requests.Load() == 0 { // the first of them to the bad endpoint
				if err := c.ask([]byte("x")); err != nil {
					t.Fatal(err)
				}
				select {
				case m = <-got:
				case <-time.After(10 * time.Millisecond):
				}
			}
			var relays sync.Map
			e.Donor().BeginMove(func(r handover.Relay) { relays.Store(&r, true) })
			tc.fail(bad, m)
			time.Sleep(100 * time.Millisecond)
			e.Donor().EndMove() // aborted
			c.settle(t)
			if n := e.Stats().Retried; n != 1 {
				t.Errorf("%d retries, want 1", n)
			}
		})
	}
}
