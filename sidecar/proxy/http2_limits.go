package proxy

// reach returns a connection to an endpoint of the exchange's cluster, open or not yet; nil, and why, when there is none to be had.
func (x *http2Exchange) reach() (*http2Up, Failure) {
	w := x.w
	for {
		if x.attempt++; x.attempt > x.attempts {
			return nil, FailConnect
		}
		if !x.mayRetry() {
			return nil, FailBusy
		}
		h := pickOther(x.cluster.streams(), w.loop.Now(), x.goal.hash, x.avoid)
		if h == nil {
			return nil, FailNoEndpoint
		}
		if up := w.http2To(x.cluster, h); up != nil {
			return up, 0
		}
		if x.cluster.limits.Connections.Full() {
			w.count.Overflow[OverConnections]++
			return x.cluster.spareHTTP2(), FailBusy
		}
	}
}

// mayRetry takes a place for an exchange that is tried again, which it keeps until it ends.
func (x *http2Exchange) mayRetry() bool {
	return x.attempt < 2 || x.takeRetry()
}

func (x *http2Exchange) takeRetry() bool {
	return x.w.occupy(&x.claim.retry, x.cluster.limits.Of(x.goal.priority).Retries, OverRetries)
}

// mayWait takes a place for an exchange that waits for a connection to open, or for a stream.
func (x *http2Exchange) mayWait() bool {
	return x.w.occupy(&x.claim.pending, x.cluster.limits.Of(x.goal.priority).Pending, OverPending)
}

// spareHTTP2 returns a connection to any endpoint of a cluster that may open no more; nil when there is none.
func (c *cluster) spareHTTP2() *http2Up {
	var best *http2Up
	for _, h := range c.streams().Hosts() {
		for _, up := range h.Conns {
			if best == nil || up.load() < best.load() {
				best = up
			}
		}
	}
	return best
}

// leavePlace gives back what the connection holds of its cluster's limit.
func (u *http2Up) leavePlace() {
	u.place.Give()
	u.place = nil
}
