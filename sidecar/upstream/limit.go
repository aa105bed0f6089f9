package upstream

import (
	"sync/atomic"

	"github.com/axlemesh/axle/sidecar/config"
)

// Limit bounds something that all loops of a process count together. A nil one bounds nothing and costs nothing.
type Limit struct {
	most, held atomic.Int64
}

// Take takes a place; false when there is none.
func (l *Limit) Take() bool {
	if l == nil {
		return true
	}
	if l.held.Add(1) <= l.most.Load() {
		return true
	}
	l.held.Add(-1)
	return false
}

// Force takes a place whether there is one or not: another process has given it out.
func (l *Limit) Force() {
	if l != nil {
		l.held.Add(1)
	}
}

// Give gives a place back.
func (l *Limit) Give() {
	if l != nil {
		l.held.Add(-1)
	}
}

// Full says that Take would fail.
func (l *Limit) Full() bool { return l != nil && l.held.Load() >= l.most.Load() }

// Held is how many places are taken.
func (l *Limit) Held() int64 {
	if l == nil {
		return 0
	}
	return l.held.Load()
}

// Limits are those of one cluster; nil where the configuration sets none.
type Limits struct {
	Connections, Pending, Requests, Retries *Limit
	// Adaptive is for all priorities.
	Adaptive *Adaptive

	high *Limits // for requests of high priority; nil counts them with the others
}

// Of returns the limits for requests of a priority.
func (l *Limits) Of(p config.Priority) *Limits {
	if l.high != nil && p == config.PriorityHigh {
		return l.high
	}
	return l
}

// limits holds the places that are taken, also while the configuration sets no limit.
type limits struct {
	connections  Limit
	normal, high class
	adaptive     atomic.Pointer[Adaptive] // nil while it is not configured; whoever holds a place of one knows it
}

// class is what requests of some priorities count in.
type class struct{ pending, requests, retries Limit }

func (c *class) apply(b config.Breakers) {
	c.pending.most.Store(int64(b.MaxPending))
	c.requests.most.Store(int64(b.MaxRequests))
	c.retries.most.Store(int64(b.MaxRetries))
}

func (c *class) of(b config.Breakers, out *Limits) {
	for _, one := range []struct {
		most  int
		limit *Limit
		to    **Limit
	}{{b.MaxPending, &c.pending, &out.Pending}, {b.MaxRequests, &c.requests, &out.Requests}, {b.MaxRetries, &c.retries, &out.Retries}} {
		if one.most > 0 {
			*one.to = one.limit
		}
	}
}

func (c *class) held() int64 { return c.pending.Held() + c.requests.Held() + c.retries.Held() }

// breakers of the priorities that have none of their own.
func breakers(cfg *config.Cluster) config.Breakers {
	return config.Breakers{MaxPending: cfg.MaxPending, MaxRequests: cfg.MaxRequests, MaxRetries: cfg.MaxRetries}
}

func (l *limits) apply(cfg *config.Cluster) {
	l.connections.most.Store(int64(cfg.MaxConnections))
	l.normal.apply(breakers(cfg))
	if cfg.High != nil {
		l.high.apply(*cfg.High)
	}
	switch now := l.adaptive.Load(); {
	case cfg.Adaptive == nil:
		l.adaptive.Store(nil)
	case now == nil:
		l.adaptive.Store(newAdaptive(cfg.Adaptive))
	default:
		now.configure(cfg.Adaptive)
	}
}

func (l *limits) of(cfg *config.Cluster) (out Limits) {
	if cfg.MaxConnections > 0 {
		out.Connections = &l.connections
	}
	out.Adaptive = l.adaptive.Load()
	l.normal.of(breakers(cfg), &out)
	if cfg.High != nil {
		out.high = &Limits{Connections: out.Connections, Adaptive: out.Adaptive}
		l.high.of(*cfg.High, out.high)
	}
	return out
}

func (l *limits) idle() bool {
	a := l.adaptive.Load()
	return l.connections.Held()+l.normal.held()+l.high.held() == 0 && (a == nil || a.Held() == 0)
}
