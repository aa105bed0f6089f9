package proxy

import "github.com/axlemesh/axle/sidecar/config"

// spare returns a connection of this protocol to any endpoint of a cluster that may open no more; nil when there is none.
func (w *worker) spare(c *cluster, p config.Protocol) *upConn {
	var best *upConn
	for _, h := range c.Hosts() {
		for _, up := range h.Conns {
			if up.protocol == p && (best == nil || up.load() < best.load()) {
				best = up
			}
		}
	}
	return best
}

// first takes a place beyond the limit for the only connection of its kind that this loop has: those of other loops serve nobody here.
func (c *cluster) first(only bool) bool {
	if only {
		c.limits.Connections.Force()
	}
	return only
}

// open returns a connection of this protocol that is here and open: to first, which may be nil, or to any other endpoint.
func (c *cluster) open(first *host, p config.Protocol) *upConn {
	if first != nil {
		if up := openOf(first, p); up != nil {
			return up
		}
	}
	for _, h := range c.Hosts() {
		if up := openOf(h, p); up != nil {
			return up
		}
	}
	return nil
}

func openOf(h *host, p config.Protocol) *upConn {
	for _, up := range h.Conns {
		if up.protocol == p && up.conn.Open() && !up.conn.Frozen() {
			return up
		}
	}
	return nil
}

// leavePlace gives back what the connection holds of its cluster's limit.
func (u *upConn) leavePlace() {
	u.place.Give()
	u.place = nil
}
