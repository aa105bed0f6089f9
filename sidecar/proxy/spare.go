package proxy

// spare returns a connection to any endpoint of a cluster that may open no more; nil when there is none.
func (w *worker) spare(c *cluster) *upConn {
	var best *upConn
	for _, h := range c.Hosts() {
		for _, up := range h.Conns {
			if best == nil || up.load() < best.load() {
				best = up
			}
		}
	}
	return best
}

// open returns a connection that is here and open: to first, which may be nil, or to any other endpoint.
func (c *cluster) open(first *host) *upConn {
	if first != nil {
		if up := openOf(first); up != nil {
			return up
		}
	}
	for _, h := range c.Hosts() {
		if up := openOf(h); up != nil {
			return up
		}
	}
	return nil
}

func openOf(h *host) *upConn {
	for _, up := range h.Conns {
		if up.conn.Open() && !up.conn.Frozen() {
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
