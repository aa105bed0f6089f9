package proxy

import (
	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/config"
)

// http2First is the earlier of two tries, once there is a later one, which is the exchange's own. Its endpoint has all of the
// request, and was told that it is slow. When it answers, or the later one fails, it is the exchange's again.
type http2First struct {
	x     *http2Exchange
	up    *http2Up
	sent  *http2.Stream
	claim claim
}

// hedge sends the request once more beside a try that takes too long, if that may be. An endpoint that has not even taken all of the
// request is given up, as without hedging.
func (x *http2Exchange) hedge(r *config.Retry) {
	w, now := x.w, x.w.loop.Now()
	if !x.request.end || !w.settled() {
		x.watchTry() // the client has the time that it takes to say what it wants
		return
	}
	x.claim.slow(x.cluster, now, x.goal.line)
	if !x.request.done {
		x.again(r.WantsSlow(), true)
		return
	}
	if x.first != nil || !x.may(r.WantsSlow(), true) {
		return
	}
	var second claim
	if !w.admit(&second, x.cluster, x.goal.priority) {
		return
	}
	first := &http2First{x: x, up: x.up, sent: x.sent, claim: x.claim.fork()}
	x.claim.join(&second)
	x.restart()
	x.first, x.sent.Owner, x.avoid = first, first, x.up.host.Addr
	x.up, x.sent = nil, nil
	x.connect(nil)
}

// unsent ends a try that finds no endpoint. A second one was none then.
func (x *http2Exchange) unsent(why Failure) {
	if x.first == nil {
		x.fail(httpUnavailable, why)
		return
	}
	x.attempt--
	x.fallBack()
}

// fallBack calls the later of two tries off, whatever has become of it, and waits for the earlier one; false when there is none.
func (x *http2Exchange) fallBack() bool {
	first := x.first
	if first == nil {
		return false
	}
	w, up, p := x.w, x.up, &x.request
	trailers := p.trailers
	p.drop()
	p.setTrailers(trailers)
	p.prepaid, p.done = 0, true
	switch {
	case up == nil:
	case x.sent == nil:
		up.unqueue(x)
	default:
		x.leaveEndpoint(http2.Cancel)
		up.proto.Recycle(x.sent)
	}
	x.up, x.sent, x.first = first.up, first.sent, nil
	x.sent.Owner = x
	x.claim.join(&first.claim)
	x.goal.answeredBy(x.goal.span, x.up.host.Addr, x.claim.sent)
	w.loop.Cancel(&x.wake.timer)
	x.watchTry()
	if up != nil {
		up.next()
	}
	return true
}

// won says that the exchange's own try has answered.
func (x *http2Exchange) won() {
	if x.first != nil {
		x.w.count.HedgesWon++
		x.first.drop()
	}
}

// event takes what the endpoint of the earlier try says.
func (f *http2First) event(t *http2.Turn) {
	x := f.x
	switch t.Kind {
	case http2.Headers:
		status := t.Fields.Status()
		switch {
		case status < 200: // an answer is to come
		case x.wants(&t.Fields, status, t.End):
			f.lost()
		default:
			x.fallBack()
			x.respond(&t.Fields, t.End)
		}
	case http2.Reset:
		f.lost()
	}
}

// lost drops a try that has failed. The other one is waited for, and not alone for ever; one that was not sent is a retry like any other.
func (f *http2First) lost() {
	x := f.x
	if x.sent == nil {
		x.w.retried(x.cluster, x.goal.span)
	}
	if f.drop(); !x.wake.timer.Armed() {
		x.watchTry()
	}
}

// drop calls the try off; nil is none.
func (f *http2First) drop() {
	if f == nil {
		return
	}
	f.x.first = nil
	f.up.reset(f.sent, http2.Cancel)
	f.sent.Owner = nil
	f.up.proto.Recycle(f.sent)
	f.claim.release()
	f.up.next()
}

// shrink leaves each request of the connection one try: the one that was sent. A second one that was not was none.
func (u *http2Up) shrink() {
	u.proto.Each(func(s *http2.Stream) {
		if f, _ := s.Owner.(*http2First); f != nil && f.x.sent == nil {
			f.x.attempt--
			f.x.fallBack()
		} else {
			f.drop()
		}
	})
}
