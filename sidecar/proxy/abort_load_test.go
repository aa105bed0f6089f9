package proxy_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// TestAbortsUnderLoad breaks handovers off at random steps. Every request is answered exactly once, in order or with an
// error, and with an error only after something had been committed: before that an abort has no effect at all (but on a
// request that finds no connection: the candidate opens one for it).
func TestAbortsUnderLoad(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, early := range []bool{true, false} {
		jitter := func(n int64) time.Duration { return time.Duration(n%5) * time.Millisecond }
		addr := freePort(t)
		s := snapshot(addr, serve(t, jitter), serve(t, jitter))
		s.Clusters["echo"].Connections = 2
		e := started(t, 1, s)
		var clients []*client
		stop := make(chan struct{})
		var load sync.WaitGroup
		for range 12 {
			c := dial(t, addr)
			c.lenient = !early
			clients = append(clients, c)
			load.Go(func() { c.keepAsking(t, stop) })
		}
		until(t, "every connection to an endpoint is open", func() bool {
			open := 0
			for _, c := range e.Conns() {
				if c.Kind == "upstream" && c.Connected {
					open++
				}
			}
			return open == 4
		})
		for range 25 {
			w := begin(t, e, s)
			w.run(t, rnd, early)
			if e.Stats().Downstream[config.Outbound] == 0 {
				break // the candidates have them all
			}
		}
		close(stop)
		load.Wait()
		for _, c := range clients {
			c.settle(t)
		}
		if early {
			allEnded(t, e.Stats(), 0)
		}
		if failed := e.Stats().Failed; early && failed != (proxy.Stats{}).Failed {
			t.Errorf("aborts before a commit had an effect: %v", failed)
		}
	}
}

// run hands over up to a random step, and aborts.
func (w *twins) run(t *testing.T, rnd *rand.Rand, early bool) {
	t.Helper()
	for {
		w.id++
		b, err := w.donor.Freeze(w.id, 1+rnd.IntN(4))
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Conns) == 0 {
			break
		}
		duplicate(t, &b)
		w.prepare(t, b)
		time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond)
		if early || rnd.IntN(8) == 0 {
			w.candidate.Drop(b.ID)
			w.donor.Thaw(b.ID)
			break
		}
		w.resume(b.ID)
	}
	w.abort()
}

// keepAsking sends requests until stop, a few at a time.
func (c *client) keepAsking(t *testing.T, stop <-chan struct{}) {
	for n := byte(0); ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		if c.waiting() < 4 {
			if err := c.ask([]byte{n}); err != nil {
				t.Error(err)
				return
			}
		}
		time.Sleep(time.Millisecond)
	}
}
