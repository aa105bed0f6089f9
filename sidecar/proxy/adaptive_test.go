package proxy_test

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// narrow is a server with a few workers. What each request takes may change.
type narrow struct {
	work  chan struct{}
	takes atomic.Int64
}

func newNarrow(workers int, takes time.Duration) *narrow {
	n := &narrow{work: make(chan struct{}, workers)}
	n.takes.Store(int64(takes))
	return n
}

func (n *narrow) do() {
	n.work <- struct{}{}
	time.Sleep(time.Duration(n.takes.Load()))
	<-n.work
}

// TestAdaptiveLimit floods a server that slows down in between: those that are let in are served in little more than the time
// that their work takes, the others are told at once, low priorities first; and a handover forgets nothing of it.
func TestAdaptiveLimit(t *testing.T) {
	const workers = 8
	n := newNarrow(workers, 5*time.Millisecond)
	o := newOrigin(t, func(int64, http.ResponseWriter, *http.Request) { n.do() })
	addr := freePort(t)
	s := ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": o.addr}, ranked...)
	s.Clusters["v1"].Adaptive = &config.Adaptive{Min: 2, Max: 200, Window: 20 * time.Millisecond, Probe: time.Second}
	e, set := newEngine(t, 1, 2)
	now := generation{e, set, 1}
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	var f flood
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 60 {
		route := []string{"low", "default", "default"}[i%3]
		clients.Go(func() { f.keep(t, web(addr), route, stop) })
	}
	for _, takes := range []time.Duration{5 * time.Millisecond, 25 * time.Millisecond, 5 * time.Millisecond} {
		n.takes.Store(int64(takes))
		wrong := "never looked"
		for try := 0; try < 10 && wrong != ""; try++ { // a busy machine makes any one second a strange one
			f.reset()
			time.Sleep(time.Second)
			wrong = f.wrong(int(time.Second/takes*workers), now.Adaptive()["v1"], 4*workers)
			t.Logf("%s of work, second %d: %s", takes, try, cmp.Or(wrong, "well"))
		}
		if wrong != "" {
			t.Errorf("%s of work: %s", takes, wrong)
		}
	}
	before := now.Adaptive()["v1"]
	now = hop(t, now, 1, s)
	defer now.Stop()
	if after := now.Adaptive()["v1"]; after < before/3 || after > before*3 {
		t.Errorf("the limit was %d before the handover, and is %d", before, after)
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	clients.Wait()
	if stats := now.Stats(); stats.Overflow[proxy.OverAdaptive] == 0 || stats.Failed[proxy.FailBusy] != stats.Overflow[proxy.OverAdaptive] {
		t.Errorf("overflows %v, failures %v", stats.Overflow, stats.Failed)
	}
	until(t, "nothing is held", func() bool { return held(now.Engine, "v1", "adaptive") == 0 })
}

// flood counts what many clients hear.
type flood struct {
	mu      sync.Mutex
	served  int
	took    time.Duration
	asked   map[string]int
	refused map[string]int
}

func (f *flood) keep(t *testing.T, c *http.Client, route string, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		begin := time.Now()
		got := shedOrBusy(c, route)
		took := time.Since(begin)
		f.mu.Lock()
		if f.asked == nil {
			f.asked, f.refused = map[string]int{}, map[string]int{}
		}
		switch f.asked[route]++; got {
		case ".":
			f.served++
			f.took += took
		case "x":
			f.refused[route]++
		default:
			t.Errorf("%s: %s", route, got)
		}
		f.mu.Unlock()
		if got == "x" {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (f *flood) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.served, f.took, f.asked, f.refused = 0, 0, nil, nil
}

// wrong says what there is to say against a second in which that many requests could be served: empty when nothing is.
func (f *flood) wrong(could int, limit, most int64) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	part := func(route string) float64 { return float64(f.refused[route]) / float64(max(f.asked[route], 1)) }
	low, other := part("low"), part("default")
	if f.served >= could/10 && limit <= most && low > other {
		return ""
	}
	return fmt.Sprintf("%d served of %d that could be, in %s each; the limit is %d, at most %d are due; refused: %.2f of low, %.2f of the others",
		f.served, could, f.took/time.Duration(max(f.served, 1)), limit, most, low, other)
}
