package proxy

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/sockets"
)

// stillEngine is an engine with one loop that does not run, whose clock stands still.
func stillEngine(f *testing.F) *Engine {
	e, err := New(Options{Sockets: &sockets.Set{}, Clock: func() time.Duration { return time.Hour }})
	if err != nil {
		f.Fatal(err)
	}
	return e
}

// idleEngine is one that runs, with nothing to serve.
func idleEngine(f *testing.F) *Engine {
	e := stillEngine(f)
	if err := e.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(e.Stop)
	return e
}

// planner is a worker of its own on the loop of e, whose routes retry and hedge.
func planner(e *Engine) *worker {
	w := newWorker(e, 0, e.workers[0].loop)
	w.planned = map[string]*target{}
	for _, key := range []string{"a#1", "shop.demo#3"} {
		retry := &config.Retry{On: config.RetryReset, PerTry: time.Second, Hedge: true, AnyMethod: true}
		w.planned[key] = &target{tallies: w.tallies[OtherRoutes], plan: &plan{key: key, attempts: 3, retry: retry, places: &places{}, budget: &budget{}}}
	}
	return w
}

// hop restores connections on a worker of their own. It drops them, or lets them go on and freezes them before the loop has had a turn.
// It returns their new states in the order in which the next process gets them, and how many of the old ones were taken.
func hop(t *testing.T, e *Engine, drops bool, states ...[]byte) (out [][]byte, taken int) {
	e.workers[0].loop.Call(func() {
		w := planner(e)
		var batch []restored
		for _, b := range states {
			s, err := parseState(b)
			if err != nil {
				continue
			}
			p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Error(err)
				return
			}
			_ = unix.Close(p[1])
			r, err := w.restore(p[0], s, 0)
			if err != nil {
				_ = unix.Close(p[0])
				continue
			}
			batch = append(batch, r)
		}
		taken = len(batch)
		if drops {
			w.drop(batch)
		} else {
			w.activate(batch)
			out = froze(w)
		}
		for name, n := range map[string]int{
			"endpoints": len(w.ups), "pairs": len(w.pairs), "HTTP clients": len(w.clients), "HTTP endpoints": len(w.webs),
			"HTTP/2 clients": len(w.http2.clients), "HTTP/2 endpoints": len(w.http2.ups), "handshakes": len(w.shakes.all), "undecided clients": len(w.shakes.undecided), "calls": len(w.calls),
		} {
			if n > 0 {
				t.Errorf("%d %s are left", n, name)
			}
		}
		for key, p := range w.planned {
			if active, retries := p.plan.budget.active.Load(), p.plan.budget.retries.Load(); active != 0 || retries != 0 {
				t.Errorf("%d requests and %d retries of route %s are left", active, retries, key)
			}
		}
	})
	return out, taken
}

// froze freezes everything that a worker has, and gives it away.
func froze(w *worker) (out [][]byte) {
	w.http2.batch = w.http2.bytes
	for _, pick := range []func(*worker, *frozen, int){
		(*worker).pickHTTP2, (*worker).pickUps, (*worker).pickPairs, (*worker).pickHTTP, (*worker).pickDowns, (*worker).pickAccepted,
	} {
		for _, c := range w.freeze(1, 64, pick) {
			out = append(out, c.State)
		}
		if b := w.frozen[1]; b != nil {
			w.releaseBatch(b)
			delete(w.frozen, 1)
		}
	}
	return out
}

// FuzzHop restores any two connections and freezes them again: what comes out can be restored, and is the same after that. Nothing of
// what was refused, dropped or given away is left.
func FuzzHop(f *testing.F) {
	e := idleEngine(f)
	all := states()
	for _, s := range all {
		f.Add(s.write(), []byte(nil), false)
		f.Add([]byte(nil), s.write(), true)
	}
	h := connState{role: roleHTTP2Client, image: all["an HTTP/2 client"].image, listener: all["an HTTP/2 client"].listener}
	h.http2 = asking(f, stillEngine(f).workers[0]).state()
	f.Add(h.write(), []byte(nil), false)
	for client, endpoint := range map[string]string{"a plain client": "a plain endpoint", "an HTTP client in its request": "an HTTP endpoint"} {
		up := *all[endpoint]
		up.client, up.image.ID = all[client].image.ID, up.image.ID+1
		f.Add(all[client].write(), up.write(), false)
		f.Add(all[client].write(), up.write(), true)
	}
	f.Fuzz(func(t *testing.T, a, b []byte, drops bool) {
		once, _ := hop(t, e, drops, a, b)
		if len(once) == 0 {
			return
		}
		twice, taken := hop(t, e, false, once...)
		if taken != len(once) {
			t.Fatalf("%d of %d connections are taken when they move on: %q", taken, len(once), once)
		}
		for _, all := range [][][]byte{once, twice} {
			slices.SortFunc(all, bytes.Compare)
		}
		if !slices.EqualFunc(once, twice, bytes.Equal) {
			t.Errorf("moved on they are\n%q, and were\n%q", twice, once)
		}
	})
}

// FuzzRelayed gives a candidate what a donor sends ahead of connections: nothing breaks it, and it keeps no more than came.
func FuzzRelayed(f *testing.F) {
	e := idleEngine(f)
	l := config.Listener{Name: "out", Direction: config.Outbound, Cluster: "shop"}
	for _, kind := range []relayKind{relayRequest, relayAnswer, relayGone, relayBody, relaySpans, relayRecords, relaySources} {
		for _, frame := range [][]byte{nil, {1, 1, 0, 0, 2, 'a', 'b'}, {recordVersion}} {
			f.Add((&relayState{kind: kind, down: 1, listener: l, frame: frame}).write(), (&relayState{kind: relayGone, down: 1}).write())
		}
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		e.workers[0].loop.Call(func() {
			w, answers := planner(e), 0
			w.taking, w.relay = true, func(r handover.Relay) {
				if back, ok := parseRelay(r.Data); !ok || back.kind != relayAnswer {
					t.Errorf("the donor is told %q", r.Data)
				}
				answers++
			}
			for _, b := range [][]byte{a, b} {
				if r, ok := parseRelay(b); ok && r.kind != relayCounters {
					w.fromDonor(r, 0)
				}
			}
			if answers > 2 {
				t.Errorf("%d answers to two relays", answers)
			}
			bodies := 0
			for _, body := range w.http2.bodies {
				bodies += len(body)
			}
			if kept := bodies + len(w.records) + len(w.sources) + len(w.downs); kept > len(a)+len(b) {
				t.Errorf("%d kept of %d bytes", kept, len(a)+len(b))
			}
		})
	})
}

// FuzzWarm takes the counters and limits of another release: they are taken as they are or not at all, and are told on as they were.
func FuzzWarm(f *testing.F) {
	e := idleEngine(f)
	own, err := e.Donor().Warm()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte(`{"Requests":[1,2,3],"Failed":[1],"Series":{"outbound\nhttp3\nshop.demo\nall":{"Codes":[{"Code":"200","Flag":"tired","N":2}]}},"Clusters":{"a":1}}`))
	f.Add([]byte(`{"Hedged":1,"Adaptive":{"shop":{"limit":40,"low":1e6}},"Accounts":true,"Later":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e.Candidate().Warm(b) != nil {
			return
		}
		taken, warmed := e.base, e.warmed
		told, err := json.Marshal(warmState{Counters: taken, Adaptive: warmed})
		if err != nil {
			t.Fatalf("what was taken cannot be told on: %v", err)
		}
		if err := e.Candidate().Warm(told); err != nil {
			t.Fatalf("what is told on is refused: %v", err)
		}
		for _, diff := range []string{cmp.Diff(taken, e.base, cmpopts.EquateEmpty()), cmp.Diff(warmed, e.warmed, cmpopts.EquateEmpty())} {
			if diff != "" {
				t.Errorf("what was taken is told on as (-taken +told on):\n%s", diff)
			}
		}
	})
}
