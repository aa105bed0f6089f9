package handover

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

var (
	simSeed  = flag.Int64("handover.seed", 0, "replay the schedule of this seed, verbosely")
	simCount = flag.Int("handover.schedules", 20000, "random schedules to run (also AXLE_HANDOVER_SCHEDULES)")
)

// schedule runs one random schedule to its end and returns the world.
func schedule(seed int64, log func(string, ...any), sabotage ...func(*world)) *world {
	rng := rand.New(rand.NewPCG(uint64(seed), 0x41584c45))
	w := newWorld(simConfig{
		downs: 1 + rng.IntN(4), ups: 1 + rng.IntN(2), limit: 1 + rng.IntN(3), reqs: 1 + rng.IntN(4), connects: rng.IntN(3),
		parts: [2]bool{rng.IntN(4) > 0, rng.IntN(4) > 0},
	})
	if log != nil {
		w.log = log
	}
	for _, f := range sabotage {
		f(w)
	}
	faultRate := []float64{0, 0.003, 0.02, 0.1}[rng.IntN(4)]
	bias := []int{1, 4}[rng.IntN(2)] // how much more often the protocol moves than the traffic
	for range 2000 {
		cs := w.choices(false)
		if rng.Float64() < faultRate {
			cs = w.faultChoices()
		}
		if len(cs) == 0 {
			break
		}
		c := cs[rng.IntN(len(cs))]
		for i := 0; i < bias && c.op > chStep && c.op < chTear; i++ {
			c = cs[rng.IntN(len(cs))]
		}
		w.log("%s", c)
		w.apply(c)
		if len(w.fails) > 0 {
			return w
		}
	}
	drain(w, rng)
	return w
}

// drain lets everything that is under way come to its end. A timer fires only when nothing else can happen.
func drain(w *world, rng *rand.Rand) {
	for range 20000 {
		if len(w.fails) > 0 {
			return
		}
		cs := w.choices(false)
		if len(cs) == 0 {
			for i, p := range w.procs {
				if p.alive() && !p.hungUp && p.timer > 0 {
					cs = append(cs, choice{chTimer, i, 0})
				}
			}
		}
		if len(cs) == 0 {
			w.settled()
			return
		}
		c := cs[rng.IntN(len(cs))]
		w.log("%s", c)
		w.apply(c)
	}
	w.failf("the schedule does not end")
}

func TestRandomSchedules(t *testing.T) {
	t.Parallel()
	if *simSeed != 0 {
		w := schedule(*simSeed, t.Logf)
		for _, f := range w.fails {
			t.Errorf("seed %d: %s", *simSeed, f)
		}
		t.Logf("donor %v, candidate %v", w.procs[0].result, w.procs[1].result)
		return
	}
	n := *simCount
	if env := os.Getenv("AXLE_HANDOVER_SCHEDULES"); env != "" {
		n, _ = strconv.Atoi(env)
	}
	base := time.Now().UnixNano()
	seen := map[string]int{}
	for i := range n {
		seed := base + int64(i)
		w := schedule(seed, nil)
		for _, f := range w.fails {
			t.Errorf("%s (replay with -run TestRandomSchedules -handover.seed=%d)", f, seed)
		}
		if t.Failed() {
			return
		}
		seen[outcome(w)]++
	}
	t.Logf("%d schedules from seed %d: %v", n, base, seen)
	for _, want := range []string{"donor ok, candidate ok", "donor dead, candidate ok", "donor aborted, candidate aborted", "donor aborted, candidate dead"} {
		if seen[want] == 0 {
			t.Errorf("no schedule ended with %s: the simulation does not reach far enough", want)
		}
	}
}

func outcome(w *world) string {
	word := func(p *proc) string {
		switch {
		case p.dead:
			return "dead"
		case p.result.OK:
			return "ok"
		}
		return "aborted"
	}
	return fmt.Sprintf("donor %s, candidate %s", word(w.procs[0]), word(w.procs[1]))
}
