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
	if x.claim.retry != nil {
		return true
	}
	l := x.cluster.limits.Of(x.goal.priority).Retries
	if !x.client.w.take(l, OverRetries) {
		return false
	}
	x.claim.retry = l
	return true
}

// mayWait takes a place for an exchange that waits for a connection.
func (x *exchange) mayWait() bool {
	if x.claim.pending != nil {
		return true
	}
	l := x.cluster.limits.Of(x.goal.priority).Pending
	if !x.client.w.take(l, OverPending) {
		return false
	}
	x.claim.pending = l
	return true
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
