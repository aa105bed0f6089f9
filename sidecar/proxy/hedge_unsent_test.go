package proxy_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestAHedgeThatWasNotSentIsNoneInAHandover: its connection is still being opened when the handover begins. Whoever has the request
// afterwards hedges it as if nothing had been.
func TestAHedgeThatWasNotSentIsNoneInAHandover(t *testing.T) {
	for protocol, p := range racing {
		for _, what := range []string{"moves", "comes back"} {
			t.Run(protocol+" "+what, func(t *testing.T) {
				x := newTrack(t, p, 1, hedged(func(r *config.Route) { r.Attempts, r.Timeout, r.Retry.PerTry = 2, time.Hour, 5*time.Second }),
					func(c *config.Cluster) { c.ConnectTimeout = time.Hour })
				e, skip := skipped(t, 1, x.s)
				x.e = e
				good := x.s.Clusters["v1"].Endpoints[0]
				and := func(more netip.AddrPort) *config.Snapshot {
					s, c := *x.s, *x.s.Clusters["v1"]
					s.Clusters = map[string]*config.Cluster{"v1": &c}
					return endpoints(&s, "v1", good, more)
				}
				deafAt, _ := deaf(t, [4]byte{127, 0, 0, 1})
				other := x.endpoint()
				a := x.ask()
				first := x.shot()
				if err := x.e.Apply(and(deafAt)); err != nil {
					t.Fatal(err)
				}
				skip(6 * time.Second) // no endpoint is asked for a heartbeat yet
				until(t, "the second try waits for its connection", func() bool { return x.e.Stats().Dialled == 2 })
				s := and(other)
				if what == "moves" {
					x.e, skip = skippable(t, 2, clockFrom())
					s.Listeners = nil
					if err := x.e.Apply(s); err != nil {
						t.Fatal(err)
					}
					give(t, e, x.e)
				} else {
					aborted(t, e, func() {})
					if err := e.Apply(s); err != nil {
						t.Fatal(err)
					}
				}
				skip(6 * time.Second) // no endpoint is asked for a heartbeat yet
				second := x.shot()
				if second.at == first.at {
					t.Error("both tries are at the same endpoint")
				}
				second.do <- "ok"
				if got := x.answer(a); got != "200 "+second.at {
					t.Errorf("answer %q, want 200 of %s", got, second.at)
				}
				if n := x.e.Stats().Hedged; n != 1 {
					t.Errorf("%d hedges, want 1", n)
				}
				x.end([]*shot{first})
				x.rested(a)
				if n := endsOf(x.e.Stats(), x.host(), "r"); n.all != 1 || n.answered != 1 {
					t.Errorf("the route counts %+v", n)
				}
			})
		}
	}
}
