package proxy_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestClientsThatSpeakInTheLastMoment move: they become something else while the last connections are looked for.
func TestClientsThatSpeakInTheLastMoment(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	addr := freePort(t)
	s := several(t, addr)
	for try := range 150 {
		speakLate(t, s, talks()[[]string{"bolt", "http1", "http2"}[try%3]], time.Duration(random.IntN(300))*time.Microsecond)
		if t.Failed() {
			t.Fatalf("try %d", try)
		}
	}
}

func speakLate(t *testing.T, s *config.Snapshot, k talk, wait time.Duration) {
	t.Helper()
	from, to, end := neighboursOf(t, s, 4)
	defer end()
	conn := dialTCP(t, s.Listeners[0].Address)
	defer func() { _ = conn.Close() }()
	until(t, "it is there", func() bool { return len(spoken(from)) == 1 })
	first := min(k.tells-1, 1)
	write(t, conn, k.request[:first])
	donor, candidate := beginMove(t, from, to)
	spoke := make(chan error, 1)
	go func() {
		for at := time.Now(); time.Since(at) < wait; {
		}
		_, err := conn.Write(k.request[first:])
		spoke <- err
	}()
	for id := uint64(1); ; id++ {
		b, err := donor.Freeze(id, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Conns) == 0 {
			break
		}
		duplicate(t, &b)
		if err := candidate.Prepare(b); err != nil {
			t.Fatal(err)
		}
		candidate.Activate(id)
		donor.Release(id)
	}
	left := spoken(from)
	if err := <-spoke; err != nil {
		t.Error(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
