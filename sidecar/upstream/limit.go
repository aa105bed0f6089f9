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
type Limits struct{ Connections, Pending, Requests, Retries *Limit }

// limits holds the places that are taken, also while the configuration sets no limit.
type limits struct{ connections, pending, requests, retries Limit }

func (l *limits) apply(cfg *config.Cluster) {
	l.connections.most.Store(int64(cfg.MaxConnections))
	l.pending.most.Store(int64(cfg.MaxPending))
	l.requests.most.Store(int64(cfg.MaxRequests))
	l.retries.most.Store(int64(cfg.MaxRetries))
}

func (l *limits) of(cfg *config.Cluster) (out Limits) {
	for _, one := range []struct {
		most  int
		limit *Limit
		to    **Limit
	}{
		{cfg.MaxConnections, &l.connections, &out.Connections}, {cfg.MaxPending, &l.pending, &out.Pending},
		{cfg.MaxRequests, &l.requests, &out.Requests}, {cfg.MaxRetries, &l.retries, &out.Retries},
	} {
		if one.most > 0 {
			*one.to = one.limit
		}
	}
	return out
}

func (l *limits) idle() bool {
	return l.connections.Held()+l.pending.Held()+l.requests.Held()+l.retries.Held() == 0
}
