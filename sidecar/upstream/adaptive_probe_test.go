package upstream_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// TestAdaptiveBeginsInAFlood: where the first latencies are already those of a queue, one probe finds how low they can be, however many
// times too high the limit was.
func TestAdaptiveBeginsInAFlood(t *testing.T) {
	for seed := range uint64(20) {
		for _, workers := range []int{4, 8, 16} {
			p := &plant{
				random: rand.New(rand.NewPCG(seed, 5)), free: make([]time.Duration, workers), service: 5 * time.Millisecond,
				limit: adaptive(t, config.Adaptive{Min: 2, Probe: 10 * time.Second}),
			}
			p.every = p.service / time.Duration(workers) / 3
			p.run(12 * time.Second)
			if r := p.run(5 * time.Second); r.most > int64(workers*7/2) {
				t.Errorf("seed %d: after a probe %d requests are let in to %d workers", seed, r.most, workers)
			}
		}
	}
}

// TestAdaptiveInStalls: a machine that stands still for moments (a neighbour, a collection of garbage) also does so while the limit is
// looking for the lowest latency. What it finds there is no reason to let a queue grow until it looks again.
func TestAdaptiveInStalls(t *testing.T) {
	const workers = 8
	worst := int64(0)
	for seed := range uint64(40) {
		p := &plant{
			random: rand.New(rand.NewPCG(seed, 4)), free: make([]time.Duration, workers), service: 5 * time.Millisecond,
			limit: adaptive(t, config.Adaptive{Min: 2, Max: 200, Window: 20 * time.Millisecond, Probe: time.Second}),
		}
		p.every = p.service / workers / 3
		p.run(3 * time.Second)
		over, all := 0, 0
		for range 400 {
			if p.random.IntN(8) == 0 {
				p.stall(time.Duration(10+p.random.IntN(60)) * time.Millisecond)
			}
			p.run(25 * time.Millisecond)
			limit := p.limit.Limit()
			worst = max(worst, limit)
			if all++; limit > 4*workers {
				over++
			}
		}
		t.Logf("seed %d: %d of %d", seed, over, all)
		if over > all/20 {
			t.Errorf("seed %d: %d requests are let in to %d workers for %d of %d moments", seed, p.limit.Limit(), workers, over, all)
		}
	}
	t.Logf("worst %d", worst)
}

// stall keeps every worker from going on for a while: what is at work is answered later.
func (p *plant) stall(d time.Duration) {
	for i := range p.open {
		p.open[i].at += d
	}
	for i := range p.free {
		p.free[i] = max(p.free[i], p.now) + d
	}
}

// TestAdaptiveDoesNotProbeAtOnceWhenItMoves: a process that has waited for long before it takes over has not looked for the lowest latency
// meanwhile, but the one before it has. It refuses no more than that one did.
func TestAdaptiveDoesNotProbeAtOnceWhenItMoves(t *testing.T) {
	const workers = 16
	cfg := config.Adaptive{Min: 2, Probe: 10 * time.Second}
	for seed := range uint64(20) {
		p := &plant{
			random: rand.New(rand.NewPCG(seed, 6)), free: make([]time.Duration, workers), service: 10 * time.Millisecond, limit: adaptive(t, cfg),
		}
		p.every = p.service / workers / 3
		p.run(35 * time.Second)
		before := p.limit.Limit()
		next := adaptive(t, cfg)
		next.Restore(p.limit.State())
		for range p.open {
			next.Force()
		}
		p.limit = next
		lowest := before
		for range 80 {
			p.run(100 * time.Millisecond)
			lowest = min(lowest, next.Limit())
		}
		if lowest <= before*6/10 {
			t.Errorf("seed %d: the limit was %d, and fell to %d when it had moved", seed, before, lowest)
		}
	}
}
