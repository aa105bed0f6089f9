package proxy

import (
	"time"

	"github.com/axlemesh/axle/sidecar/accesslog"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// account is where the end of one request is counted, and logged. It goes with the request from place to place; whoever
// has the request at its end ends it. The zero value counts nothing.
type account struct {
	tally *tally           // nil once it has ended
	began time.Duration    // when the request came
	line  *accesslog.Entry // nil when it is not logged
}

// enter makes the account of a request that comes from a listener and whose goal is decided.
func (w *worker) enter(to *goal, from *config.Listener, s Spoken) {
	all := w.tallies[NoRoute]
	switch {
	case to.route != nil:
		all = to.route.tallies
	case to.cluster != nil:
		all = w.straightTallies(to.cluster)
	}
	to.account = account{tally: all.at(from.Direction, s), began: w.loop.Now()}
}

// end counts how the request has ended, once.
func (a *account) end(w *worker, code Code, flag Flag) { a.endAt(w, w.loop.Now(), code, flag) }

// endAt likewise, for a request that ended then.
func (a *account) endAt(w *worker, now time.Duration, code Code, flag Flag) {
	if a.tally == nil {
		return
	}
	a.tally.add(code, flag, now-a.began)
	if a.line != nil {
		w.finishLine(a, now, code, flag)
	}
	a.tally = nil
}

// forget gives the account up: somebody else ends it.
func (a *account) forget() { *a = account{} }

// ended counts the end of a request of Bolt or Dubbo. That its client has gone is worse than what came of it.
func (v *waiting) ended(code Code, flag Flag) {
	v.up.w.stray(v.down, &v.account, code, flag)
	if v.down == nil || v.down.gone {
		flag = FlagClientGone
	}
	v.end(v.up.w, code, flag)
	v.route = nil
}

// elsewhere says that the request goes on as a call: its end is not here.
func (v *waiting) elsewhere() {
	v.call, v.route, v.span = nil, nil, nil
	v.forget()
}

// code is a response's own status.
func (r rpcFrame) code() Code { return CodeOf(r.status()) }

// failureCode is the status of our own answer to a request.
func (r rpcReply) failureCode(why Failure) Code {
	if r.protocol == config.Dubbo {
		return CodeOf(int(dubboFailures[why].status))
	}
	return CodeOf(int(boltFailures[why]))
}

// statusCode is that of an answer with an HTTP status.
func (r rpcReply) statusCode(status int) Code {
	if r.protocol == config.Dubbo {
		return CodeOf(int(dubboStatus(status)))
	}
	return CodeOf(int(boltStatus(status)))
}

// refused counts a request of d that is answered here for the goal's reason.
func (g *goal) refused(w *worker, d *downstream, f rpcFrame) {
	code := Code(0)
	switch {
	case f.kind == rpcOneway:
	case g.why == FailLimit || g.why == FailFault:
		code = f.reply.statusCode(int(g.status))
	default:
		code = f.reply.failureCode(g.why)
	}
	if f.kind != rpcOneway {
		w.stray(d, &g.account, code, FlagOf(g.why))
	}
	g.account.end(w, code, FlagOf(g.why))
}

// ended counts the end of the exchange, once, and what it had of a budget is free again.
func (x *exchange) ended(flag Flag) {
	if x.flag == FlagNone {
		x.flag = flag
	}
	x.goal.account.end(x.client.w, x.code, x.flag)
	x.turn.part.close()
}

// ended likewise.
func (x *http2Exchange) ended(flag Flag) {
	x.blame(flag)
	x.goal.account.end(x.w, x.code, x.flag)
	x.part.close()
}

// spoken is what the exchange is in metrics.
func (x *http2Exchange) spoken() Spoken {
	if x.grpc {
		return SpokenGRPC
	}
	return SpokenHTTP2
}

// blame says what is wrong with the exchange; what was said first stays.
func (x *http2Exchange) blame(flag Flag) {
	if x.flag == FlagNone {
		x.flag = flag
	}
}

// answeredWith notes the status of an answer: of gRPC its own, where the HTTP status says more than that it is in the fields.
func (x *http2Exchange) answeredWith(status int) {
	switch {
	case !x.grpc:
		x.code = CodeOf(status)
	case status != 200:
		x.code = CodeOf(grpcStatus(status))
	}
}

// unreached counts an attempt to connect to an endpoint of c that failed, and lets the endpoint rest.
func (c *cluster) unreached(p *upstream.Peer, now time.Duration) {
	c.count.ConnectFailures++
	p.Failed(now)
}
