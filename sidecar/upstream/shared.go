package upstream

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/config"
)

// Shared is what all loops of a process know of one cluster. It outlives snapshots. The zero value is ready.
type Shared struct {
	// Ejected counts the ejections of several clusters; nil counts them nowhere.
	Ejected *atomic.Uint64

	limits    limits
	outlier   atomic.Pointer[config.Outlier]
	epoch     atomic.Uint64 // changes when a verdict on an endpoint does
	swept     atomic.Int64  // when success rates were compared last
	ejections atomic.Uint64 // ever

	mu     sync.Mutex // what follows
	cfg    *config.Cluster
	table  *Table
	vitals map[netip.AddrPort]*Vital
}

// Vital is what a process knows of one endpoint.
type Vital struct {
	failed, gateway  atomic.Int32 // in a row
	tried, succeeded atomic.Int64 // since rates were compared
	ejectedTill      atomic.Int64 // a time.Duration
	unhealthy        atomic.Bool  // as the active check says

	// Under the mutex of its Shared.
	ejections uint64 // ever
	times     int    // in short order, which make the next one longer
}

// ejected says whether the endpoint is ejected now.
func (v *Vital) ejected(now time.Duration) bool { return time.Duration(v.ejectedTill.Load()) > now }

// Apply takes over a configuration, before the loops do, on any goroutine.
func (s *Shared) Apply(cfg *config.Cluster, zone string, seed uint64) {
	s.limits.apply(cfg)
	s.outlier.Store(cfg.Outlier)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !cfg.Balancing.Policy.Hashes() {
		s.table = nil
	} else if s.table == nil || !s.table.same(cfg, s.cfg) {
		s.table = NewTable(cfg)
	}
	s.cfg = cfg
	if cfg.Outlier == nil && cfg.Check == nil {
		s.vitals = nil
		return
	}
	known := s.vitals
	s.vitals = make(map[netip.AddrPort]*Vital)
	for _, a := range Subset(cfg, zone, seed) {
		v := known[a]
		if v == nil {
			v = &Vital{}
		}
		if cfg.Outlier == nil {
			v.ejectedTill.Store(0)
		}
		if cfg.Check == nil {
			v.unhealthy.Store(false)
		}
		s.vitals[a] = v
	}
	s.epoch.Add(1)
}

// Limits that cfg, which was applied, sets.
func (s *Shared) Limits(cfg *config.Cluster) Limits { return s.limits.of(cfg) }

// Idle says that nothing of the cluster is counted: it can be forgotten when no configuration names it.
func (s *Shared) Idle() bool { return s.limits.idle() }

// How an endpoint may stand.
const (
	Healthy   = "healthy"
	Unhealthy = "unhealthy" // as the configuration or a check says
	Ejected   = "ejected"
)

// Count counts the endpoints of the configuration: those that are well, those that are ejected at now, and those that are
// unhealthy.
func (s *Shared) Count(now time.Duration) (well, ejected, unhealthy int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg == nil {
		return 0, 0, 0
	}
	for _, t := range s.cfg.Traits {
		if t.Unhealthy {
			unhealthy++
		}
	}
	for a, v := range s.vitals {
		switch {
		case s.cfg.Traits[a].Unhealthy:
		case v.unhealthy.Load():
			unhealthy++
		case v.ejected(now):
			ejected++
		}
	}
	return max(len(s.cfg.Endpoints)-ejected-unhealthy, 0), ejected, unhealthy
}

// Ejections counts them, ever.
func (s *Shared) Ejections() uint64 { return s.ejections.Load() }

// health of an endpoint; the mutex is held.
func (s *Shared) health(a netip.AddrPort, now time.Duration) string {
	switch v := s.vitals[a]; {
	case s.cfg.Traits[a].Unhealthy || v != nil && v.unhealthy.Load():
		return Unhealthy
	case v != nil && v.ejected(now):
		return Ejected
	}
	return Healthy
}

// vital of an endpoint; nil when there is none.
func (s *Shared) vital(a netip.AddrPort) *Vital {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vitals[a]
}

// tableOf returns the table for those endpoints; nil when it is none of theirs.
func (s *Shared) tableOf(peers []*Peer) *Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table
	if t == nil || len(t.addrs) != len(peers) {
		return nil
	}
	for i, p := range peers {
		if t.addrs[i] != p.Addr {
			return nil
		}
	}
	return t
}

// Checked takes the verdict of an active check; changed says that it is another one than before.
func (s *Shared) Checked(a netip.AddrPort, healthy bool) (changed bool) {
	v := s.vital(a)
	if v == nil || v.unhealthy.Load() == !healthy {
		return false
	}
	v.unhealthy.Store(!healthy)
	s.epoch.Add(1)
	return true
}

// Standing describes one endpoint for people.
type Standing struct {
	Endpoint  string `json:"endpoint"`
	Weight    uint32 `json:"weight"`
	Zone      string `json:"zone,omitempty"`
	Health    string `json:"health"` // healthy, unhealthy (as the configuration or a check says), ejected
	Ejections uint64 `json:"ejections,omitempty"`
	// EjectedFor is what is left of an ejection.
	EjectedFor string `json:"ejectedFor,omitempty"`
	// Connections to it and requests without an answer now; requests that were sent to it and its failures, since this
	// process began.
	Connections int    `json:"connections"`
	Active      int    `json:"active"`
	Requests    uint64 `json:"requests"`
	Errors      uint64 `json:"errors"`
}

// Standings describes the endpoints that the loops use.
func (s *Shared) Standings(zone string, seed uint64, now time.Duration) []Standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg == nil {
		return nil
	}
	var all []Standing
	for _, a := range Subset(s.cfg, zone, seed) {
		t, v := s.cfg.Traits[a], s.vitals[a]
		one := Standing{Endpoint: address.String(a), Weight: max(t.Weight, 1), Zone: t.Zone, Health: s.health(a, now)}
		if v != nil {
			one.Ejections = v.ejections
		}
		if one.Health == Ejected {
			one.EjectedFor = (time.Duration(v.ejectedTill.Load()) - now).Round(time.Millisecond).String()
		}
		all = append(all, one)
	}
	return all
}

// Adaptive is the limit that the cluster finds out by itself; nil when none is configured.
func (s *Shared) Adaptive() *Adaptive { return s.limits.adaptive.Load() }
