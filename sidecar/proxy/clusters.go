package proxy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// Out counts endpoints that were found to be unwell.
type Out struct{ Ejected, Unhealthy uint64 }

// ClusterInfo describes one cluster for people.
type ClusterInfo struct {
	Name      string              `json:"name"`
	Policy    string              `json:"policy"`
	Limits    map[string]Usage    `json:"limits,omitempty"`
	Endpoints []upstream.Standing `json:"endpoints"`
}

// Usage of a limit.
type Usage struct {
	Held int64 `json:"held"`
	Most int   `json:"most"`
}

// Clusters describes every cluster, by name.
func (e *Engine) Clusters() []ClusterInfo {
	used := e.used()
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.options.Clock()
	all := make([]ClusterInfo, 0, len(e.snapshot.Clusters))
	for _, name := range slices.Sorted(maps.Keys(e.snapshot.Clusters)) {
		cfg, shared := e.snapshot.Clusters[name], e.shared[name]
		if shared == nil {
			continue // it was not applied
		}
		limits := shared.Limits(cfg)
		info := ClusterInfo{
			Name: name, Policy: cfg.Balancing.Policy.String(), Limits: map[string]Usage{},
			Endpoints: shared.Standings(e.options.Zone, e.seed, now),
		}
		for i := range info.Endpoints {
			one := &info.Endpoints[i]
			u := used[endpointOf{name, one.Endpoint}]
			one.Connections, one.Active, one.Requests, one.Errors = u.Connections, u.Active, u.Requests, u.Errors
		}
		for over, l := range []struct {
			limit *upstream.Limit
			most  int
		}{
			OverConnections: {limits.Connections, cfg.MaxConnections}, OverPending: {limits.Pending, cfg.MaxPending},
			OverRequests: {limits.Requests, cfg.MaxRequests}, OverRetries: {limits.Retries, cfg.MaxRetries},
		} {
			if l.most > 0 {
				info.Limits[Overflow(over).String()] = Usage{Held: l.limit.Held(), Most: l.most}
			}
		}
		if a := limits.Adaptive; a != nil {
			info.Limits[OverAdaptive.String()] = Usage{Held: a.Held(), Most: int(a.Limit())}
		}
		all = append(all, info)
	}
	return all
}

// endpointOf names an endpoint of a cluster.
type endpointOf struct{ cluster, addr string }

// used is what the loops do with each endpoint, and have done.
func (e *Engine) used() map[endpointOf]upstream.Standing {
	all := map[endpointOf]upstream.Standing{}
	for _, w := range e.workers {
		w.loop.Call(func() {
			at := func(c *cluster, a netip.AddrPort, add func(*upstream.Standing)) {
				key := endpointOf{c.name, address.String(a)}
				one := all[key]
				add(&one)
				all[key] = one
			}
			for _, c := range w.clusters {
				c.peers(func(p *upstream.Peer) {
					at(c, p.Addr, func(s *upstream.Standing) {
						requests, failed := p.Counts()
						s.Active, s.Requests, s.Errors = s.Active+p.Active(), s.Requests+requests, s.Errors+failed
					})
				})
			}
			w.eachUp(func(c *cluster, a netip.AddrPort, _ int) {
				at(c, a, func(s *upstream.Standing) { s.Connections++ })
			})
		})
	}
	return all
}

// standings counts endpoints by how they stand, and their ejections; the engine is locked.
func (e *Engine) standings(s *Stats) {
	now := e.options.Clock()
	ejections := clusterCounts{}
	for name := range e.snapshot.Clusters {
		shared := e.shared[name]
		if shared == nil {
			continue // it was not applied
		}
		in, ejected, unhealthy := shared.Count(now)
		s.Out.Ejected += uint64(ejected)
		s.Out.Unhealthy += uint64(unhealthy)
		s.load(name).Endpoints = map[string]uint64{
			upstream.Healthy: uint64(in), upstream.Ejected: uint64(ejected), upstream.Unhealthy: uint64(unhealthy),
		}
		ejections[name] = ClusterCount{Ejections: shared.Ejections()}
	}
	s.Upstreams = s.Upstreams.add(ejections)
}
