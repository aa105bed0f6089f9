package proxy_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestARelayedRequestIsTriedAgain has clients that are still with the donor ask an endpoint whose connection has moved: what it is too
// busy for is sent again as the route says, wherever the client is when the answer comes.
func TestARelayedRequestIsTriedAgain(t *testing.T) {
	b, addr := newBackend(t), freePort(t)
	at := addrOf(b.ln.Addr().(*net.TCPAddr).AddrPort())
	retry := &config.Retry{Statuses: []int{503}, Backoff: time.Millisecond}
	s := ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": at.addr}, config.Route{Name: "r", Cluster: "v1", Attempts: 2, Retry: retry})
	a := &asker{backend: b, s: s, e: started(t, 1, s)}
	a.join(t)
	a.ask(t, 1)
	a.accept(t)
	a.answer(t, a.seen(t, 1))
	a.got(t, map[uint32]uint16{1: 0})
	w := begin(t, a.e, s)
	w.commit(t, w.freeze(t, 1))

	a.ask(t, 2)
	busy(a.backend, a.seen(t, 2))
	a.answer(t, a.seen(t, 2))
	a.got(t, map[uint32]uint16{2: 0})

	a.ask(t, 3)
	m := a.seen(t, 3)
	w.commit(t, w.freeze(t, 1))
	busy(a.backend, m)
	busy(a.backend, a.seen(t, 3))
	a.got(t, map[uint32]uint16{3: 4})

	w.candidate.Done()
	w.candidate.(interface{ EndMove() }).EndMove() // until then nobody knows who counts what was relayed last
	stats := w.to.Stats()
	if n := endsOf(stats, echoService, "r"); stats.Retried != 2 || n.all != 3 {
		t.Errorf("%d retries, and the route counts %+v; want 2, and 3 requests", stats.Retried, n)
	}
}
