package proxy

import (
	"bytes"
	"net/netip"
	"strconv"
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
	default:
		x.fail(int(to.status), to.why)
	}
	return true
}

// again gives the try up that x is in, and lets it be sent once more, if that is wanted and allowed.
func (x *exchange) again(wanted bool) bool {
	w, r := x.client.w, x.goal.retry()
	if r == nil || !wanted || !x.repeat || x.answered || x.attempt >= x.attempts {
		return false
	}
	if !x.turn.part.again(r) {
		w.count.RetriesDenied++
		return false
	}
	if !x.takeRetry() {
		return false
	}
	x.claim.leave()
	w.count.Retried++
	x.cluster.count.Retries++
	if up := x.up; up != nil {
		x.turn.failed = up.host.Addr
		x.up, up.x = nil, nil
		up.conn.Close(nil)
	}
	x.sent = false
	x.turn.start(x, turnRest, x.goal.route.plan.pause(x.attempt+1))
	return true
}

// againAfter is again for an answer whose head is res and behind which rest has come. Nothing of it has been passed on. A
// connection that may serve again does, when all of the answer is here.
func (x *exchange) againAfter(res *http1.Response, rest []byte) bool {
	r := x.goal.retry()
	if r == nil || res.Interim() || !r.Wants(res.Status) {
		return false
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

// maxRetryBody is the largest body that is kept to be sent again; all of it has to be there with the head.
const maxRetryBody = 64 << 10

// stop cancels what x is about to do.
func (x *exchange) stop() {
	w := x.client.w
	w.loop.Cancel(&x.timer)
	w.loop.Cancel(&x.turn.timer)
}

// forward makes the head, of n bytes as it came, as it goes on.
func (x *exchange) forward(req *http1.Request, n int) {
	f, room := http1.Forward{}, n+64
	if p := x.edits(); p != nil {
		req.Edit(p.request)
		f.Authority, f.Rewrite = p.edit.Host, rewrite(req, p.edit.Prefix, p.edit.With)
		room += p.room
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

// rewrite replaces the prefix of a request's path; an empty one is all of the path.
func rewrite(req *http1.Request, prefix, with string) http1.Rewrite {
	path := req.Target.Path
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	switch {
	case with == "":
		return http1.Rewrite{}
	case prefix == "":
		return http1.Rewrite{Cut: len(path), With: with}
	case len(path) == 0 && prefix == "/":
		return http1.Rewrite{With: with}
	case len(path) < len(prefix) || string(path[:len(prefix)]) != prefix:
		return http1.Rewrite{}
	}
	return http1.Rewrite{Cut: len(prefix), With: with}
}

// redirect answers a request with another address. What names no scheme keeps the client's, as a reference that is relative
// to the request's own address (RFC 3986 section 4.2).
func (x *exchange) redirect(req *http1.Request, r *config.Redirect) {
	w := x.client.w
	w.count.Failed[FailRule]++
	x.flag, x.code = FlagOf(FailRule), CodeOf(r.Status)
	at := w.location[:0]
	if r.Scheme != "" {
		at = append(append(at, r.Scheme...), ':')
	}
	if r.Scheme != "" || r.Host != "" || r.Port != 0 {
		host, port := req.Target.Authority, []byte(nil)
		if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 {
			host, port = host[:i], host[i:]
		}
		at = append(at, "//"...)
		if r.Host != "" {
			host, port = nil, nil
			at = append(at, r.Host...)
		}
		at = append(at, host...)
		switch {
		case r.Port != 0:
			at = strconv.AppendUint(append(at, ':'), uint64(r.Port), 10)
		case r.Scheme == "": // another scheme has another port
			at = append(at, port...)
		}
	}
	path := req.Target.Path
	if len(path) == 0 || path[0] != '/' {
		at = append(at, '/')
	}
	if i := bytes.IndexByte(path, '?'); i >= 0 && r.DropQuery {
		path = path[:i]
	}
	if by := rewrite(req, r.Prefix, r.With); by.With != "" {
		if len(req.Target.Path) == 0 || req.Target.Path[0] != '/' {
			at = at[:len(at)-1]
		}
		at = by.Append(at, path)
	} else {
		at = append(at, path...)
	}
	w.location = at
	x.answer(func(dst []byte, closing bool) []byte {
		return http1.AppendRedirect(dst, r.Status, at, x.Minor, closing)
	})
}
