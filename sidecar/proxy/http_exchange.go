package proxy

import (
	"errors"

	"github.com/axlemesh/axle/sidecar/codec/http1"
)

// connect sends the request on an idle connection, or on a new one.
func (x *exchange) connect() {
	w := x.client.w
	if x.attempt++; x.attempt > x.attempts {
		x.unsent(FailConnect)
		return
	}
	if !x.mayRetry() {
		x.unsent(FailBusy)
		return
	}
	hosts := x.cluster.web()
	h := pickOther(hosts, w.loop.Now(), x.goal.hash, x.turn.failed)
	if h == nil {
		x.unsent(FailNoEndpoint)
		return
	}
	if !x.fresh && x.reuse(h) {
		return
	}
	if x.cluster.webs > 0 && x.cluster.limits.Connections.Full() {
		if !x.spare(hosts) {
			x.unsent(FailBusy)
		}
		return
	}
	if !x.mayWait() {
		x.unsent(FailBusy)
		return
	}
	up := w.dialHTTP(x.cluster, h)
	if up == nil {
		x.connect()
		return
	}
	x.up, up.x = up, x
}

// send writes the head; the body follows as it comes.
func (x *exchange) send() {
	if !x.Connect {
		x.up.conn.Write(x.head)
	}
	x.sent = true
	if x.first != nil {
		x.client.w.count.Hedged++
		x.client.w.retried(x.cluster, x.goal.span)
	}
	x.claim.waited()
	x.claim.place(&x.up.host.Peer, x.client.w.loop.Now())
	x.up.cluster.requests++
	x.goal.span.SentTo(x.up.host.Addr)
	if e := x.goal.line; e != nil {
		logTries(e, x.up.cluster, x.up.host.Addr, x.client.w.loop.Now())
	}
	if x.Connect {
		x.answered, x.tunnel = true, true
		w := x.client.w
		x.client.conn.Press(false)
		x.stop()
		x.code = CodeOf(200)
		x.statusSpan(200)
		w.scratch = http1.AppendTunnel(w.scratch[:0])
		x.client.conn.Write(w.scratch)
	}
	if r := x.goal.retry(); r != nil && r.PerTry > 0 && !x.Connect {
		x.turn.start(x, turnTry, r.PerTry)
	}
	if !x.repeat {
		x.forget()
	}
	x.client.conn.Resume()
}

// forget gives the head's buffer back: it is not sent again.
func (x *exchange) forget() {
	x.client.w.loop.Pool().Give(x.head)
	x.head = nil
}

// head takes the head of a response, or an interim one. It returns how much it took, 0 when the head is not complete.
func (x *exchange) headOf(b []byte) (int, error) {
	if !(http1.Limits{}).More(b, x.up.seen) {
		return 0, nil
	}
	w := x.client.w
	res := &w.httpResponse
	res.Reset()
	n, err := res.Decode(b, http1.Limits{}, x.Exchange)
	if x.up.seen = 0; errors.Is(err, http1.ErrShort) {
		x.up.seen = len(b)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if !res.Interim() {
		x.claim.tell(httpOutcome(res.Status), w.loop.Now())
	}
	if x.againAfter(res, b[n:]) {
		return len(b), nil
	}
	if p := x.edits(); p != nil && !res.Interim() {
		res.Edit(p.response)
	}
	deliver := res.Delivery(x.Exchange)
	if !deliver.Drop {
		w.scratch = res.AppendForward(w.scratch[:0], x.Exchange, "")
		x.client.conn.Write(w.scratch)
		throttle(x.up.conn, x.client.conn) // there may be any number of interim ones
	}
	if res.Interim() {
		return n, nil
	}
	x.won()
	w.count.Answered[x.client.from.Direction]++
	if res.Status >= 500 {
		w.count.Errors[x.client.from.Direction]++
	}
	x.forget()
	w.loop.Cancel(&x.turn.timer)
	if e := x.goal.line; e != nil {
		e.Heard = w.loop.Now()
	}
	x.code = CodeOf(res.Status)
	x.statusSpan(res.Status)
	x.answered, x.response, x.up.reusable = true, res.Body, res.Reusable()
	x.decode, x.closing = deliver.Decode, x.closing || deliver.Close || !x.KeepAlive
	if x.tunnel = res.Body.Kind() == http1.Tunnel; x.tunnel {
		w.loop.Cancel(&x.timer)
		x.client.conn.Press(false)
		x.client.conn.Resume()
		x.client.conn.Reread()
	}
	return n, nil
}

// body passes on what b has of the response's body, and returns how much that was.
func (x *exchange) body(b []byte) (int, error) {
	if !x.decode {
		n, err := x.response.Take(b)
		x.passOn(x.up.conn, x.client.conn, b[:n])
		return n, err
	}
	taken := 0
	for {
		data, n, err := x.response.Payload(b[taken:])
		x.passOn(x.up.conn, x.client.conn, data)
		if taken += n; n == 0 || err != nil {
			return taken, err
		}
	}
}

// finish ends an exchange whose response is complete. clean says that nothing came behind it.
func (x *exchange) finish(clean bool) {
	up, c := x.up, x.client
	x.stop()
	x.ended(FlagNone)
	x.endSpan()
	x.up, up.x, x.active = nil, nil, false
	x.claim.release()
	if clean && up.reusable && x.request.Done() && !x.closing {
		up.rest()
	} else {
		up.conn.Close(nil)
	}
	if x.closing || !x.request.Done() {
		c.over = true
		c.conn.CloseAfterWrite()
		return
	}
	x.reset()
	c.conn.Resume()
	c.conn.Reread()
}

// reset makes room for the next exchange of the connection.
func (x *exchange) reset() {
	c := x.client
	*x = exchange{client: c, timer: x.timer}
	c.rested = c.w.loop.Now()
	x.timer.Owner = x
}

// drop gives the endpoint's connection up in the middle of an exchange.
func (x *exchange) drop() {
	if !x.active {
		return
	}
	x.stop()
	x.first.drop()
	x.claim.release()
	x.forget()
	if up := x.up; up != nil {
		x.up, up.x = nil, nil
		up.conn.Close(nil)
	}
}

// fail answers a request ourselves. When its body is not complete the connection cannot be used again.
func (x *exchange) fail(status int, why Failure) {
	c := x.client
	c.w.count.Failed[why]++
	x.flag = FlagOf(why)
	x.failSpan(why.String(), status)
	x.drop()
	if x.answered {
		c.conn.Close(errTruncated) // the client has to see that its response is not whole
		return
	}
	x.reply(status)
}

// reply answers a request ourselves, before anything of an answer was passed on.
func (x *exchange) reply(status int) {
	x.code = CodeOf(status)
	x.answer(func(dst []byte, closing bool) []byte { return http1.AppendReply(dst, status, x.Minor, closing) })
}

// answer is reply with an answer that is written by its caller.
func (x *exchange) answer(write func(dst []byte, closing bool) []byte) {
	c := x.client
	x.ended(x.flag)
	x.endSpan()
	closing := !x.request.Done() || !x.KeepAlive || x.closing
	c.w.scratch = write(c.w.scratch[:0], closing)
	c.conn.Write(c.w.scratch)
	if closing {
		c.over = true
		c.conn.CloseAfterWrite()
		return
	}
	x.reset()
	c.conn.Resume()
	if !c.busy {
		c.conn.Reread()
	}
}

var (
	errTruncated = errors.New("the endpoint ended in the middle of its response")
	errUnasked   = errors.New("the endpoint sent what nobody had asked for")
)
