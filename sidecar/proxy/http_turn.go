package proxy

import (
	"net/netip"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// turn is what an exchange is about to do by itself. There is one thing at a time.
type turn struct {
	x      *exchange
	kind   turnKind
	timer  loop.Timer
	abort  int16          // status of the answer behind a delay; 0 sends the request
	failed netip.AddrPort // the endpoint that has failed the request last
	part   part
}

type turnKind uint8

const (
	turnDelay turnKind = iota + 1 // a fault's
	turnRest                      // before another try
	turnTry                       // the endpoint may take so long
)

func (t *turn) start(x *exchange, kind turnKind, d time.Duration) {
	t.x, t.kind, t.timer.Owner = x, kind, t
	x.client.w.loop.Start(&t.timer, d)
}

// Expire takes the turn.
func (t *turn) Expire() {
	x := t.x
	switch t.kind {
	case turnDelay:
		x.proceed()
	case turnRest:
		x.connect()
	case turnTry:
		if r := x.goal.retry(); r != nil && r.Hedge {
			x.hedge(r)
			return
		}
		x.claim.tell(upstream.OutcomeGateway, x.client.w.loop.Now())
		x.cluster.count.Timeouts++
		if r := x.goal.retry(); !x.again(r.WantsSlow()) {
			x.fail(httpTimeout, FailTimeout)
		}
	}
}

// proceed goes on behind a delay.
func (x *exchange) proceed() {
	if status := int(x.turn.abort); status != 0 {
		x.fail(status, FailFault)
		return
	}
	x.limit(x.goal.timeout)
	x.connect()
}

// refused answers a request that its goal sends nowhere. It returns false when the goal has a cluster, or a delay comes first.
func (x *exchange) refused(req *http1.Request, to *goal) bool {
	switch {
	case to.cluster != nil:
		return false
	case to.delay > 0:
		x.turn.abort = to.status
		return false
	case to.why == FailRule && to.route.plan != nil && to.route.plan.redirect != nil:
		x.redirect(req, to.route.plan.redirect)
	case to.why == FailShed:
		x.shed()
	default:
		x.fail(int(to.status), to.why)
	}
	return true
}

// shed answers a request that there is no room for now.
func (x *exchange) shed() {
	x.client.w.count.Failed[FailShed]++
	x.flag, x.code = FlagOf(FailShed), CodeOf(httpUnavailable)
	x.failSpan(FailShed.String(), httpUnavailable)
	x.drop()
	x.answer(func(dst []byte, closing bool) []byte {
		return http1.AppendRetryLater(dst, httpUnavailable, retryAfter, x.Minor, closing)
	})
}

// again gives the try up that x is in, and lets it be sent once more, if that is wanted and allowed.
func (x *exchange) again(wanted bool) bool {
	if !x.may(wanted) {
		return false
	}
	x.claim.leave()
	x.client.w.retried(x.cluster, x.goal.span)
	if up := x.up; up != nil {
		x.turn.failed = up.host.Addr
		x.up, up.x = nil, nil
		up.conn.Close(nil)
	}
	x.sent = false
	x.turn.start(x, turnRest, x.goal.route.plan.pause(x.attempt+1))
	return true
}

// may says that the request may be sent once more, and takes what that costs.
func (x *exchange) may(wanted bool) bool {
	r := x.goal.retry()
	if r == nil || !wanted || !x.repeat || x.answered || x.attempt >= x.attempts {
		return false
	}
	return x.client.w.spend(r, &x.turn.part, &x.claim.retry, x.cluster.limits.Of(x.goal.priority))
}

// againAfter is again for an answer whose head is res and behind which rest has come. Nothing of it has been passed on. A
// connection that may serve again does, when all of the answer is here.
func (x *exchange) againAfter(res *http1.Response, rest []byte) bool {
	r := x.goal.retry()
	if r == nil || res.Interim() || !r.Wants(res.Status) {
		return false
	}
	if x.fallBack() {
		return true
	}
	up := x.up
	body := res.Body
	n, err := body.Take(rest)
	clean := err == nil && body.Done() && n == len(rest) && res.Reusable()
	if !clean {
		return x.again(true)
	}
	x.up = nil // not to be closed
	if !x.again(true) {
		x.up = up
		return false
	}
	x.turn.failed = up.host.Addr
	up.x = nil
	up.rest()
	return true
}

// lost is the end of a connection that the request was sent on, without the whole answer.
func (x *exchange) lost() {
	x.claim.tell(upstream.OutcomeGateway, x.client.w.loop.Now())
	if r := x.goal.retry(); r == nil || !x.again(r.WantsReset()) {
		x.fail(httpBadGateway, FailUpstreamClosed)
	}
}

// reconnects says that a request may be tried elsewhere that has not reached its endpoint.
func (x *exchange) reconnects() bool {
	r := x.goal.retry()
	return r == nil || r.On&config.RetryConnect != 0
}

// whole keeps a small body that has come with the head behind it, where a route may send requests again. It returns how much
// of rest that is.
func (x *exchange) whole(req *http1.Request, rest []byte) int {
	r := x.goal.retry()
	if r == nil || !r.AnyMethod && !repeatable(req.Method) || x.Connect || x.Upgrade {
		return 0
	}
	body := x.request
	n, err := body.Take(rest)
	if err != nil || !body.Done() || n > maxRetryBody {
		return 0
	}
	x.head = x.client.w.loop.Pool().Append(x.head, rest[:n])
	x.request, x.repeat = body, true
	if e := x.goal.line; e != nil {
		e.In += uint64(n)
	}
	return n
}

// skip takes a body that has come whole with the head, and that nobody is going to read: the connection can go on then. It returns how
// much of rest that is.
func (x *exchange) skip(rest []byte) int {
	body := x.request
	n, err := body.Take(rest)
	if err != nil || !body.Done() {
		return 0
	}
	x.request = body
	if e := x.goal.line; e != nil {
		e.In += uint64(n)
	}
	return n
}

// maxRetryBody is the largest body that is kept to be sent again; all of it has to be there with the head.
const maxRetryBody = 64 << 10

// stop cancels what x is about to do.
func (x *exchange) stop() {
	w := x.client.w
	w.loop.Cancel(&x.timer)
	w.loop.Cancel(&x.turn.timer)
}

// forward makes the head, of n bytes as it came, as it goes on; traceparent is added, if there is one.
func (x *exchange) forward(req *http1.Request, n int, traceparent string) {
	f, room := http1.Forward{Traceparent: traceparent}, n+64+len(traceparent)
	if p := x.edits(); p != nil {
		req.Edit(p.request)
		f.Authority, f.Rewrite = p.edit.Host, rewrite(req.Target.Path, p.edit.Prefix, p.edit.With)
		if room += p.room; p.traces {
			f.Traceparent = ""
		}
	}
	x.head = req.AppendForward(x.client.w.loop.Pool().Take(room), &f)
}

// edits is the plan of the exchange's route, if that changes messages.
func (x *exchange) edits() *plan {
	if x.goal.route == nil || x.goal.route.plan == nil || x.goal.route.plan.edit == nil {
		return nil
	}
	return x.goal.route.plan
}

// redirect answers a request with another address.
func (x *exchange) redirect(req *http1.Request, r *config.Redirect) {
	w := x.client.w
	w.count.Failed[FailRule]++
	x.flag, x.code = FlagOf(FailRule), CodeOf(r.Status)
	x.statusSpan(r.Status)
	w.location = appendLocation(w.location[:0], r, req.Target.Authority, req.Target.Path)
	x.answer(func(dst []byte, closing bool) []byte {
		return http1.AppendRedirect(dst, r.Status, w.location, x.Minor, closing)
	})
}
