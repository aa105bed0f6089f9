package proxy

import "github.com/axlemesh/axle/sidecar/codec/http2"

// Of what a route does besides sending a request on, HTTP/2 has faults, limits and counts. A request that was sent is not sent
// again: only what has reached no endpoint is tried elsewhere.

// unsuited refuses a request whose route changes or redirects what it takes: that is made for HTTP/1 only.
func (x *http2Exchange) unsuited(to *goal) {
	if to.route == nil || to.route.plan == nil {
		return
	}
	if p := to.route.plan; p.edit != nil && to.cluster != nil || p.redirect != nil {
		to.end(httpNotImplemented, FailRule)
	}
}

// postpone keeps a request for as long as a fault delays it.
func (x *http2Exchange) postpone(f *http2.Fields) {
	x.head = f.AppendBinary(x.w.loop.Pool().Take(1 << 10))
	if x.delayed = true; x.cluster == nil {
		x.spoilt = x.goal.status
	}
	x.w.loop.Start(&x.timer, x.goal.delay)
}

// proceed goes on behind a delay.
func (x *http2Exchange) proceed() {
	x.delayed = false
	if x.spoilt != 0 {
		x.fail(int(x.spoilt), FailFault)
		return
	}
	x.admit(nil)
}

// hurry ends a delay before the request moves: the next owner sends it.
func (x *http2Exchange) hurry() {
	if !x.delayed {
		return
	}
	x.w.loop.Cancel(&x.timer)
	switch c := x.cluster; {
	case x.spoilt != 0:
		x.fail(int(x.spoilt), FailFault)
	case !x.w.take(c.limits.Requests, OverRequests):
		x.fail(httpUnavailable, FailBusy)
	default:
		x.delayed, x.left, x.claim.request = false, x.timeout, c.limits.Requests
	}
}
