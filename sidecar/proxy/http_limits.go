package proxy

import (
	"slices"

	"github.com/axlemesh/axle/sidecar/upstream"
)

// mayRetry takes a place for an exchange that is tried again, which it keeps until it ends.
func (x *exchange) mayRetry() bool {
	return x.attempt < 2 || x.takeRetry()
}

func (x *exchange) takeRetry() bool {
	return x.client.w.occupy(&x.claim.retry, x.cluster.limits.Of(x.goal.priority).Retries, OverRetries)
}

// mayWait takes a place for an exchange that waits for a connection.
func (x *exchange) mayWait() bool {
	return x.client.w.occupy(&x.claim.pending, x.cluster.limits.Of(x.goal.priority).Pending, OverPending)
}

// reuse sends the request on a connection to h that rests.
func (x *exchange) reuse(h *webHost) bool {
	last := len(h.Conns) - 1
	if last < 0 {
		return false
	}
	up := h.Conns[last]
	h.Conns = h.Conns[:last]
	x.client.w.loop.Cancel(&up.idle)
	x.up, up.x, up.used = up, x, true
	x.send()
	return true
}

// spare sends the request on a connection to any endpoint, when the cluster may open no more.
func (x *exchange) spare(hosts *upstream.Cluster[*httpConn]) bool {
	x.client.w.count.Overflow[OverConnections]++
	return slices.ContainsFunc(hosts.Hosts(), x.reuse)
}
