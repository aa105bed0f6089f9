package upstream

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// Adaptive bounds the open requests of a cluster by their latency; see gradient. All loops of a process share it, and while
// nothing has to be worked out they touch only atomics. A nil one bounds nothing.
type Adaptive struct {
	limit, held, peak atomic.Int64
	samples           atomic.Int64
	ends              atomic.Int64 // of the window; a time.Duration
	low               atomic.Int64 // of the gradient
	seen              [latencyBuckets]atomic.Int32

	mu       sync.Mutex // what follows
	gradient gradient
}

// Room that priorities have of the limit, in percent: what is low makes room before the others lose anything, and what is
// high still gets through when they do.
const (
	lowRoom  = 80
	highRoom = 120
)

// enough samples make a window; with fewer it goes on.
const enough = 10

func newAdaptive(cfg *config.Adaptive) *Adaptive {
	a := &Adaptive{}
	a.configure(cfg)
	return a
}

func (a *Adaptive) configure(cfg *config.Adaptive) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gradient.configure(cfg.Defaulted())
	a.publish()
}

// publish shows what was worked out to the loops.
func (a *Adaptive) publish() {
	a.limit.Store(int64(a.gradient.limit))
	a.low.Store(int64(a.gradient.low))
}

// most is how many requests may be open for one of priority p to be let in.
func most(limit int64, p config.Priority) int64 {
	switch {
	case p < config.PriorityDefault:
		return max(limit*lowRoom/100, 1)
	case p > config.PriorityDefault:
		return limit*highRoom/100 + 1
	}
	return limit
}

// Take takes a place for a request; false when there is none for its priority.
func (a *Adaptive) Take(p config.Priority) bool {
	if a == nil {
		return true
	}
	n := a.held.Add(1)
	if n > most(a.limit.Load(), p) {
		a.held.Add(-1)
		return false
	}
	if n > a.peak.Load() {
		a.peak.Store(n)
	}
	return true
}

// Force takes a place whether there is one or not: another process has given it out.
func (a *Adaptive) Force() {
	if a != nil {
		a.held.Add(1)
	}
}

// Give gives a place back.
func (a *Adaptive) Give() {
	if a != nil {
		a.held.Add(-1)
	}
}

// Held is how many places are taken.
func (a *Adaptive) Held() int64 { return a.held.Load() }

// Limit is how many there are for requests of the default priority.
func (a *Adaptive) Limit() int64 { return a.limit.Load() }

// Observe takes the latency of a request that has ended, well or not. A failure never makes a server look faster.
func (a *Adaptive) Observe(took, now time.Duration, ok bool) {
	if a == nil || took <= 0 || !ok && int64(took) < a.low.Load() {
		return
	}
	a.seen[latencyBucket(took)].Add(1)
	n := a.samples.Add(1)
	ends := a.ends.Load()
	if int64(now) < ends || n < enough || !a.mu.TryLock() {
		return
	}
	defer a.mu.Unlock()
	if a.ends.Load() != ends {
		return // another loop was faster
	}
	if ends > 0 { // the first one only starts the clock
		a.gradient.window(now, a.percentile(), a.peak.Load())
		a.publish()
	}
	a.clear()
	a.ends.Store(int64(now + a.gradient.cfg.Window))
}

func (a *Adaptive) clear() {
	for i := range a.seen {
		a.seen[i].Store(0)
	}
	a.samples.Store(0)
	a.peak.Store(a.held.Load())
}

// percentile of the window's latencies, in nanoseconds, as exactly as buckets have it.
func (a *Adaptive) percentile() float64 {
	all := int64(0)
	for i := range a.seen {
		all += int64(a.seen[i].Load())
	}
	left := max(all*int64(a.gradient.cfg.Percentile)/100, 1)
	for i := range a.seen {
		if left -= int64(a.seen[i].Load()); left <= 0 {
			return latencyOf(i)
		}
	}
	return 0
}

// AdaptiveState is what the next process has to know of an Adaptive, so that a handover neither refuses what was let in nor
// floods the cluster.
type AdaptiveState struct {
	Limit float64 `json:"limit"`
	Low   float64 `json:"low"` // nanoseconds
}

// State of a.
func (a *Adaptive) State() AdaptiveState {
	a.mu.Lock()
	defer a.mu.Unlock()
	limit := a.gradient.limit
	if a.gradient.probing {
		limit = a.gradient.kept
	}
	return AdaptiveState{Limit: limit, Low: a.gradient.low}
}

// Restore goes on from a state, within the bounds of the configuration.
func (a *Adaptive) Restore(s AdaptiveState) {
	if a == nil || !(s.Limit > 0) || !(s.Low >= 0) || math.IsInf(s.Limit, 0) || math.IsInf(s.Low, 0) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gradient.limit, a.gradient.low, a.gradient.moved = a.gradient.bound(s.Limit), s.Low, true
	a.publish()
}

// Latencies are counted in buckets, eight to each doubling, from a microsecond to some twenty minutes.
const (
	leastShift     = 10
	mostShift      = 40
	latencyBuckets = (mostShift - leastShift) * 8
)

func latencyBucket(d time.Duration) int {
	x := min(max(uint64(d), 1<<leastShift), 1<<mostShift-1)
	e := bits.Len64(x) - 1
	return (e-leastShift)*8 + int(x>>(e-3)&7)
}

// latencyOf is the middle of a bucket, in nanoseconds.
func latencyOf(bucket int) float64 {
	e, part := bucket/8+leastShift, bucket%8
	return float64(uint64(1)<<e) * (1 + (float64(part)+0.5)/8)
}
