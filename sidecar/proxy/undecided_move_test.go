package proxy_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// TestUndecidedClientsMayBeSilent for as long as they like, whoever has them: no upgrade waits for them, and none loses them.
func TestUndecidedClientsMayBeSilent(t *testing.T) {
	a := newAuthority(t)
	for _, secured := range []bool{false, true} {
		for _, what := range []string{"stays", "moves", "comes back"} {
			t.Run(fmt.Sprintf("TLS %t/%s", secured, what), func(t *testing.T) {
				addr := freePort(t)
				s := several(t, addr)
				if secured {
					s.Listeners[0].TLS = a.inbound()
				}
				e, skip := skipped(t, 1, s)
				var conns []opener
				for _, k := range talks() {
					for _, first := range []int{0, 1, k.tells - 1} {
						conn := dialTCP(t, addr)
						if secured {
							conn = under(t, conn, a)
						}
						conns = append(conns, opener{conn, k, first})
					}
				}
				all := func(e *proxy.Engine) func() bool {
					return func() bool { return strings.Count(fmt.Sprint(spoken(e)), "undecided") == len(conns) }
				}
				until(t, "all are there", all(e))
				skip(time.Hour)
				for _, c := range conns {
					write(t, c.conn, c.k.request[:c.first])
				}
				if what == "moves" {
					e, skip = moved(t, e, s)
				} else {
					e, skip = owner(t, what, e, skip)
				}
				until(t, "all are there", all(e))
				skip(time.Second)
				for _, c := range conns {
					c.k.rest(t, c.conn, c.first)
				}
				if n := e.Stats(); n.Malformed > 0 || n.Downstream[config.Outbound] != uint64(len(conns)) {
					t.Errorf("%d malformed, %v clients", n.Malformed, n.Downstream)
				}
			})
		}
	}
}

// opener is a client that has said the first bytes of something at most.
type opener struct {
	conn  net.Conn
	k     talk
	first int
}

// under is a client's connection behind its handshake.
func under(t *testing.T, conn net.Conn, a *authority) net.Conn {
	t.Helper()
	secured := tls.Client(conn, a.client(0))
	if err := secured.Handshake(); err != nil {
		t.Fatal(err)
	}
	return secured
}

// moved gives all that e has to a process with the same configuration, whose listeners are not open.
func moved(t *testing.T, e *proxy.Engine, s *config.Snapshot) (*proxy.Engine, func(time.Duration)) {
	t.Helper()
	to, skip := skippable(t, 2, clockFrom())
	inner := *s
	inner.Listeners = nil
	if err := to.Apply(&inner); err != nil {
		t.Fatal(err)
	}
	give(t, e, to)
	return to, skip
}

// TestUndecidedClientsHop through several generations and the real transport.
func TestUndecidedClientsHop(t *testing.T) {
	a := newAuthority(t)
	for _, permissive := range []bool{false, true} {
		t.Run(fmt.Sprintf("permissive %t", permissive), func(t *testing.T) {
			addr := freePort(t)
			s := several(t, addr)
			if permissive {
				s.Listeners[0].TLS = a.inbound()
				s.Listeners[0].TLS.Permissive = true
			}
			now := first(t, 2, s)
			conns := map[string]net.Conn{}
			for name := range talks() {
				conns[name] = dialTCP(t, addr)
				if permissive {
					conns[name+" under TLS"] = under(t, dialTCP(t, addr), a)
				}
			}
			for range 3 {
				until(t, "all are there", func() bool { return len(spoken(now.Engine)) == len(conns) })
				now = hop(t, now, 2, s)
			}
			t.Cleanup(now.Stop)
			for name, k := range talks() {
				k.rest(t, conns[name], 0)
				if permissive {
					k.rest(t, conns[name+" under TLS"], 0)
				}
			}
		})
	}
}

// TestFreezeAtEveryFirstByte hops after every prefix of what tells a protocol, with TLS and without.
func TestFreezeAtEveryFirstByte(t *testing.T) {
	a := newAuthority(t)
	for name, k := range talks() {
		for _, secured := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %t", name, secured), func(t *testing.T) {
				addr := freePort(t)
				s := several(t, addr)
				if secured {
					s.Listeners[0].TLS = a.inbound()
				}
				for at := 0; at <= k.tells+1 && !t.Failed(); at++ {
					undecidedAt(t, s, k, at, a)
				}
			})
		}
	}
}

func undecidedAt(t *testing.T, s *config.Snapshot, k talk, at int, a *authority) {
	t.Helper()
	from, to, end := neighbours(t, s)
	defer end()
	raw := dialTCP(t, s.Listeners[0].Address)
	defer func() { _ = raw.Close() }()
	where := &cut{Conn: raw}
	var conn net.Conn = where
	if s.Listeners[0].TLS != nil {
		conn = under(t, where, a)
		until(t, "the handshake is over", func() bool { return from.Stats().Handshakes == 1 })
	}
	write(t, conn, k.request[:at])
	until(t, "all that was sent is read", func() bool {
		where.mu.Lock()
		defer where.mu.Unlock()
		return len(spoken(from)) == 1 && received(from, "downstream") == where.sent
	})
	if got := spoken(from)[0]; (got == "undecided") != (at < k.tells) {
		t.Errorf("after %d bytes it speaks %s", at, got)
	}
	give(t, from, to)
	k.rest(t, conn, at)
}

// TestFreezeAtEveryByteOfAFirstRecord hops in the middle of the record of TLS that first bytes come in.
func TestFreezeAtEveryByteOfAFirstRecord(t *testing.T) {
	a, addr := newAuthority(t), freePort(t)
	s := several(t, addr)
	s.Listeners[0].TLS = a.inbound()
	k := talks()["http1"]
	for at := 1; !t.Failed(); at++ {
		from, to, end := neighbours(t, s)
		where := &cut{Conn: dialTCP(t, addr)}
		conn := under(t, where, a)
		until(t, "the handshake is over", func() bool { return from.Stats().Handshakes == 1 })
		where.arm(at, func(sent uint64) {
			until(t, "all that was sent is read", func() bool { return received(from, "downstream") == sent })
			give(t, from, to)
		})
		k.rest(t, conn, 0)
		reached := where.disarm()
		_ = where.Close()
		if end(); !reached {
			return
		}
	}
}

// TestUndecidedClientsAreReadByReleasesBefore: without TLS they are written down as clients that have just been accepted, under TLS as
// those of HTTP/1 that rest. Both have been there for long. One that is given back leaves no trace.
func TestUndecidedClientsAreReadByReleasesBefore(t *testing.T) {
	a := newAuthority(t)
	for secured, want := range map[bool][]byte{false: {1, 32}, true: {2, 5}} {
		addr := freePort(t)
		s := several(t, addr)
		if secured {
			s.Listeners[0].TLS = a.inbound()
		}
		from, to, end := neighbours(t, s)
		conn := dialTCP(t, addr)
		if secured {
			_ = under(t, conn, a)
		}
		until(t, "it is there", func() bool { return strings.Contains(fmt.Sprint(spoken(from)), "undecided") })
		donor, candidate := beginMove(t, from, to)
		b, err := donor.Freeze(1, 2)
		if err != nil || len(b.Conns) != 1 || !bytes.HasPrefix(b.Conns[0].State, want) {
			t.Errorf("TLS %t: %v, %d connections, want the state of one to begin with % x", secured, err, len(b.Conns), want)
		}
		duplicate(t, &b)
		if err := candidate.Prepare(b); err != nil || len(spoken(to)) != 1 {
			t.Errorf("TLS %t: %v, there are %v", secured, err, spoken(to))
		}
		candidate.Drop(1)
		donor.Thaw(1)
		donor.EndMove()
		if now, left := fmt.Sprint(spoken(from)), len(spoken(to)); now != "[undecided]" || left != 0 {
			t.Errorf("TLS %t: it has come back as %s, and %d are left", secured, now, left)
		}
		end()
	}
}

// TestAListenerLosesItsCluster in an upgrade: a client that was silent is plain TCP by then, and stays with its endpoint. With a
// configuration, one that has not been silent for long is undecided.
func TestAListenerLosesItsCluster(t *testing.T) {
	addr := freePort(t)
	without := several(t, addr)
	with := several(t, addr)
	with.Clusters["app"] = tcpSnapshot(addr, echoTCP(t)).Clusters["app"]
	with.Listeners[0].Cluster = "app"
	t.Run("an upgrade", func(t *testing.T) {
		now := first(t, 1, with)
		conn := dialTCP(t, addr)
		until(t, "it is there", func() bool { return now.Stats().Downstream[config.Outbound] == 1 })
		now = hop(t, now, 1, with)
		now = hop(t, now, 1, without)
		write(t, conn, []byte("GET "))
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if got := make([]byte, 4); !reads(conn, got) || string(got) != "GET " {
			t.Errorf("its endpoint says %q", got)
		}
		now.Stop()
	})
	t.Run("a configuration", func(t *testing.T) {
		addr := freePort(t)
		with.Listeners[0].Address, without.Listeners[0].Address = addr, addr
		e, skip := still(t, 1, with)
		conn := dialTCP(t, addr)
		until(t, "it is there", func() bool { return e.Stats().Downstream[config.Outbound] == 1 })
		if err := e.Apply(without); err != nil {
			t.Fatal(err)
		}
		skip(time.Second)
		until(t, "it is undecided", func() bool { return fmt.Sprint(spoken(e)) == "[undecided]" })
		e, _ = moved(t, e, without)
		talks()["bolt"].rest(t, conn, 0)
		if n := e.Stats().Answered[config.Outbound]; n != 1 {
			t.Errorf("%d requests are answered", n)
		}
	})
}

// TestAReleaseBeforeHasServedAnUndecidedClient: under TLS it takes one for a client of HTTP/1.1, of a listener of auto, and gives it
// on so, with an exchange that goes on.
func TestAReleaseBeforeHasServedAnUndecidedClient(t *testing.T) {
	b, addr := newBackend(t), freePort(t)
	s := httpSnapshot(addr, b.ln.Addr().(*net.TCPAddr).AddrPort())
	from, to, end := neighbours(t, s)
	defer end()
	conn := dialTCP(t, addr)
	const request = "GET / HTTP/1.1\r\nHost: shop.demo\r\n\r\n"
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
	write(t, conn, []byte(request))
	b.accept(t)
	_ = b.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if got := make([]byte, 16); !reads(b.conn, got) {
		t.Fatal("the endpoint hears nothing")
	}
	giveAsAuto(t, from, to, addr, nil)
	if got := fmt.Sprint(spoken(to)); got != "[http1]" {
		t.Errorf("it speaks %s", got)
	}
	write(t, b.conn, []byte(answer))
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if got := make([]byte, len(answer)); !reads(conn, got) {
		t.Errorf("the answer is %q", got)
	}
}

// TestAnAnswerOfAReleaseBeforeIsSent whole to a client that is undecided again, and ends its side.
func TestAnAnswerOfAReleaseBeforeIsSent(t *testing.T) {
	addr := freePort(t)
	s := httpSnapshot(addr)
	from, to, end := neighbours(t, s)
	defer end()
	conn := dialTCP(t, addr)
	until(t, "it is there", func() bool { return len(spoken(from)) == 1 })
	owed := bytes.Repeat([]byte("owed"), 4<<20) // more than the kernel holds
	giveAsAuto(t, from, to, addr, owed)
	_ = conn.(*net.TCPConn).CloseWrite()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if got, err := io.ReadAll(conn); !bytes.Equal(got, owed) {
		t.Errorf("%d bytes have come of %d: %v", len(got), len(owed), err)
	}
	until(t, "it has gone", func() bool { return len(spoken(to)) == 0 })
}

// giveAsAuto is give of a client of HTTP/1, as a release before gives one that was undecided. owed waits to be sent to it.
func giveAsAuto(t *testing.T, from, to *proxy.Engine, addr netip.AddrPort, owed []byte) {
	t.Helper()
	donor, candidate := beginMove(t, from, to)
	for id := uint64(1); ; id++ {
		batch, err := donor.Freeze(id, 8)
		if err != nil {
			t.Fatal(err)
		}
		if len(batch.Conns) == 0 {
			break
		}
		duplicate(t, &batch)
		batch.Conns[0].State = ofAuto(t, batch.Conns[0].State, addr, owed)
		if err := candidate.Prepare(batch); err != nil {
			t.Fatal(err)
		}
		candidate.Activate(id)
		donor.Release(id)
	}
	candidate.Done()
}

// ofAuto changes the protocol of the listener in a client's state, and what is written and not sent, which is before it.
func ofAuto(t *testing.T, state []byte, addr netip.AddrPort, owed []byte) []byte {
	t.Helper()
	at, err := addr.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	before, behind, ok := bytes.Cut(state, append(append([]byte("\x00\x04http\x06"), at...), byte(config.HTTP1)))
	if !ok {
		t.Fatal("there is no listener in the state")
	}
	out := append(binary.AppendUvarint(bytes.Clone(before), uint64(len(owed))), owed...)
	return append(append(append(append(out, "\x04http\x06"...), at...), byte(config.Auto)), behind...)
}
