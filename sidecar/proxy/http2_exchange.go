package proxy

import (
	"net/netip"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// http2Exchange is one request and its response: a stream of a client, and one of an endpoint's connection.
type http2Exchange struct {
	w        *worker
	client   *http2Client
	down     *http2.Stream // of the client
	cluster  *cluster
	up       *http2Up      // that it is sent on, or waits for
	sent     *http2.Stream // of up, once it was sent
	head     []byte        // of the request, written down while it waits
	request  http2Pipe
	response http2Pipe
	grpc     bool
	over     bool // it has ended; what calls it still does so for nothing
	gone     bool // the endpoint's side has ended in an earlier process
	answered bool // the response's head was passed on
	attempt  int
	attempts int
	goal     goal
	code     Code // of the answer
	flag     Flag // what is wrong
	claim    claim
	spoilt   int16         // status of the answer behind a delay; 0 sends the request
	delayed  bool          // the timer is a fault's
	repeat   bool          // the request may be sent again although it was processed
	timeout  time.Duration // 0 for none
	timer    loop.Timer
	left     time.Duration // of timer, while the connections are frozen
	wake     http2Wake
	kept     http2Keep
	part     part
	copy     *http2Copy     // for a mirror; nil for none
	avoid    netip.AddrPort // the endpoint that has failed the request last
	first    *http2First    // the earlier of two tries; nil when there is one
}

func (w *worker) newHTTP2Exchange(c *http2Client, s *http2.Stream) *http2Exchange {
	var x *http2Exchange
	if last := len(w.http2.spare) - 1; last >= 0 {
		x = w.http2.spare[last]
		w.http2.spare = w.http2.spare[:last]
	} else {
		x = &http2Exchange{}
	}
	*x = http2Exchange{w: w, client: c, down: s}
	x.timer.Owner, x.wake.x, x.wake.timer.Owner = x, x, &x.wake
	x.request.x, x.response.x, x.response.response = x, x, true
	s.Owner = x
	return x
}

// begin takes the head of a request.
func (x *http2Exchange) begin(f *http2.Fields) {
	w := x.w
	x.grpc = f.GRPC()
	to := x.decide(f)
	to.probe = w.engine.shedding.Load() > 0 && (string(f.Path()) == grpcHealthPath || probes(f.Method(), func(name string) ([]byte, bool) {
		value, ok, _ := f.Values(name)
		return value, ok
	}))
	if w.shape(&to, x.client.from, x.spoken()); w.log != nil {
		x.logHTTP2(&to, f)
	}
	if w.tracer != nil {
		w.tracer.stream(x, f, &to)
	}
	x.goal, x.cluster, x.timeout, x.attempts = to, to.cluster, to.timeout, int(to.attempts)
	if x.cluster != nil {
		x.prepare(f)
	}
	switch {
	case to.delay > 0:
		x.postpone(f)
	case x.cluster == nil:
		x.refused(f)
	default:
		x.admit(f)
	}
}

// admit sends a request on whose cluster has room for it. f is as in connect.
func (x *http2Exchange) admit(f *http2.Fields) {
	w := x.w
	if !w.admit(&x.claim, x.cluster, x.goal.priority) {
		x.fail(httpUnavailable, FailBusy)
		return
	}
	if x.timeout > 0 {
		w.loop.Start(&x.timer, x.timeout)
	}
	x.copied(f)
	x.connect(f)
}

// connect sends the request on a connection to an endpoint, or has it wait for one. f is its head, nil when it was kept.
func (x *http2Exchange) connect(f *http2.Fields) {
	up, why := x.reach()
	if x.up = up; up == nil {
		x.unsent(why)
		return
	}
	now := up.ready()
	if len(up.queue) >= http2Waiting || up.conn.Unsent() > http2Queue || !now && !x.mayWait() {
		x.up = nil
		x.unsent(FailBusy)
		return
	}
	switch {
	case now && f == nil:
		x.sendKept()
	case now:
		x.keepHead(f)
		x.send(f)
	default:
		if x.keepHead(f); x.head == nil && !x.keepFields(f) {
			x.up = nil
			x.fail(httpUnavailable, FailBusy)
			return
		}
		up.queue = append(up.queue, x)
		up.next()
	}
}

// send writes the head on an open connection with room; what has come of the body follows.
func (x *http2Exchange) send(f *http2.Fields) {
	up := x.up
	x.sent = up.proto.Open()
	x.sent.Owner = x
	up.used = x.w.loop.Now()
	x.claim.waited()
	x.claim.place(&up.host.Peer, up.used)
	x.cluster.requests++
	x.goal.span.SentTo(up.host.Addr)
	if e := x.goal.line; e != nil {
		logTries(e, x.cluster, up.host.Addr, up.used)
	}
	if x.first != nil {
		x.w.count.Hedged++
		x.w.retried(x.cluster, x.goal.span)
	}
	p := &x.request
	p.done = p.end && len(p.buf) == 0 && len(p.trailers) == 0
	x.watchTry()
	up.headers(x.sent, f, p.done)
	if len(p.buf) > 0 || p.end && !p.done {
		for p.flush() { // all that may go: the endpoint may have nothing to say that would let the rest follow
		}
	}
}

// sendKept sends a request that has waited.
func (x *http2Exchange) sendKept() {
	f := &x.w.http2.fields
	if _, err := f.Parse(x.head); err != nil {
		x.fail(httpBadGateway, FailConnect)
		return
	}
	if !x.kept.on {
		x.forget()
	}
	x.send(f)
}

// respond passes the head of a response on, or an interim one.
func (x *http2Exchange) respond(f *http2.Fields, end bool) {
	w := x.w
	status := f.Status()
	if status >= 200 {
		if x.claim.heard(w.loop.Now()); !x.grpc || status != 200 {
			x.claim.tell(httpOutcome(status), w.loop.Now())
		}
		x.verdict(f)
		if x.againAfter(f, status, end) {
			return
		}
		x.accept(f, status)
	}
	if x.down.LocalEnded() {
		return
	}
	if x.client.conn.Unsent() > http2Queue { // heads have no windows, and there may be any number of interim ones
		w.count.Slow++
		x.blame(FlagSlow)
		x.abort(http2.EnhanceYourCalm)
		return
	}
	if end {
		x.response.end, x.response.done = true, true
	}
	x.client.headers(x.down, f, end)
	if end {
		x.settle()
	}
}

// accept takes the head of the answer that the client gets.
func (x *http2Exchange) accept(f *http2.Fields, status int) {
	w := x.w
	w.loop.Cancel(&x.wake.timer)
	x.won()
	x.answered = true
	w.count.Answered[x.client.from.Direction]++
	if status >= 500 {
		w.count.Errors[x.client.from.Direction]++
	}
	x.statusSpan(status)
	if e := x.goal.line; e != nil {
		e.Heard = w.loop.Now()
	}
	x.answeredWith(status)
	x.judge(f)
	if p := x.edits(); p != nil {
		f.Edit(p.response2)
	}
	x.part.close()
	x.unkeep()
}

// verdict tells what gRPC says of a call to its endpoint; ok is false when it says nothing.
func (x *http2Exchange) verdict(f *http2.Fields) (status []byte, ok bool) {
	if !x.grpc {
		return nil, false
	}
	if status, ok, _ = f.Values("grpc-status"); ok {
		x.claim.tell(grpcOutcome(status), x.w.loop.Now())
	}
	return status, ok
}

// judge takes gRPC's verdict: what it calls an error is counted.
func (x *http2Exchange) judge(f *http2.Fields) {
	status, ok := x.verdict(f)
	if !ok {
		return
	}
	x.grpcSpan(status)
	x.code = grpcCode(status)
	if string(status) != "0" {
		x.w.count.Errors[x.client.from.Direction]++
	}
}

// trail takes trailers, which go behind the body: at once when nothing of that waits.
func (x *http2Exchange) trail(p *http2Pipe, f *http2.Fields) {
	if to, s := p.to(); s != nil && len(p.buf) == 0 && !p.queued && !p.done && !s.LocalEnded() {
		if p.end, p.done = true, true; !p.response && x.kept.on && !p.keepTrailers(f) {
			x.unkeep() // it could not be sent again whole
		}
		to.headers(s, f, true)
		x.settle()
		return
	}
	if !p.keepTrailers(f) {
		x.w.count.Slow++
		x.blame(FlagSlow)
		x.abort(http2.EnhanceYourCalm)
		return
	}
	p.take(nil, true)
}

// settle ends an exchange when nothing more is to pass. Who has answered completely gets no more of the request, and who has
// the complete answer sends no more of it (RFC 9113 section 8.1).
func (x *http2Exchange) settle() {
	if x.over || !x.response.done {
		return
	}
	if x.gone || x.sent != nil && x.sent.Closed() {
		x.client.reset(x.down, http2.NoError)
	}
	if x.down.Closed() {
		x.leaveEndpoint(http2.NoError)
		x.finish()
	}
}

// finish forgets the exchange. Its streams are closed.
func (x *http2Exchange) finish() {
	w := x.w
	x.over = true
	w.loop.Cancel(&x.timer)
	x.first.drop()
	if x.response.done {
		x.ended(FlagNone)
	}
	x.ended(FlagClientGone) // unless something else was its end
	w.loop.Cancel(&x.wake.timer)
	x.endSpan()
	x.request.drop()
	x.response.drop()
	x.uncopy()
	x.unkeep()
	x.forget()
	x.claim.release()
	up := x.up
	if up != nil && x.sent == nil {
		up.unqueue(x)
	}
	x.client.proto.Recycle(x.down)
	x.client.rested = w.loop.Now()
	if up != nil && x.sent != nil {
		up.proto.Recycle(x.sent)
	}
	x.up, x.sent = nil, nil
	if len(w.http2.spare) < http2Spare {
		w.http2.spare = append(w.http2.spare, x)
	}
	if up != nil {
		up.next()
	}
}

// abort resets both sides.
func (x *http2Exchange) abort(code http2.Code) {
	if x.over {
		return
	}
	x.blame(FlagOf(FailUpstreamClosed))
	x.failSpan(spanReset, 0)
	x.leaveEndpoint(code)
	x.client.reset(x.down, code)
	x.finish()
}

// leaveEndpoint calls the request off, where it was sent.
func (x *http2Exchange) leaveEndpoint(code http2.Code) {
	if x.up != nil && x.sent != nil {
		x.up.reset(x.sent, code)
	}
}

// fail answers a request ourselves, or cuts its response off.
func (x *http2Exchange) fail(status int, why Failure) {
	if x.over {
		return
	}
	x.w.count.Failed[why]++
	x.blame(FlagOf(why))
	x.failSpan(why.String(), status)
	x.leaveEndpoint(http2.Cancel)
	if x.answered && !x.grpc {
		x.abort(http2.InternalError)
		return
	}
	x.reply(status)
	x.client.reset(x.down, http2.NoError)
	x.finish()
}

// Expire: the whole of it takes longer than it may.
func (x *http2Exchange) Expire() {
	if x.delayed {
		x.proceed()
		return
	}
	if x.failed(); x.sent != nil {
		x.cluster.count.Timeouts++
	}
	x.fail(httpTimeout, FailTimeout)
}

// failed tells that the endpoint has not answered, or not to the end.
func (x *http2Exchange) failed() { x.claim.tell(upstream.OutcomeGateway, x.w.loop.Now()) }
