package proxy_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/handover"
)

// TestThawedUnderTLS freezes everything again and again, under load, and goes on with it: no record is sent or taken twice.
func TestThawedUnderTLS(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			up := secureServer(t, a.server(version), nil)
			addr := freePort(t)
			e := started(t, 2, secure(snapshot(addr, up), a))
			var clients []*client
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for i := range 8 {
				c := secureDial(t, addr, a.client(version))
				clients = append(clients, c)
				wg.Go(func() {
					for n := 0; ; n++ {
						select {
						case <-stop:
							return
						default:
						}
						if c.waiting() < 8 {
							if err := c.ask(bytes.Repeat([]byte(fmt.Sprint(i, n)), 1+n%3000)); err != nil {
								t.Error(err)
								return
							}
						}
						time.Sleep(time.Millisecond)
					}
				})
			}
			donor := e.Donor()
			id := uint64(0)
			for range 20 {
				time.Sleep(5 * time.Millisecond)
				donor.BeginMove(func(handover.Relay) {}) // of the counters: requests wait for their connections
				var ids []uint64
				for {
					id++
					b, err := donor.Freeze(id, 3)
					if err != nil {
						t.Fatal(err)
					}
					if len(b.Conns) == 0 {
						break
					}
					ids = append(ids, id)
				}
				time.Sleep(2 * time.Millisecond)
				for _, id := range ids {
					donor.Thaw(id)
				}
				donor.EndMove()
			}
			close(stop)
			wg.Wait()
			for _, c := range clients {
				c.settle(t)
				_ = c.conn.Close()
			}
			if s := e.Stats(); s.Mismatch > 0 || s.Malformed > 0 {
				t.Errorf("%d mismatches, %d malformed", s.Mismatch, s.Malformed)
			}
		})
	}
}

// TestManyHandshakesAtOnce are more than go on at once.
func TestManyHandshakesAtOnce(t *testing.T) {
	a := newAuthority(t)
	up := serve(t, nil)
	addr := freePort(t) // behind what takes a port: it may be the same
	s := secure(snapshot(addr, up), a)
	s.Clusters["echo"].TLS = nil
	e := started(t, 1, s)
	cfg := a.client(0)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			c := secureDial(t, addr, cfg)
			if err := c.ask([]byte("?")); err != nil {
				t.Error(err)
			}
			c.settle(t)
		})
	}
	wg.Wait()
	if s := e.Stats(); s.Handshakes != 100 || s.HandshakesFailed != 0 {
		t.Errorf("%d handshakes, %d failed", s.Handshakes, s.HandshakesFailed)
	}
}
