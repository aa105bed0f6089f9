package proxy

import (
	"maps"
	"net/netip"

	"github.com/axlemesh/axle/sidecar/upstream"
)

// ClusterCount is what was counted of one cluster, besides the requests that were sent to it.
type ClusterCount struct {
	Connections     uint64 // opened, or tried to
	ConnectFailures uint64 // of those, the ones that never were open
	Timeouts        uint64 // tries that an endpoint has not answered in time
	Retries         uint64 // tries after the first of requests that had reached an endpoint
	Ejections       uint64 // of endpoints, each time
	Received, Sent  uint64 // bytes, as they are on the wire
}

func (c *ClusterCount) each(o *ClusterCount, fn func(c, o *uint64)) {
	fn(&c.Connections, &o.Connections)
	fn(&c.ConnectFailures, &o.ConnectFailures)
	fn(&c.Timeouts, &o.Timeouts)
	fn(&c.Retries, &o.Retries)
	fn(&c.Ejections, &o.Ejections)
	fn(&c.Received, &o.Received)
	fn(&c.Sent, &o.Sent)
}

// clusterCounts are added up like counters. Copies share what is in them: nothing changes it in place.
type clusterCounts map[string]ClusterCount

func (all clusterCounts) add(o clusterCounts) clusterCounts {
	if len(o) == 0 {
		return all
	}
	sum := maps.Clone(all)
	if sum == nil {
		sum = clusterCounts{}
	}
	for name, more := range o {
		c := sum[name]
		c.each(&more, func(c, o *uint64) { *c += *o })
		sum[name] = c
	}
	return sum
}

// sub takes away an earlier reading. What has not changed since is not in the result.
func (all clusterCounts) sub(o clusterCounts) clusterCounts {
	rest := clusterCounts{}
	for name, c := range all {
		old := o[name]
		c.each(&old, func(c, o *uint64) { *c -= min(*o, *c) })
		if c != (ClusterCount{}) {
			rest[name] = c
		}
	}
	return rest
}

// ClusterLoad is what a cluster does now.
type ClusterLoad struct {
	Connections uint64 // open or being opened
	Active      uint64 // requests that were sent and have no answer yet; of plain connections, those
	Pending     uint64 // requests that wait for a connection
	Endpoints   map[string]uint64
}

// countClusters adds what this loop knows of its clusters.
func (w *worker) countClusters(s *Stats) {
	mine := clusterCounts{}
	load := make(map[string]*ClusterLoad, len(w.clusters))
	for name, c := range w.clusters {
		one := c.count
		one.Received, one.Sent = c.traffic.Read, c.traffic.Written
		mine[name] = one
		s.sent(name, c.requests)
		l := s.load(name)
		load[name] = l
		c.peers(func(p *upstream.Peer) { l.Active += uint64(p.Active()) })
	}
	s.Upstreams = s.Upstreams.add(mine)
	w.eachUp(func(c *cluster, _ netip.AddrPort, pending int) {
		if l := load[c.name]; l != nil {
			l.Connections++
			l.Pending += uint64(pending)
		}
	})
}

// peers calls fn with each view of each endpoint.
func (c *cluster) peers(fn func(p *upstream.Peer)) {
	for _, h := range c.Hosts() {
		fn(&h.Peer)
	}
	if c.http != nil {
		for _, h := range c.http.Hosts() {
			fn(&h.Peer)
		}
	}
	if c.http2 != nil {
		for _, h := range c.http2.Hosts() {
			fn(&h.Peer)
		}
	}
}

// eachUp calls fn with each connection to an endpoint that requests use, and how many of those wait for it.
func (w *worker) eachUp(fn func(c *cluster, at netip.AddrPort, pending int)) {
	for _, up := range w.ups {
		fn(up.cluster, up.host.Addr, len(up.queue))
	}
	for _, up := range w.http2.ups {
		fn(up.cluster, up.host.Addr, len(up.queue))
	}
	for _, up := range w.webs {
		waits := 0
		if up.x != nil && !up.opened {
			waits = 1
		}
		fn(up.cluster, up.host.Addr, waits)
	}
	for _, p := range w.pairs {
		if p.up != nil && p.cluster != nil {
			fn(p.cluster, p.addr, 0)
		}
	}
}

// load is what a cluster does, to be added to.
func (s *Stats) load(name string) *ClusterLoad {
	if s.Load == nil {
		s.Load = map[string]*ClusterLoad{}
	}
	l := s.Load[name]
	if l == nil {
		l = &ClusterLoad{}
		s.Load[name] = l
	}
	return l
}
