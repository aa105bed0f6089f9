package proxy_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
	"github.com/axlemesh/axle/sidecar/sockets"
)

func asked(t *testing.T, addr netip.AddrPort) {
	t.Helper()
	c := dial(t, addr)
	if err := c.ask([]byte("is anybody there?")); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
}

func TestAListenerMovesToAnotherAddress(t *testing.T) {
	up := serve(t, nil)
	first, second := freePort(t), freePort(t)
	e := started(t, 1, snapshot(first, up))
	early := dial(t, first)
	if err := early.ask(nil); err != nil {
		t.Fatal(err)
	}
	early.settle(t)
	if err := e.Apply(snapshot(second, up)); err != nil {
		t.Fatal(err)
	}
	asked(t, second)
	if conn, err := net.Dial("tcp", first.String()); err == nil {
		_ = conn.Close()
		t.Error("the old address still listens")
	}
	if err := early.ask([]byte("connections outlive their listener")); err != nil {
		t.Fatal(err)
	}
	early.settle(t)
}

// TestAListenerThatCannotMoveStays: its port is to be bound at another address, which is possible only after the old
// descriptor is closed, and then another listener fails. The number of the closed descriptor may be anybody's by now.
func TestAListenerThatCannotMoveStays(t *testing.T) {
	up := serve(t, nil)
	any4 := netip.AddrPortFrom(netip.IPv4Unspecified(), freePort(t).Port())
	local := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), any4.Port())
	e := started(t, 1, snapshot(local, up))
	nowhere := netip.MustParseAddrPort("203.0.113.9:4000") // not an address of this machine
	for name, listeners := range map[string][]config.Listener{
		"itself": {{Name: "out", Address: netip.AddrPortFrom(nowhere.Addr(), any4.Port())}},
		"another": {
			{Name: "out", Address: any4},
			{Name: "second", Address: nowhere},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad := snapshot(any4, up)
			bad.Listeners = listeners
			for i := range bad.Listeners {
				bad.Listeners[i].Protocol, bad.Listeners[i].Direction = config.Bolt, config.Outbound
			}
			if err := e.Apply(bad); err == nil {
				t.Fatal("an address that is not this machine's was accepted")
			}
			asked(t, local)
		})
	}
}

// TestAnAddressThatIsLostIsTakenAgain: neither the new nor the old address is to be had; the next snapshot is.
func TestAnAddressThatIsLostIsTakenAgain(t *testing.T) {
	up := serve(t, nil)
	e, set := newEngine(t, 1, 1)
	t.Cleanup(e.Stop)
	addr := freePort(t)
	if err := e.Apply(snapshot(addr, up)); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	_ = set.Close(sockets.ListenerPrefix + "out") // as Listen does when only one of two addresses can be bound
	thief, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(snapshot(netip.MustParseAddrPort("203.0.113.9:4000"), up)); err == nil {
		t.Fatal("an address that is not this machine's was accepted")
	}
	_ = thief.Close()
	if err := e.Apply(snapshot(addr, up)); err != nil {
		t.Fatal(err)
	}
	asked(t, addr)
}

func TestMoreConnectionsThanAllowedAreClosed(t *testing.T) {
	up := serve(t, nil)
	addr := freePort(t)
	e := limited(t, 2, snapshot(addr, up))
	first, second := dial(t, addr), dial(t, addr)
	for _, c := range []*client{first, second} {
		if err := c.ask(nil); err != nil {
			t.Fatal(err)
		}
		c.settle(t)
	}
	third, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = third.Close() }()
	if n, err := third.Read(make([]byte, 1)); err == nil {
		t.Errorf("a connection over the limit got %d bytes", n)
	}
	if s := e.Stats(); s.Refused != 1 || s.Downstream[config.Outbound] != 2 {
		t.Errorf("refused %d, open %v; want 1 and 2", s.Refused, s.Downstream)
	}
	_ = first.conn.Close()
	until(t, "there is room again", func() bool { return e.Stats().Downstream[config.Outbound] == 1 })
	asked(t, addr)
}

// limited is an engine for so many client connections.
func limited(t *testing.T, connections int64, s *config.Snapshot) *proxy.Engine {
	t.Helper()
	e, err := proxy.New(proxy.Options{MaxConnections: connections, Sockets: &sockets.Set{}, Clock: clockFrom()})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	return e
}
