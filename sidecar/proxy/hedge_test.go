package proxy_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// TestHedging has two tries of one request out, and events come in every order.
func TestHedging(t *testing.T) {
	type run struct {
		*race
		a             *wish
		first, second *shot
	}
	one := func(x *run) { // of both is still out
		until(x.t, "one is called off", func() bool { return held(x.e, "v1", "requests") == 1 })
	}
	cases := map[string]struct {
		do   func(x *run)
		want func(x *run) string // what the client gets
		won  uint64
	}{
		"the first answers":  {func(x *run) { x.first.do <- "ok" }, func(x *run) string { return "200 " + x.first.at }, 0},
		"the second answers": {func(x *run) { x.second.do <- "ok" }, func(x *run) string { return "200 " + x.second.at }, 1},
		"the first is busy, the second answers": {
			func(x *run) { x.first.do <- "busy"; one(x); x.second.do <- "ok" }, func(x *run) string { return "200 " + x.second.at }, 0,
		},
		"the second is busy, the first answers": {
			func(x *run) { x.second.do <- "busy"; one(x); x.first.do <- "ok" }, func(x *run) string { return "200 " + x.first.at }, 0,
		},
		"the first resets, the second answers": {
			func(x *run) { x.first.do <- "reset"; one(x); x.second.do <- "ok" }, func(x *run) string { return "200 " + x.second.at }, 0,
		},
		"the second resets, the first answers": {
			func(x *run) { x.second.do <- "reset"; one(x); x.first.do <- "ok" }, func(x *run) string { return "200 " + x.first.at }, 0,
		},
	}
	for protocol, p := range racing {
		for name, tc := range cases {
			t.Run(protocol+", "+name, func(t *testing.T) {
				x := &run{race: newRace(t, p, 2, hedged(func(r *config.Route) { r.Attempts = 2 }))}
				x.a = x.ask()
				x.first, x.second = x.shot(), x.shot()
				if x.first.at == x.second.at {
					t.Error("both tries are at the same endpoint")
				}
				tc.do(x)
				if got, want := x.answer(x.a), tc.want(x); got != want {
					t.Errorf("answer %q, want %q", got, want)
				}
				x.rested(x.a)
				s := x.e.Stats()
				n := endsOf(s, x.host(), "r")
				if s.Hedged != 1 || s.HedgesWon != tc.won || s.Retried != 1 || n.all != 1 || n.answered != 1 {
					t.Errorf("%d hedges, %d won, %d retries; the route counts %+v", s.Hedged, s.HedgesWon, s.Retried, n)
				}
			})
		}
	}
}

// host is the key of the race's requests.
func (x *race) host() string {
	return map[config.Protocol]string{config.Bolt: echoService, config.Dubbo: echoDubbo}[x.p] +
		map[config.Protocol]string{config.HTTP1: "shop.demo", config.HTTP2: "shop.demo"}[x.p]
}

// TestBothTriesEnd at once, in one turn of the loop, at two endpoints and at one, where both are on the same connection.
func TestBothTriesEnd(t *testing.T) {
	for protocol, p := range racing {
		for _, n := range []int{1, 2} {
			for what, want := range map[string]string{"ok": "200 ", "busy": "503 ", "reset": "502 "} {
				t.Run(protocol+" "+what, func(t *testing.T) {
					x := newRace(t, p, n, hedged(func(r *config.Route) { r.Attempts = 2 }))
					a := x.ask()
					first, second := x.shot(), x.shot()
					go x.e.Work(50 * time.Millisecond)
					time.Sleep(5 * time.Millisecond)
					first.do <- what
					second.do <- what
					if what == "reset" && p == config.HTTP2 {
						want = "INTERNAL_ERROR" // which is passed on
					}
					if got := x.answer(a); !strings.Contains(got, want) {
						t.Errorf("answer %q, want %q", got, want)
					}
					x.rested(a)
					if n := endsOf(x.e.Stats(), x.host(), "r"); n.all != 1 || n.gone > 0 {
						t.Errorf("the route counts %+v", n)
					}
				})
			}
		}
	}
}

// TestAHedgeIsNot sent where no retry would be; the slow try is waited for all the same.
func TestAHedgeIsNot(t *testing.T) {
	cases := map[string]struct {
		method string
		route  func(*config.Route)
		limit  func(*config.Cluster)
		denied func(proxy.Stats) bool
	}{
		"sent for a POST": {method: "POST", route: func(r *config.Route) { r.Retry.AnyMethod = false }},
		"more than there are places for retries": {
			limit: func(c *config.Cluster) { c.MaxRetries = 1 }, denied: func(s proxy.Stats) bool { return s.Overflow[proxy.OverRetries] > 0 },
		},
		"more than the budget": {
			route:  func(r *config.Route) { r.Retry.BudgetPercent, r.Retry.BudgetMin = 1, 1 },
			denied: func(s proxy.Stats) bool { return s.RetriesDenied > 0 },
		},
		"more than there are places for requests": {
			limit: func(c *config.Cluster) { c.MaxRequests = 3 }, denied: func(s proxy.Stats) bool { return s.Overflow[proxy.OverRequests] > 0 },
		},
	}
	for protocol, p := range racing {
		for name, tc := range cases {
			t.Run(protocol+", "+name, func(t *testing.T) {
				x := newRace(t, p, 2, hedged(func(r *config.Route) {
					if tc.route != nil {
						tc.route(r)
					}
				}), func(c *config.Cluster) {
					if tc.limit != nil {
						tc.limit(c)
					}
				})
				if tc.method == "" { // another one has it all
					tc.method = "PUT"
					other := x.ask()
					first, _ := x.shot(), x.shot()
					defer func() {
						first.do <- "ok"
						x.answer(other)
						x.rested(other)
					}()
				}
				a := x.askBy(tc.method)
				only := x.shot()
				if tc.denied != nil {
					until(t, "no second try may be", func() bool { return tc.denied(x.e.Stats()) })
				}
				time.Sleep(3 * slowFor)
				if len(x.shots) > 0 {
					t.Errorf("%d tries more", len(x.shots))
				}
				only.do <- "ok"
				if got := x.answer(a); got != "200 "+only.at {
					t.Errorf("answer %q", got)
				}
			})
		}
	}
}

// TestAOnewayIsNotHedged: nothing would come back for either.
func TestAOnewayIsNotHedged(t *testing.T) {
	x := newRace(t, config.Bolt, 2, hedged())
	conn, err := net.Dial("tcp", x.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	write(t, conn, frame(2, 1, echoService, []byte("x")))
	x.shot()
	time.Sleep(3 * slowFor)
	x.rested()
}

// TestAHedgedRequestEnds without an answer of an endpoint: its client leaves, or it takes too long altogether.
func TestAHedgedRequestEnds(t *testing.T) {
	for protocol, p := range racing {
		t.Run(protocol+", its client leaves", func(t *testing.T) {
			x := newRace(t, p, 2, hedged())
			a := x.ask()
			shots := []*shot{x.shot(), x.shot()}
			a.leave()
			if p == config.HTTP1 { // it may only have finished writing: it is waited for what it has asked
				if got := x.answer(a); !strings.Contains(got, "context canceled") {
					t.Errorf("the client has got %q", got)
				}
				shots[1].do <- "ok"
				shots = shots[:1]
			}
			if x.rpc() {
				until(t, "it has left", func() bool { return x.e.Stats().Downstream[config.Outbound] == 0 })
			}
			x.end(shots)
			x.rested(a)
			if n := endsOf(x.e.Stats(), x.host(), "r"); n.all != 1 || n.gone != 1 && p != config.HTTP1 {
				t.Errorf("the route counts %+v", n)
			}
		})
		t.Run(protocol+", too long", func(t *testing.T) {
			x := newRace(t, p, 2, hedged(func(r *config.Route) { r.Timeout = 4 * slowFor }))
			a := x.ask()
			shots := []*shot{x.shot(), x.shot()}
			if got := x.answer(a); got != "504 " {
				t.Errorf("answer %q, want 504", got)
			}
			x.end(shots)
			x.rested(a)
			if n := endsOf(x.e.Stats(), x.host(), "r"); n.all != 1 || n.own != 1 {
				t.Errorf("the route counts %+v", n)
			}
		})
	}
}

// end waits until tries are called off; those of RPC are answered, too late.
func (x *race) end(shots []*shot) {
	x.t.Helper()
	for _, s := range shots {
		if x.rpc() {
			s.do <- "ok"
			continue
		}
		select {
		case <-s.gone:
		case <-time.After(10 * time.Second):
			x.t.Error("a try was not called off")
		}
	}
	if x.rpc() {
		until(x.t, "both answers are late", func() bool { return x.e.Stats().Late == uint64(len(shots)) })
	}
}

// TestTheLoserIsCalledOff in its protocol's way, and its answer meets nobody.
func TestTheLoserIsCalledOff(t *testing.T) {
	for protocol, p := range racing {
		t.Run(protocol, func(t *testing.T) {
			x := newRace(t, p, 2, hedged())
			a := x.ask()
			first, second := x.shot(), x.shot()
			second.do <- "ok"
			if got := x.answer(a); got != "200 "+second.at {
				t.Errorf("answer %q", got)
			}
			x.end([]*shot{first})
			x.rested(a)
		})
	}
}

// TestATryMoreAfterAHedge: one that has lost its other is hedged again as long as there are attempts.
func TestATryMoreAfterAHedge(t *testing.T) {
	for protocol, p := range racing {
		t.Run(protocol, func(t *testing.T) {
			x := newRace(t, p, 2, hedged())
			a := x.ask()
			first := x.shot()
			x.shot().do <- "reset"
			third := x.shot()
			third.do <- "ok"
			if got := x.answer(a); got != "200 "+third.at {
				t.Errorf("answer %q", got)
			}
			x.end([]*shot{first})
			x.rested(a)
			if s := x.e.Stats(); s.Hedged != 2 || s.HedgesWon != 1 {
				t.Errorf("%d hedges, %d won; want 2 and 1", s.Hedged, s.HedgesWon)
			}
		})
	}
}

// TestAHedgeWaitsForAConnection that never opens: it is in nobody's way.
func TestAHedgeWaitsForAConnection(t *testing.T) {
	for protocol, p := range racing {
		for _, what := range []string{"ok", "reset"} {
			t.Run(protocol+" "+what, func(t *testing.T) {
				deaf := full(t)
				x := newTrack(t, p, 1, hedged(func(r *config.Route) { r.Retry.On |= config.RetryConnect; r.Attempts = 10 }))
				c := x.s.Clusters["v1"]
				c.ConnectTimeout = 4 * slowFor
				endpoints(x.s, "v1", c.Endpoints[0], deaf)
				x.e = started(t, 1, x.s)
				a := x.ask()
				first := x.shot()
				time.Sleep(2 * slowFor) // a second connection is opening, unless it was the first
				first.do <- what
				var got string
				var more uint64
				for end := time.After(10 * time.Second); got == ""; {
					select {
					case s := <-x.shots: // the endpoint that can be reached gets them all
						more++
						s.do <- "ok"
					case got = <-a.answers:
					case <-end:
						t.Fatal("no answer")
					}
				}
				for ; len(x.shots) > 0; more++ { // one beside the first, where the other endpoint has failed already
					(<-x.shots).do <- "ok"
				}
				if got != "200 "+first.at {
					t.Errorf("answer %q", got)
				}
				x.rested(a)
				s := x.e.Stats()
				if n := endsOf(s, x.host(), "r"); n.all != 1 || n.answered != 1 || s.Retried != more {
					t.Errorf("the route counts %+v; %d retries, want %d", n, s.Retried, more)
				}
			})
		}
	}
}

// TestAHedgeWithoutAnEndpoint is no try: when there is an endpoint again and the first one fails, the request may be sent there.
func TestAHedgeWithoutAnEndpoint(t *testing.T) {
	for protocol, p := range racing {
		t.Run(protocol, func(t *testing.T) {
			x := newTrack(t, p, 1, hedged(func(r *config.Route) { r.Attempts = 2 }))
			e, skip := still(t, 1, x.s)
			x.e = e
			now := func(all ...netip.AddrPort) {
				t.Helper()
				c, s := *x.s.Clusters["v1"], *x.s
				c.Endpoints, s.Clusters = all, map[string]*config.Cluster{"v1": &c}
				if err := e.Apply(&s); err != nil {
					t.Fatal(err)
				}
			}
			a := x.ask()
			first := x.shot()
			now()
			skip(slowFor + 10*time.Millisecond)
			if s := e.Stats(); s.Upstreams["v1"].Timeouts != 1 || s.Hedged+s.Retried != 0 {
				t.Errorf("%d tries are slow, %d hedges, %d retries; want 1, 0, 0", s.Upstreams["v1"].Timeouts, s.Hedged, s.Retried)
			}
			now(x.endpoint())
			first.do <- "reset"
			until(t, "it is sent once more", func() bool { skip(time.Millisecond); return len(x.shots) > 0 })
			second := x.shot()
			second.do <- "ok"
			if got := x.answer(a); got != "200 "+second.at {
				t.Errorf("answer %q", got)
			}
			x.rested(a)
		})
	}
}

// TestAHedgeIsTold: endpoints are told what became of their tries, and the log which one has answered.
func TestAHedgeIsTold(t *testing.T) {
	for protocol, p := range racing {
		t.Run(protocol, func(t *testing.T) {
			log := logging(t)
			x := newRace(t, p, 2, hedged())
			a := x.ask()
			first, second := x.shot(), x.shot()
			first.do <- "ok"
			if got := x.answer(a); got != "200 "+first.at {
				t.Errorf("answer %q", got)
			}
			x.end([]*shot{second})
			x.rested(a)
			line := log.wait(t, 1)[0]
			if line["endpoint"] != first.at || line["tries"] != 2.0 || line["upstream_us"].(float64) < float64(slowFor.Microseconds()) {
				t.Errorf("line %v, want 2 tries and the endpoint %s", line, first.at)
			}
			requests, errors := x.e.Told(first.at)
			if requests != 1 || errors != 1 { // it was slow
				t.Errorf("of the first, %d requests and %d errors; want 1 and 1", requests, errors)
			}
			if requests, errors = x.e.Told(second.at); requests != 1 || errors != 0 {
				t.Errorf("of the second, %d requests and %d errors; want 1 and 0", requests, errors)
			}
			if up := x.e.Stats().Upstreams["v1"]; up.Timeouts != 1 || up.Retries != 1 {
				t.Errorf("of the cluster, %d timeouts and %d retries; want 1 and 1", up.Timeouts, up.Retries)
			}
		})
	}
}
