package proxy_test

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestAHandshakeThatWaitsForItsTurnMoves: every place is taken, and a client waits when a handover comes. In the middle of it places
// become free, or not, and its connection moves, or stays.
func TestAHandshakeThatWaitsForItsTurnMoves(t *testing.T) {
	for _, free := range []bool{false, true} {
		for _, stays := range []bool{false, true} {
			t.Run(fmt.Sprintf("free=%v stays=%v", free, stays), func(t *testing.T) {
				a := newAuthority(t)
				addr := freePort(t)
				s := httpSnapshot(addr, nobody(t))
				s.Listeners[0].TLS = a.inbound()
				from := started(t, 1, s)
				to, _ := newEngine(t, 2, 1)
				t.Cleanup(to.Stop)
				next := *s
				next.Listeners = slices.Clone(s.Listeners)
				next.Listeners[0].Address = freePort(t)
				if err := to.Apply(&next); err != nil {
					t.Fatal(err)
				}
				hello := clientHello(t, a)
				const places = 128
				var silent []net.Conn
				for range places {
					c := dialTCP(t, addr)
					silent = append(silent, c)
					write(t, c, hello)
				}
				until(t, "all have come", func() bool { return from.Stats().Downstream[config.Outbound] == places })
				time.Sleep(100 * time.Millisecond)
				answer := make(chan error, 1)
				c := secureRaw(t, addr, a)
				go func() {
					_, _ = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n")
					n, err := answerSize(bufio.NewReader(c))
					if err == nil && n != 0 {
						err = fmt.Errorf("%d bytes", n)
					}
					answer <- err
				}()
				until(t, "it has come", func() bool { return from.Stats().Downstream[config.Outbound] == places+1 })
				time.Sleep(100 * time.Millisecond)

				donor, candidate := beginMove(t, from, to)
				b, err := donor.Freeze(1, 2)
				if err != nil || len(b.Conns) != 1 {
					t.Fatalf("%d connections, %v", len(b.Conns), err)
				}
				if free {
					for _, c := range silent {
						_ = c.Close()
					}
					time.Sleep(200 * time.Millisecond)
				}
				if stays {
					donor.Thaw(1)
					donor.EndMove()
				} else {
					duplicate(t, &b)
					if err := candidate.Prepare(b); err != nil {
						t.Fatal(err)
					}
					candidate.Activate(1)
					donor.Release(1)
				}
				select {
				case err := <-answer:
					if err != nil {
						t.Errorf("no answer: %v", err)
					}
				case <-time.After(20 * time.Second):
					t.Error("no answer")
				}
				if stays {
					return
				}
				ended := make(chan error, 1)
				go func() {
					_, err := donor.Freeze(2, 2)
					ended <- err
				}()
				select {
				case err := <-ended:
					if err != nil {
						t.Error(err)
					}
				case <-time.After(20 * time.Second):
					t.Error("the donor waits for a handshake that never ends")
				}
				candidate.Done()
			})
		}
	}
}

// TestAHandshakeEndsForEachThatWaits, and none for those that have waited and gone.
func TestAHandshakeEndsForEachThatWaits(t *testing.T) {
	a := newAuthority(t)
	addr := freePort(t)
	s := httpSnapshot(addr, nobody(t))
	s.Listeners[0].TLS = a.inbound()
	e, skip := still(t, 1, s)
	hello := clientHello(t, a)
	greet := func(n int) (all []net.Conn) {
		for range n {
			c := dialTCP(t, addr)
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			write(t, c, hello)
			all = append(all, c)
		}
		return all
	}
	open := func(n uint64) func() bool {
		return func() bool { return e.Stats().Downstream[config.Outbound] == n }
	}
	var first [1]byte
	const places, gone, wait = 128, 60, 3
	for _, c := range greet(places) {
		if _, err := c.Read(first[:]); err != nil {
			t.Fatal(err)
		}
	}
	leave := greet(gone)
	until(t, "they wait", func() bool { return e.QueuedHandshakes() == gone })
	for _, c := range leave {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	until(t, "they have gone", open(places))
	waiting := greet(wait)
	until(t, "others wait", func() bool { return e.QueuedHandshakes() == gone+wait })
	skip(500 * time.Millisecond)
	for _, c := range waiting {
		if _, err := c.Read(first[:]); err != nil {
			t.Errorf("one that waits: %v", err)
		}
	}
	if left := e.Stats().Downstream[config.Outbound]; left != places {
		t.Errorf("%d handshakes go on, want %d", left, places)
	}
}
