package httpclient

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/hack/peers/httpserver"
	"github.com/axlemesh/axle/hack/peers/meshstate"
	"github.com/axlemesh/axle/hack/peers/tally"
	"github.com/axlemesh/axle/hack/peers/wire"
)

func server(t *testing.T, cfg httpserver.Config) (*httpserver.Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := httpserver.New(cfg)
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
func run(t *testing.T, cfg Config) (*Client, func() tally.Report) {
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
	stop := func() tally.Report {
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

func report(t *testing.T, c *Client) tally.Report {
	t.Helper()
	r, err := c.Report()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func until(t *testing.T, c *Client, what string, ok func(tally.Report) bool) {
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
	Failed, Resets, Reconnects, Duplicates, Goaways int64
	Reasons                                         map[string]int64
}

func countsOf(r tally.Report) counts {
	c := counts{r.Failed, r.Resets, r.Reconnects, r.Duplicates, r.Goaways, r.Reasons}
	if len(c.Reasons) == 0 {
		c.Reasons = nil
	}
	return c
}

func TestNothingIsLostOnAPerfectNetwork(t *testing.T) {
	cases := map[string]Config{
		"many connections": {Connections: 8, Rate: 1000, Payload: 200},
		"with chunks":      {Connections: 4, Rate: 500, ChunkEvery: 3, Payload: 5000},
		"one connection":   {Connections: 1, Rate: 100},
		"further fields":   {Connections: 2, Rate: 300, Path: "/a/b?c=d", Host: "ledger.demo", Fields: []string{"X-Canary: yes"}},
	}
	for name, cfg := range cases {
		t.Run(name, func(t *testing.T) {
			s, addr := server(t, httpserver.Config{Name: "only", Version: "v7", Delay: 2 * time.Millisecond, Payload: 300})
			cfg.Direct = addr
			c, stop := run(t, cfg)
			until(t, c, "300 answers", func(r tally.Report) bool { return r.Requests >= 300 })
			r := stop()
			if diff := cmp.Diff(counts{}, countsOf(r)); diff != "" {
				t.Errorf("counts (-want +got):\n%s\nnotes: %q", diff, r.Notes)
			}
			if r.Requests != r.Sent || r.Servers["only"] != r.Requests || r.Versions["v7"] != r.Requests {
				t.Errorf("sent %d, answered %d, by servers %v, versions %v", r.Sent, r.Requests, r.Servers, r.Versions)
			}
			path := "/ledger"
			if cfg.Path != "" {
				path = "/a/b"
			}
			got := s.Report()
			want := httpserver.Report{
				Name: "only", Version: "v7", Requests: r.Sent, Accepted: int64(cfg.Connections), Active: got.Active,
				Paths: map[string]int64{path: r.Sent},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the server's report (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEachMisdeedIsCounted(t *testing.T) {
	one := func(why string) map[string]int64 { return map[string]int64{why: 1} }
	cases := map[string]struct {
		deed func(net.Conn, []byte, wire.Identity, uint32)
		want counts
	}{
		"nothing":              {forward, counts{}},
		"a dropped answer":     {drop, counts{Failed: 1, Reconnects: 1, Reasons: one("timeout")}},
		"an answer twice":      {double, counts{Duplicates: 1}},
		"a changed byte":       {corrupt, counts{Failed: 1, Reasons: one("bad checksum")}},
		"an error status":      {refuse, counts{Failed: 1, Reasons: one("status 503")}},
		"an answer mixed up":   {mixUp, counts{Failed: 1, Reasons: one("the answer to another request")}},
		"an answer made up":    {invent, counts{Failed: 1, Reasons: one("an answer to a request that was never sent")}},
		"another protocol":     {babble, counts{Failed: 1, Reconnects: 1, Reasons: one("bytes that are not HTTP")}},
		"an answer cut off":    {cut, counts{Failed: 1, Resets: 1, Reconnects: 1, Reasons: one("its connection was lost")}},
		"a reset with a call":  {reset, counts{Failed: 1, Resets: 1, Reconnects: 1, Reasons: one("its connection was lost")}},
		"an end between calls": {hangUp, counts{Resets: 1, Reconnects: 1}},
		"an end that is said":  {takeLeave, counts{Goaways: 1, Reconnects: 1}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := startRogue(t, tc.deed)
			c, stop := run(t, Config{Connections: 4, Rate: 40, Direct: m.ln.Addr().String(), Timeout: 300 * time.Millisecond})
			until(t, c, "10 answers", func(r tally.Report) bool { return r.Requests >= 10 })
			m.armed.Store(true)
			until(t, c, "the misdeed", func(r tally.Report) bool {
				return !m.armed.Load() && r.Requests >= 30 && r.Failed == tc.want.Failed && r.Reconnects == tc.want.Reconnects
			})
			time.Sleep(50 * time.Millisecond)
			r := stop()
			if diff := cmp.Diff(tc.want, countsOf(r)); diff != "" {
				t.Errorf("counts (-want +got):\n%s\nnotes: %q", diff, r.Notes)
			}
		})
	}
}

// mesh is a stand-in for a sidecar's state that a test can change.
func mesh(t *testing.T) (state *atomic.Value, url string) {
	t.Helper()
	state = &atomic.Value{}
	state.Store("starting")
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(meshstate.State{State: state.Load().(string)})
	}))
	t.Cleanup(api.Close)
	return state, api.URL + "/state"
}

func TestCallsMoveToTheSidecarAndBack(t *testing.T) {
	direct, addr := server(t, httpserver.Config{Name: "direct", Delay: 5 * time.Millisecond})
	other, via := server(t, httpserver.Config{Name: "mesh", Delay: 5 * time.Millisecond})
	state, url := mesh(t)
	c, stop := run(t, Config{
		Connections: 10, Rate: 500, Direct: addr, Host: "ledger.demo", Absolute: true, ChunkEvery: 7,
		Mesh: via, MeshState: url, Poll: 20 * time.Millisecond,
	})
	until(t, c, "100 answers", func(r tally.Report) bool { return r.Requests >= 100 })
	if r := report(t, c); r.Moves != 0 || r.Via[meshstate.Direct] != 10 {
		t.Errorf("moved before the sidecar serves: moves %d, via %v", r.Moves, r.Via)
	}
	state.Store(meshstate.Serving)
	until(t, c, "ten moves", func(r tally.Report) bool { return r.Moves == 10 && r.Via[meshstate.Mesh] == 10 })
	before := c.Connections()
	until(t, c, "300 answers", func(r tally.Report) bool { return r.Requests >= 300 })
	if diff := cmp.Diff(before, c.Connections()); diff != "" {
		t.Errorf("connections changed while nothing moved (-before +after):\n%s", diff)
	}
	state.Store(meshstate.Leaving)
	until(t, c, "ten returns", func(r tally.Report) bool { return r.Returns == 10 && r.Via[meshstate.Direct] == 10 })
	r := stop()
	if diff := cmp.Diff(counts{}, countsOf(r)); diff != "" {
		t.Errorf("counts (-want +got):\n%s\nnotes: %q", diff, r.Notes)
	}
	d, m := direct.Report(), other.Report()
	if d.Requests+m.Requests != r.Sent || m.Requests == 0 || d.Duplicates+m.Duplicates+d.Resets+m.Resets != 0 {
		t.Errorf("the servers saw %+v and %+v; the client sent %d", d, m, r.Sent)
	}
}

func TestPauseAndResume(t *testing.T) {
	_, addr := server(t, httpserver.Config{Name: "s"})
	c, _ := run(t, Config{Name: "c", Connections: 3, Rate: 300, Direct: addr})
	until(t, c, "20 answers", func(r tally.Report) bool { return r.Requests >= 20 })
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
		if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	var conns []tally.Connection
	call("GET", "/connections", &conns)
	if len(conns) != 3 || conns[0].Local == "" || conns[0].Via != meshstate.Direct || conns[0].Opened != 1 {
		t.Errorf("connections %+v", conns)
	}
	var paused, still, on tally.Report
	call("POST", "/window?name=steady", &paused)
	call("POST", "/pause", &paused)
	time.Sleep(50 * time.Millisecond)
	call("GET", "/report", &still)
	if paused.InFlight != 0 || still.Sent != paused.Sent || still.Sent != still.Requests {
		t.Errorf("paused with %d in flight and %d sent, later %d sent and %d answered", paused.InFlight, paused.Sent, still.Sent, still.Requests)
	}
	call("POST", "/resume", &on)
	until(t, c, "more requests", func(r tally.Report) bool { return r.Requests > still.Requests })
	if last := still.Windows[len(still.Windows)-1]; last.Name != "steady" {
		t.Errorf("the last window is %q", last.Name)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{"no address": {Rate: 1, Now: time.Now}, "no rate": {Direct: "x:1", Now: time.Now}, "no clock": {Direct: "x:1", Rate: 1}} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(cfg); err == nil {
				t.Error("no error")
			}
		})
	}
}
