package proxy

import (
	"time"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/codec/dubbo"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// Overflow names the limit of a cluster that was reached.
type Overflow int8

// Overflows.
const (
	OverConnections Overflow = iota
	OverPending
	OverRequests
	OverRetries
	OverAdaptive
	overflows
)

// String is the limit's label in metrics.
func (o Overflow) String() string {
	return [overflows]string{"connections", "pending", "requests", "retries", "adaptive"}[o]
}

// Overflows lists all of them.
func Overflows() []Overflow {
	return []Overflow{OverConnections, OverPending, OverRequests, OverRetries, OverAdaptive}
}

// take takes a place of a cluster's limit, and counts when there is none.
func (w *worker) take(l *upstream.Limit, over Overflow) bool {
	if l.Take() {
		return true
	}
	w.count.Overflow[over]++
	return false
}

// occupy takes a place for who has none yet, to keep. False when the limit is reached.
func (w *worker) occupy(place **upstream.Limit, l *upstream.Limit, over Overflow) bool {
	if *place != nil {
		return true
	}
	if !w.take(l, over) {
		return false
	}
	*place = l
	return true
}

// claim is what one request holds: places in the limits of its cluster, and one at the endpoint that it was sent to. The zero
// value holds nothing; whoever forgets a request releases its claim.
type claim struct {
	request, pending, retry *upstream.Limit
	adaptive                *upstream.Adaptive
	admitted                bool // as a request, whether anything limits those or not

	peer  *upstream.Peer
	sent  time.Duration
	took  time.Duration // to the head of the answer, where the outcome comes later; else 0
	told  bool          // the outcome
	moved bool          // from another process: nobody knows when it was sent
}

// place says where the request was sent.
func (c *claim) place(p *upstream.Peer, now time.Duration) {
	c.leave()
	p.Begin()
	c.peer, c.sent, c.took, c.told, c.moved = p, now, 0, false, false
}

// admit takes a place for a request of a cluster, for as long as it is open there.
func (w *worker) admit(c *claim, of *cluster, p config.Priority) bool {
	l := of.limits.Of(p)
	if !w.take(l.Requests, OverRequests) {
		return false
	}
	if !l.Adaptive.Take(p) {
		l.Requests.Give()
		w.count.Overflow[OverAdaptive]++
		return false
	}
	c.request, c.adaptive, c.admitted = l.Requests, l.Adaptive, true
	return true
}

// adopt takes a place for a connection that came from another process, over the limit or not: it was admitted there.
func (c *claim) adopt(l *upstream.Limit) {
	l.Force()
	c.request = l
}

// readmit is adopt for a request.
func (c *claim) readmit(of *cluster, p config.Priority) {
	l := of.limits.Of(p)
	c.adopt(l.Requests)
	l.Adaptive.Force()
	c.adaptive, c.admitted = l.Adaptive, true
}

// stay is place for a request that another process had sent.
func (c *claim) stay(p *upstream.Peer) {
	c.place(p, 0)
	c.moved = true
}

// leave ends the request's stay at its endpoint.
func (c *claim) leave() {
	if c.peer != nil {
		c.peer.End()
		c.peer = nil
	}
}

// heard says that the answer begins, whose outcome is not known yet: what comes between is not the endpoint's latency.
func (c *claim) heard(now time.Duration) { c.took = max(now-c.sent, 1) }

// tell reports the request's outcome to its endpoint, once.
func (c *claim) tell(o upstream.Outcome, now time.Duration) {
	if c.peer == nil || c.told {
		return
	}
	c.told = true
	took := c.took
	switch {
	case c.moved:
		took = 0
	case took == 0:
		took = max(now-c.sent, 1)
	}
	c.peer.Report(o, now, took)
	c.adaptive.Observe(took, now, o == upstream.OutcomeOK)
}

// release gives everything back; nothing is told.
func (c *claim) release() {
	c.leave()
	c.request.Give()
	c.pending.Give()
	c.retry.Give()
	c.adaptive.Give()
	*c = claim{}
}

// waited says that the request has a connection now.
func (c *claim) waited() {
	c.pending.Give()
	c.pending = nil
}

// boltOutcome says what a status means for the endpoint. An application's exceptions come with StatusOK.
func boltOutcome(s bolt.Status) upstream.Outcome {
	switch s {
	case bolt.StatusOK:
		return upstream.OutcomeOK
	case bolt.StatusServerBusy, bolt.StatusCommunication, bolt.StatusTimeout, bolt.StatusClosed:
		return upstream.OutcomeGateway
	}
	return upstream.OutcomeError
}

// dubboOutcome likewise; an application's exceptions come with its StatusOK, too.
func dubboOutcome(s dubbo.Status) upstream.Outcome {
	switch s {
	case dubbo.StatusOK:
		return upstream.OutcomeOK
	case dubbo.StatusServerTimeout, dubbo.StatusChannelInactive, dubbo.StatusExhausted:
		return upstream.OutcomeGateway
	}
	return upstream.OutcomeError
}

// httpOutcome likewise.
func httpOutcome(status int) upstream.Outcome {
	switch {
	case status == httpBadGateway || status == httpUnavailable || status == httpTimeout:
		return upstream.OutcomeGateway
	case status >= 500:
		return upstream.OutcomeError
	}
	return upstream.OutcomeOK
}

// share makes ready what all loops know of the clusters of a snapshot. What no snapshot names any more is forgotten when
// nothing of it is counted.
func (e *Engine) share(s *config.Snapshot) map[string]*upstream.Shared {
	for name, known := range e.shared {
		if s.Clusters[name] == nil && known.Idle() {
			delete(e.shared, name)
		}
	}
	all := make(map[string]*upstream.Shared, len(s.Clusters))
	for name, cfg := range s.Clusters {
		known := e.shared[name]
		if known == nil {
			known = &upstream.Shared{Ejected: &e.ejected}
			e.shared[name] = known
		}
		known.Apply(cfg, e.options.Zone, e.seed)
		e.restoreAdaptive(name, known.Adaptive())
		all[name] = known
	}
	return all
}

// place is where a loop's view of a cluster stands.
func (w *worker) place(s *upstream.Shared) upstream.Place {
	salt := uint64(w.engine.options.Generation)<<8 ^ uint64(w.index)
	return upstream.Place{Shared: s, Zone: w.engine.options.Zone, Salt: mix(salt)}
}

// view is a loop's view of the cluster for another kind of connection.
func view[C any](c *cluster) *upstream.Cluster[C] {
	v := &upstream.Cluster[C]{Place: c.Place}
	v.Update(c.Config, c.seed)
	return v
}
