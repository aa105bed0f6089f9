package proxy

import (
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
)

// A request whose route has retries is kept until its answer begins: its head, and what has come of its body, up to
// maxRetryBody. What is kept is sent again; what comes afterwards follows it, so that a stream whose endpoint has not looked at it
// may be sent again, too. What does not fit is sent once.

// http2Kept is how much of requests one loop keeps.
const http2Kept = 16 << 20

// http2Keep is what is kept of a request so that it can be sent again. Its head is the exchange's.
type http2Keep struct {
	on   bool // all that has come is here
	body []byte
	size int // of http2Loop.kept
}

// keepHead keeps the head of a request that is about to be sent.
func (x *http2Exchange) keepHead(f *http2.Fields) {
	if !x.kept.on || x.head != nil {
		return
	}
	if !x.keepFields(f) {
		x.unkeep()
		return
	}
	if x.charge(len(x.head)); !x.kept.on {
		x.forget()
	}
}

// keep keeps what has come of a body.
func (x *http2Exchange) keep(data []byte) {
	if !x.kept.on || len(data) == 0 {
		return
	}
	if len(x.kept.body)+len(data) > maxRetryBody {
		x.unkeep()
		return
	}
	if x.charge(len(data)); x.kept.on {
		x.kept.body = x.w.loop.Pool().Append(x.kept.body, data)
	}
}

// charge accounts for n bytes, or keeps nothing when there is no room.
func (x *http2Exchange) charge(n int) {
	if x.w.http2.kept+n > http2Kept {
		x.unkeep()
		return
	}
	x.w.http2.kept += n
	x.kept.size += n
}

// unkeep forgets what was kept; a head that is still to be sent stays.
func (x *http2Exchange) unkeep() {
	w, k := x.w, &x.kept
	w.http2.kept -= k.size
	w.loop.Pool().Give(k.body)
	*k = http2Keep{}
	if x.sent != nil {
		x.forget()
	}
}

// http2Wake is what an exchange is about to do by itself besides its timeout.
type http2Wake struct {
	x     *http2Exchange
	rests bool // before another try; else the endpoint may take so long
	timer loop.Timer
}

func (k *http2Wake) start(rests bool, d time.Duration) {
	k.rests = rests
	k.x.w.loop.Start(&k.timer, d)
}

// Expire takes the next step.
func (k *http2Wake) Expire() {
	x := k.x
	if k.rests {
		x.connect(nil)
		return
	}
	r := x.goal.retry()
	if r != nil && r.Hedge {
		x.hedge(r)
		return
	}
	x.failed()
	x.cluster.count.Timeouts++
	if r == nil || !x.again(r.WantsSlow(), true) {
		x.fail(httpTimeout, FailTimeout)
	}
}

// watchTry bounds the try that the exchange is in.
func (x *http2Exchange) watchTry() {
	if r := x.goal.retry(); r != nil && r.PerTry > 0 && x.sent != nil && !x.answered {
		x.wake.start(false, r.PerTry)
	}
}

// again gives the try up that x is in, and lets it be sent once more, if that is wanted and allowed. processed says that the
// endpoint may have done what it was asked. The later of two tries counts when it is sent.
func (x *http2Exchange) again(wanted, processed bool) bool {
	if !x.may(wanted, processed) {
		return false
	}
	if x.first == nil {
		x.w.retried(x.cluster, x.goal.span)
	}
	x.rewind()
	x.wake.start(true, x.goal.route.plan.pause(x.attempt+1))
	return true
}

// may says that the request may be sent once more, and takes what that costs.
func (x *http2Exchange) may(wanted, processed bool) bool {
	r := x.goal.retry()
	if r == nil || !wanted || !x.kept.on || x.answered || processed && !x.repeat || x.attempt >= x.attempts {
		return false
	}
	return x.w.spend(r, &x.part, &x.claim.retry, x.cluster.limits.Of(x.goal.priority))
}

// refusedByPeer is again for a stream that its endpoint has not looked at (RFC 9113 section 8.7): sending it again is safe
// whatever it is.
func (x *http2Exchange) refusedByPeer() bool { return x.again(true, false) }

// lost is again for a stream that has ended without an answer.
func (x *http2Exchange) lost() bool {
	r := x.goal.retry()
	return r != nil && x.again(r.WantsReset(), true)
}

// againAfter is again for an answer whose head is f, of which nothing has been passed on. What gRPC answers is in its trailers:
// only when there is nothing else it is known in time.
func (x *http2Exchange) againAfter(f *http2.Fields, status int, end bool) bool {
	return x.wants(f, status, end) && (x.fallBack() || x.again(true, true))
}

// wants says that such an answer is one to retry on.
func (x *http2Exchange) wants(f *http2.Fields, status int, end bool) bool {
	r := x.goal.retry()
	if r == nil || !x.kept.on {
		return false
	}
	if x.grpc && status == 200 {
		verdict, ok, _ := f.Values("grpc-status")
		if !ok || !end {
			return false
		}
		status = grpcRetryStatus(verdict)
	}
	return r.Wants(status)
}

// grpcRetryStatus is the HTTP status that a grpc-status is taken for where retries are decided, 0 for those that are never
// retried. They are those that Envoy's retry policies know: cancelled, deadline-exceeded, internal, resource-exhausted,
// unavailable; what a server says about the request itself stays its answer.
func grpcRetryStatus(verdict []byte) int {
	switch string(verdict) {
	case "1": // cancelled; as clients that have left are counted elsewhere
		return 499
	case "4": // deadline exceeded
		return httpTimeout
	case "8": // resource exhausted
		return httpTooMany
	case "13": // internal
		return 500
	case "14": // unavailable
		return httpUnavailable
	}
	return 0
}

// rewind takes the request from its endpoint, ready to be sent from its beginning.
func (x *http2Exchange) rewind() {
	up := x.up
	x.restart()
	x.w.loop.Cancel(&x.wake.timer)
	x.claim.leave()
	x.avoid = up.host.Addr
	x.leaveEndpoint(http2.Cancel)
	up.proto.Recycle(x.sent)
	x.up, x.sent = nil, nil
	up.next()
}

// restart has the request's body sent from its beginning. What of it was granted to the client is not granted again.
func (x *http2Exchange) restart() {
	w, p := x.w, &x.request
	credited := len(x.kept.body) - (len(p.buf) - p.at) + p.prepaid
	trailers := p.trailers
	p.drop()
	p.setTrailers(trailers)
	p.done, p.prepaid = false, credited
	if len(x.kept.body) > 0 {
		p.buf, p.moved = w.loop.Pool().Append(nil, x.kept.body), w.loop.Now()
		w.http2.held += len(p.buf)
	}
}

// reconnects says that a request may be tried elsewhere whose connection could not be opened.
func (x *http2Exchange) reconnects() bool {
	r := x.goal.retry()
	return r == nil || r.On&config.RetryConnect != 0
}
