package upstream_test

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// adaptive is a cluster's limit that it finds out by itself.
func adaptive(t testing.TB, cfg config.Adaptive) *upstream.Adaptive {
	t.Helper()
	s := &upstream.Shared{}
	c := cluster(1)
	c.Adaptive = &cfg
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s.Apply(c, "", 1)
	return s.Limits(c).Adaptive
}

// ending is a request that is answered at a time, and was sent at another.
type ending struct{ at, sent time.Duration }

type endings []ending

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].at < e[j].at }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any)        { *e = append(*e, x.(ending)) }
func (e *endings) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

// plant is a server with some workers in front of which requests queue, and callers who come by chance.
type plant struct {
	random  *rand.Rand
	limit   *upstream.Adaptive
	now     time.Duration
	free    []time.Duration // when each worker has nothing to do
	service time.Duration
	every   time.Duration // between two requests
	open    endings
}

// result of some time.
type result struct {
	done, refused int
	latency       time.Duration // mean
	most          int64         // open
}

// run lets the plant work for a while.
func (p *plant) run(d time.Duration) (r result) {
	var sum time.Duration
	next := p.now
	for end := p.now + d; next < end; {
		if len(p.open) > 0 && p.open[0].at <= next {
			e := heap.Pop(&p.open).(ending)
			p.now = e.at
			p.limit.Observe(e.at-e.sent, e.at, true)
			p.limit.Give()
			r.done++
			sum += e.at - e.sent
			continue
		}
		p.now = next
		next += time.Duration(p.random.ExpFloat64() * float64(p.every))
		if !p.limit.Take(config.PriorityDefault) {
			r.refused++
			continue
		}
		r.most = max(r.most, p.limit.Held())
		first := 0
		for i := range p.free {
			if p.free[i] < p.free[first] {
				first = i
			}
		}
		p.free[first] = max(p.free[first], p.now) + time.Duration((0.8+0.4*p.random.Float64())*float64(p.service))
		heap.Push(&p.open, ending{p.free[first], p.now})
	}
	if r.done > 0 {
		r.latency = sum / time.Duration(r.done)
	}
	return r
}

// TestAdaptiveAgainstAServer offers three times what a server can do. Without a limit its queue would grow without end; with it the server is
// kept at work, and who is let in waits hardly longer than the work takes, also after the server has become slower, and faster again.
func TestAdaptiveAgainstAServer(t *testing.T) {
	const workers = 16
	for seed := range uint64(20) {
		p := &plant{random: rand.New(rand.NewPCG(seed, 1)), free: make([]time.Duration, workers), limit: adaptive(t, config.Adaptive{Probe: 10 * time.Second})}
		for _, stage := range []struct {
			name    string
			service time.Duration
		}{{"at first", 10 * time.Millisecond}, {"slower", 50 * time.Millisecond}, {"fast again", 10 * time.Millisecond}} {
			p.service, p.every = stage.service, stage.service/workers/3
			p.run(25 * time.Second) // to find out
			r := p.run(20 * time.Second)
			capacity := int(20 * time.Second * workers / stage.service)
			if r.done < capacity*85/100 || r.latency > stage.service*9/4 || r.most > workers*4 {
				t.Errorf("seed %d, %s: %d of %d requests done, latency %s of a service time of %s, at most %d open by %d workers",
					seed, stage.name, r.done, capacity, r.latency, stage.service, r.most, workers)
			}
		}
	}
}

// TestAdaptiveLeavesALightLoadAlone: what a server does easily is never refused.
func TestAdaptiveLeavesALightLoadAlone(t *testing.T) {
	for seed := range uint64(20) {
		p := &plant{
			random: rand.New(rand.NewPCG(seed, 2)), free: make([]time.Duration, 16), limit: adaptive(t, config.Adaptive{}),
			service: 10 * time.Millisecond, every: 2 * time.Millisecond,
		}
		if r := p.run(2 * time.Minute); r.refused > 0 {
			t.Errorf("seed %d: %d requests are refused of %d that need a third of the server", seed, r.refused, r.done)
		}
	}
}

// TestAdaptiveProperties: whatever happens, the limit stays in its bounds, nothing is counted twice, and who has a lower priority never gets in
// where a higher one does not.
func TestAdaptiveProperties(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		cfg := config.Adaptive{Min: 1 + r.IntN(10), Window: 10 * time.Millisecond, Percentile: 1 + r.IntN(99), Slack: 1 + r.IntN(200), Probe: time.Second}
		cfg.Max = cfg.Min + r.IntN(100)
		a := adaptive(t, cfg)
		now, held := time.Duration(0), int64(0)
		for range 20_000 {
			now += time.Duration(r.Int64N(int64(time.Millisecond)))
			switch r.IntN(4) {
			case 0, 1:
				let := map[config.Priority]bool{}
				for _, p := range config.Priorities() {
					if let[p] = a.Take(p); let[p] {
						a.Give()
					}
				}
				if let[config.PriorityLow] && !let[config.PriorityDefault] || let[config.PriorityDefault] && !let[config.PriorityHigh] {
					t.Fatalf("seed %d: at %d of %d the priorities are let in like this: %v", seed, held, a.Limit(), let)
				}
				if a.Take(config.Priorities()[r.IntN(3)]) {
					held++
				}
			case 2:
				a.Observe(time.Duration(math.Exp(r.Float64()*30)), now, r.IntN(3) > 0)
			case 3:
				if held > 0 {
					a.Give()
					held--
				}
				if r.IntN(1000) == 0 {
					a.Restore(upstream.AdaptiveState{Limit: math.Exp(r.Float64()*40 - 20), Low: r.Float64() * 1e12})
				}
			}
			if a.Held() != held || a.Limit() < int64(cfg.Min) || a.Limit() > int64(cfg.Max) {
				t.Fatalf("seed %d: %d of %d held, want %d, and a limit from %d to %d", seed, a.Held(), a.Limit(), held, cfg.Min, cfg.Max)
			}
		}
	}
}

// TestAdaptiveMoves: the next process goes on where this one was; what nobody can have written changes nothing.
func TestAdaptiveMoves(t *testing.T) {
	a, b := adaptive(t, config.Adaptive{Min: 2}), adaptive(t, config.Adaptive{Max: 500})
	a.Restore(upstream.AdaptiveState{Limit: 700, Low: 5e6})
	if s := a.State(); s.Limit != 700 || s.Low != 5e6 {
		t.Errorf("state %+v", s)
	}
	if b.Restore(a.State()); b.Limit() != 500 {
		t.Errorf("a limit of 700 moves to a process that allows 500, as %d", b.Limit())
	}
	for _, s := range []upstream.AdaptiveState{{}, {Limit: math.NaN()}, {Limit: math.Inf(1)}, {Limit: 5, Low: math.NaN()}, {Limit: 5, Low: -1}, {Limit: -5}} {
		if b.Restore(s); b.Limit() != 500 {
			t.Errorf("%+v was taken over", s)
		}
	}
}

// TestAdaptiveIsShared is for the race detector: all loops use it at once.
func TestAdaptiveIsShared(t *testing.T) {
	a := adaptive(t, config.Adaptive{Window: 10 * time.Millisecond})
	var loops sync.WaitGroup
	for i := range 4 {
		loops.Go(func() {
			for n := range 20_000 {
				if a.Take(config.PriorityDefault) {
					a.Observe(time.Duration(i+1)*time.Millisecond, time.Duration(n)*10*time.Microsecond, true)
					a.Give()
				}
			}
		})
	}
	loops.Wait()
	if a.Held() != 0 {
		t.Errorf("%d places are held", a.Held())
	}
}

func TestAdaptiveAllocatesNothing(t *testing.T) {
	a := adaptive(t, config.Adaptive{})
	now := time.Duration(0)
	if n := testing.AllocsPerRun(5000, func() {
		now += time.Millisecond
		a.Take(config.PriorityHigh)
		a.Observe(time.Millisecond, now, true)
		a.Give()
	}); n != 0 {
		t.Errorf("%v allocations for one request, want 0", n)
	}
}
