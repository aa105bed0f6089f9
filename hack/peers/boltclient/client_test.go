package boltclient

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/hack/peers/boltserver"
	"github.com/axlemesh/axle/hack/peers/meshstate"
	"github.com/axlemesh/axle/hack/peers/wire"
)

func server(t *testing.T, cfg boltserver.Config) (*boltserver.Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := boltserver.New(cfg)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, ln.Addr().String()
}

// run starts a client and returns it with a function that stops it and gives its last report.
func run(t *testing.T, cfg Config) (*Client, func() Report) {
	t.Helper()
	cfg.Now = time.Now
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	stop := func() Report {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		}
		return report(t, c)
	}
	t.Cleanup(func() { stop() })
	return c, stop
}

func report(t *testing.T, c *Client) Report {
	t.Helper()
	r, err := c.Report()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func until(t *testing.T, c *Client, what string, ok func(Report) bool) {
	t.Helper()
	for range 1000 {
		if ok(report(t, c)) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r := report(t, c)
	t.Fatalf("%s did not happen; sent %d, right %d, failed %v, resets %d, reconnects %d, moves %d, returns %d, notes %q",
		what, r.Sent, r.Requests, r.Reasons, r.Resets, r.Reconnects, r.Moves, r.Returns, r.Notes)
}

// counts are what a strict client must see nothing of.
type counts struct {
	Failed, Late, Resets, Reconnects, Duplicates int64
	Reasons                                      map[string]int64
}

func countsOf(r Report) counts {
	c := counts{r.Failed, r.Late, r.Resets, r.Reconnects, r.Duplicates, r.Reasons}
	if len(c.Reasons) == 0 {
		c.Reasons = nil
	}
	return c
}

func TestNothingIsLostOnAPerfectNetwork(t *testing.T) {
	cases := map[string]Config{
		"one in flight":   {Connections: 8, InFlight: 1, Rate: 1000, Payload: 200},
		"many in flight":  {Connections: 2, InFlight: 32, Rate: 2000},
		"with oneways":    {Connections: 4, InFlight: 4, Rate: 1000, OnewayEvery: 10},
		"with heartbeats": {Connections: 4, InFlight: 4, Rate: 200, Heartbeat: 60 * time.Millisecond},
		"one connection":  {Connections: 1, InFlight: 1, Rate: 150},
	}
	for name, cfg := range cases {
		t.Run(name, func(t *testing.T) {
			s, addr := server(t, boltserver.Config{Name: "only", Version: "v7", Delay: 2 * time.Millisecond})
			cfg.Direct = addr
			c, stop := run(t, cfg)
			until(t, c, "300 answers", func(r Report) bool { return r.Requests >= 300 })
			r := stop()
			if diff := cmp.Diff(counts{}, countsOf(r)); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			got := s.Report()
			if got.Requests != r.Sent || got.Oneways != r.Oneways || got.Duplicates != 0 || got.BadChecksums != 0 || got.Resets != 0 {
				t.Errorf("the server saw %+v; the client sent %d and %d oneways", got, r.Sent, r.Oneways)
			}
			if r.Requests != r.Sent || r.Servers["only"] != r.Requests || r.Versions["v7"] != r.Requests {
				t.Errorf("sent %d, answered %d, by servers %v, versions %v", r.Sent, r.Requests, r.Servers, r.Versions)
			}
			if cfg.OnewayEvery > 0 && r.Oneways == 0 || cfg.Heartbeat > 0 && r.Heartbeats == 0 {
				t.Errorf("%d oneways, %d heartbeats", r.Oneways, r.Heartbeats)
			}
		})
	}
}

func TestEachMisdeedIsCounted(t *testing.T) {
	cases := map[string]struct {
		meddle func(*meddler, net.Conn, wire.Frame) []byte
		want   counts
	}{
		"nothing":              {forward, counts{}},
		"a dropped answer":     {drop, counts{Failed: 1, Reasons: map[string]int64{"timeout": 1}}},
		"an answer twice":      {double, counts{Duplicates: 1}},
		"a changed byte":       {corrupt, counts{Failed: 1, Reasons: map[string]int64{"bad checksum": 1}}},
		"an error status":      {refuse, counts{Failed: 1, Reasons: map[string]int64{"status 4": 1}}},
		"an answer mixed up":   {mixUp, counts{Failed: 1, Reasons: map[string]int64{"the answer to another request": 1}}},
		"an answer made up":    {invent, counts{Failed: 1, Reasons: map[string]int64{"an answer to a request that was never sent": 1}}},
		"a reset with a call":  {reset, counts{Failed: 1, Resets: 1, Reconnects: 1, Reasons: map[string]int64{"its connection was lost": 1}}},
		"an end between calls": {hangUp, counts{Resets: 1, Reconnects: 1}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, addr := server(t, boltserver.Config{})
			m := startMeddler(t, addr, tc.meddle)
			c, stop := run(t, Config{Connections: 4, InFlight: 4, Rate: 40, Direct: m.ln.Addr().String(), Timeout: 2 * time.Second})
			until(t, c, "10 answers", func(r Report) bool { return r.Requests >= 10 })
			m.armed.Store(true)
			until(t, c, "the misdeed", func(r Report) bool {
				return !m.armed.Load() && r.Requests >= 30 && countsOf(r).Failed == tc.want.Failed && r.Reconnects == tc.want.Reconnects
			})
			time.Sleep(50 * time.Millisecond)
			if diff := cmp.Diff(tc.want, countsOf(stop())); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestALateAnswerIsNotADuplicate(t *testing.T) {
	_, addr := server(t, boltserver.Config{Delay: 400 * time.Millisecond})
	c, stop := run(t, Config{Rate: 5, Direct: addr, Timeout: 200 * time.Millisecond})
	until(t, c, "a late answer", func(r Report) bool { return r.Late > 0 })
	if r := stop(); r.Duplicates != 0 || r.Failed == 0 || r.Reasons["timeout"] == 0 {
		t.Errorf("duplicates %d, failed %v", r.Duplicates, r.Reasons)
	}
}

// sidecar is a stand-in whose state a test can change: a listener that passes bytes on, and the state beside it.
func sidecar(t *testing.T, target string) (state *atomic.Value, mesh, stateURL string) {
	t.Helper()
	m := startMeddler(t, target, forward)
	state = &atomic.Value{}
	state.Store("starting")
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(meshstate.State{State: state.Load().(string), Version: "v1", Generation: 1})
	}))
	t.Cleanup(api.Close)
	return state, m.ln.Addr().String(), api.URL + "/state"
}

func TestCallsMoveToTheSidecarAndBack(t *testing.T) {
	s, addr := server(t, boltserver.Config{Delay: 20 * time.Millisecond})
	state, mesh, url := sidecar(t, addr)
	c, stop := run(t, Config{
		Connections: 10, InFlight: 4, Rate: 500, Direct: addr, OnewayEvery: 7,
		Mesh: mesh, MeshState: url, Poll: 20 * time.Millisecond,
	})
	until(t, c, "100 answers", func(r Report) bool { return r.Requests >= 100 })
	if r := report(t, c); r.Moves != 0 || r.Via[Direct] != 10 {
		t.Errorf("moved before the sidecar serves: moves %d, via %v", r.Moves, r.Via)
	}
	state.Store(meshstate.Serving)
	until(t, c, "ten moves", func(r Report) bool { return r.Moves == 10 && r.Via[Mesh] == 10 })
	before := c.Connections()
	until(t, c, "300 answers", func(r Report) bool { return r.Requests >= 300 })
	if diff := cmp.Diff(before, c.Connections()); diff != "" {
		t.Errorf("connections changed while nothing moved (-before +after):\n%s", diff)
	}
	state.Store(meshstate.Leaving)
	until(t, c, "ten returns", func(r Report) bool { return r.Returns == 10 && r.Via[Direct] == 10 })
	r := stop()
	if diff := cmp.Diff(counts{}, countsOf(r)); diff != "" {
		t.Errorf("counts (-want +got):\n%s\nnotes: %q", diff, r.Notes)
	}
	if r.Moves != 10 || r.Returns != 10 {
		t.Errorf("moves %d, returns %d, want 10 of each", r.Moves, r.Returns)
	}
	if got := s.Report(); got.Requests != r.Sent || got.Oneways != r.Oneways || got.Duplicates != 0 {
		t.Errorf("the server saw %+v; the client sent %d and %d oneways", got, r.Sent, r.Oneways)
	}
}

func TestASidecarThatIsGoneSendsNobodyAwayWhileItsConnectionsWork(t *testing.T) {
	_, addr := server(t, boltserver.Config{})
	cases := map[string]struct {
		via, state string
		open       Via
		want       Via
	}{
		"serving":                               {"direct", meshstate.Serving, Direct, Mesh},
		"leaving":                               {"mesh", meshstate.Leaving, Mesh, Direct},
		"left":                                  {"mesh", meshstate.Left, Mesh, Direct},
		"starting":                              {"direct", "starting", Direct, Direct},
		"starting, while calls go through it":   {"mesh", "starting", Mesh, Mesh},
		"nobody listens, connections work":      {"mesh", meshstate.Absent, Mesh, Mesh},
		"nobody listens and nothing goes there": {"mesh", meshstate.Absent, Direct, Direct},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c, err := New(Config{Rate: 1, Direct: addr, Mesh: addr, Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			c.via = Via(tc.via)
			c.slots[0].current = &link{via: tc.open}
			c.aim(tc.state)
			if got := c.currentAim(); got != tc.want {
				t.Errorf("calls are meant to go %s, want %s", got, tc.want)
			}
		})
	}
}

func TestLatencyCountsFromWhenARequestWasDue(t *testing.T) {
	_, addr := server(t, boltserver.Config{Delay: 50 * time.Millisecond})
	c, stop := run(t, Config{Connections: 1, InFlight: 1, Rate: 40, Direct: addr})
	until(t, c, "40 answers", func(r Report) bool { return r.Requests >= 40 })
	c.Enter("later")
	until(t, c, "50 answers", func(r Report) bool { return r.Requests >= 50 })
	r := stop()
	if len(r.Windows) != 2 || r.Windows[0].Name != FirstWindow || r.Windows[1].Name != "later" {
		t.Fatalf("windows %+v", r.Windows)
	}
	first, later := r.Windows[0], r.Windows[1]
	if first.MaxMS < 200 || later.P50MS < first.P50MS {
		t.Errorf("a queue that grows is hidden: max %v ms, p50 %v then %v ms", first.MaxMS, first.P50MS, later.P50MS)
	}
	h, err := hdr.Decode([]byte(first.Histogram))
	if err != nil {
		t.Fatal(err)
	}
	if h.TotalCount() != first.Count || first.Count == 0 {
		t.Errorf("the encoded histogram has %d values, the window %d", h.TotalCount(), first.Count)
	}
}

func TestHandler(t *testing.T) {
	_, addr := server(t, boltserver.Config{Name: "s"})
	c, _ := run(t, Config{Name: "c", Connections: 3, Rate: 300, Direct: addr})
	until(t, c, "20 answers", func(r Report) bool { return r.Requests >= 20 })
	web := httptest.NewServer(c.Handler())
	defer web.Close()
	call := func(method, path string, v any) {
		t.Helper()
		req, err := http.NewRequest(method, web.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := web.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: status %d", method, path, resp.StatusCode)
		}
		if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
			t.Fatal(err)
		}
	}
	var conns []Connection
	call("GET", "/connections", &conns)
	if len(conns) != 3 || conns[0].Local == "" || conns[0].Via != Direct || conns[0].Opened != 1 {
		t.Errorf("connections %+v", conns)
	}
	var paused, still, on Report
	call("POST", "/window?name=steady", &paused)
	call("POST", "/pause", &paused)
	time.Sleep(50 * time.Millisecond)
	call("GET", "/report", &still)
	if paused.InFlight != 0 || still.Sent != paused.Sent || still.Sent != still.Requests {
		t.Errorf("paused with %d in flight and %d sent, later %d sent and %d answered", paused.InFlight, paused.Sent, still.Sent, still.Requests)
	}
	call("POST", "/resume", &on)
	until(t, c, "more requests", func(r Report) bool { return r.Requests > still.Requests })
	if last := still.Windows[len(still.Windows)-1]; last.Name != "steady" {
		t.Errorf("the last window is %q", last.Name)
	}
}
