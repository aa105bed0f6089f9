package proxy

import (
	"net/netip"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// Bounds of what one loop keeps of requests that are delayed or may be sent again. What does not fit is sent once, at once.
const (
	maxCallFrame = 1 << 20
	maxCallBytes = 32 << 20
)

// call is a Bolt or Dubbo request that is delayed, or that may be sent again. Those that wait are sent when a handover begins; those
// that were sent move with their connection.
type call struct {
	kept
	w      *worker
	timer  loop.Timer
	at     *waiting       // where it waits for its answer; nil while it is not sent
	second *waiting       // where else; see call_hedge.go
	hope   uint32         // names what it hopes for; another number, another hope
	hopes  bool           // to send a second try when a connection opens
	by     time.Duration  // when it times out; 0 before its first try
	tries  int            // that have failed
	failed netip.AddrPort // the endpoint of the last one
	part   part
	next   *call // while it is free
}

// holds says that a request is kept as a call.
func (w *worker) holds(to *goal, f rpcFrame) bool {
	return (to.delay > 0 || to.retry() != nil && f.kind != rpcOneway) && len(f.raw) <= maxCallFrame && w.callBytes <= maxCallBytes
}

// newCall keeps a request.
func (w *worker) newCall(d *downstream, f rpcFrame, to goal) *call {
	c := w.freeCalls
	if c == nil {
		c = &call{w: w}
		c.timer.Owner = c
	} else {
		w.freeCalls, c.next = c.next, nil
	}
	c.kept = w.keep(d, f, to)
	c.to.call = c
	w.callBytes += c.size()
	if to.retry() != nil {
		c.part.open(to.route.plan.budget)
	}
	return c
}

// hold keeps a request, and sends it after its delay.
func (w *worker) hold(d *downstream, f rpcFrame, to goal) {
	c := w.newCall(d, f, to)
	if to.delay == 0 || w.moving {
		c.try()
		return
	}
	c.rest(to.delay)
}

// rest lets the call wait.
func (c *call) rest(d time.Duration) {
	c.w.calls[c] = struct{}{}
	c.w.loop.Start(&c.timer, d)
}

// Expire goes on after a rest, or gives a try up that takes too long.
func (c *call) Expire() {
	v := c.at
	if v == nil {
		c.try()
		return
	}
	if r := c.to.retry(); r != nil && r.Hedge {
		c.hedge(r)
		return
	}
	if c.w.moving { // whoever has the request afterwards decides; its clock begins anew when its connection moves
		c.w.loop.Start(&c.timer, loop.Tick)
		return
	}
	v.claim.tell(upstream.OutcomeGateway, c.w.loop.Now())
	v.up.cluster.count.Timeouts++
	if r := c.to.retry(); !c.again(r.WantsSlow(), true) {
		v.timedOut() // as if the whole request had
		return
	}
	v.elsewhere()
	v.done()
	c.w.loop.Start(&v.timer, lateFor)
}

// try sends the call.
func (c *call) try() {
	w := c.w
	delete(w.calls, c)
	w.loop.Cancel(&c.timer)
	f, err := keptFrame(c.frame)
	if err != nil || c.unwanted(f) {
		w.unheard(&c.kept)
		return
	}
	now := w.loop.Now()
	if c.by == 0 {
		c.by = now + c.to.timeout
	}
	if c.to.cluster != nil && c.to.cluster.retired {
		c.to = w.reroute(c.down, f, c.to)
	}
	to := c.to
	if now >= c.by {
		to.why = FailTimeout
		w.refuse(c.down, f, &to)
		return
	}
	w.dispatch(c.down, f, to)
}

// sent notes where the call waits now.
func (c *call) sent(v *waiting, to *goal) {
	if c.at != nil {
		c.second = v
	} else {
		c.at = v
	}
	c.to.attempts = to.attempts
	c.watch()
}

// watch bounds the try that the call is in.
func (c *call) watch() {
	if r := c.to.retry(); r != nil && r.PerTry > 0 {
		c.w.loop.Start(&c.timer, r.PerTry)
	}
}

// again lets the call be tried once more, if that is wanted and allowed: after a pause, but at once while connections move, since
// what rests does not move. processed says that the endpoint may have done what it was asked. The call does not belong to where
// it waited any more then.
func (c *call) again(wanted, processed bool) bool {
	w, r := c.w, c.to.retry()
	c.unhope()
	if r == nil || !wanted || processed && !r.AnyMethod || c.to.attempts <= 1 || c.down.gone {
		return false
	}
	if !w.spend(r, &c.part, &c.retry, c.to.limits()) {
		return false
	}
	w.retried(c.at.up.cluster, c.to.span)
	c.to.attempts--
	c.tries++
	c.failed, c.at = c.at.up.host.Addr, nil
	if w.moving {
		c.try()
		return true
	}
	c.rest(min(c.to.route.plan.pause(c.tries+1), max(c.by-w.loop.Now(), 0)))
	return true
}

// againAfter is again for an answer with a status to the try v. A server that is busy has not processed the request.
func (c *call) againAfter(v *waiting, f rpcFrame) bool {
	r := c.to.retry()
	if f.outcome == upstream.OutcomeOK || r == nil {
		return false
	}
	wanted := r.Wants(f.httpStatus())
	return wanted && c.without(v) || c.again(wanted, !f.busy())
}

// againLost is again for the try v, whose connection has ended.
func (c *call) againLost(v *waiting) bool {
	r := c.to.retry()
	return r != nil && (c.without(v) || c.again(r.WantsReset(), true))
}

// end forgets the call; nil is none.
func (c *call) end() {
	if c == nil {
		return
	}
	w := c.w
	w.loop.Cancel(&c.timer)
	delete(w.calls, c)
	c.part.close()
	c.release()
	w.callBytes -= c.size()
	w.loop.Pool().Give(c.frame)
	*c = call{w: w, next: w.freeCalls, hope: c.hope + 1}
	c.timer.Owner = c
	w.freeCalls = c
}

// hurryCalls sends all calls that rest: they do not move.
func (w *worker) hurryCalls() {
	for c := range w.calls {
		c.try()
	}
}

// reroute decides again for a request whose cluster has gone.
func (w *worker) reroute(d *downstream, f rpcFrame, old goal) goal {
	to := w.goal(d, f)
	to.attempts = min(to.attempts, old.attempts)
	to.route, to.account, to.call, to.span, to.mirror = old.route, old.account, old.call, old.span, nil
	return to
}

// left is how long the goal's request may still take.
func (g *goal) left(now time.Duration) time.Duration {
	if g.call == nil {
		return g.timeout
	}
	return max(g.call.by-now, loop.Tick)
}

// missed takes an attempt off that has not reached an endpoint.
func (g *goal) missed() {
	g.attempts--
	if r := g.retry(); r != nil && r.On&config.RetryConnect == 0 {
		g.attempts = 0
	}
}

// failed is the endpoint that has just failed the goal's request, if one has.
func (g *goal) failed() (at netip.AddrPort) {
	if g.call != nil {
		at = g.call.failed
	}
	return at
}

// pickOther picks an endpoint, but not the one that has just failed as long as there is another.
// What is placed by a hash is placed by the hash of that then.
func pickOther[C any](c *upstream.Cluster[C], now time.Duration, hash uint64, failed netip.AddrPort) *upstream.Host[C] {
	h := c.PickFor(now, hash)
	for n := c.Len(); n > 1 && failed.IsValid() && h != nil && h.Addr == failed; n-- {
		if hash != 0 {
			hash = mix(hash)
		}
		h = c.PickFor(now, hash)
	}
	return h
}
