package proxy

import (
	"errors"

	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/config"
)

// httpFirst is the earlier of two tries, once there is a later one, which is the exchange's own. Its connection knows the exchange, and
// the exchange knows it only here. Its endpoint was told that it is slow. When its answer begins, or the later one fails, it is the exchange's again.
type httpFirst struct {
	x     *exchange
	up    *httpConn
	claim claim
}

// hedge sends the request once more beside a try that takes too long, if that may be.
func (x *exchange) hedge(r *config.Retry) {
	w := x.client.w
	if !w.settled() {
		x.turn.start(x, turnTry, r.PerTry)
		return
	}
	x.claim.slow(x.cluster, w.loop.Now(), x.goal.line)
	if x.first != nil || x.Upgrade || !x.may(r.WantsSlow()) {
		return
	}
	var second claim
	if !w.admit(&second, x.cluster, x.goal.priority) {
		return
	}
	x.first = &httpFirst{x: x, up: x.up, claim: x.claim.fork()}
	x.claim.join(&second)
	x.turn.failed = x.up.host.Addr
	x.up, x.sent = nil, false
	x.connect()
}

// unsent ends a try that finds no endpoint. A second one was none then.
func (x *exchange) unsent(why Failure) {
	if x.first == nil {
		x.fail(httpUnavailable, why)
		return
	}
	x.attempt--
	x.fallBack()
}

// fallBack calls the later of two tries off, whatever has become of it, and waits for the earlier one; false when there is none.
func (x *exchange) fallBack() bool {
	first := x.first
	if first == nil {
		return false
	}
	up := x.up
	x.up, x.sent, x.first = first.up, true, nil
	x.claim.join(&first.claim)
	x.goal.answeredBy(x.goal.span, x.up.host.Addr, x.claim.sent)
	x.turn.start(x, turnTry, x.goal.retry().PerTry)
	if up != nil {
		up.x = nil
		up.conn.Close(nil)
	}
	return true
}

// won says that the exchange's own try has answered.
func (x *exchange) won() {
	if x.first != nil {
		x.client.w.count.HedgesWon++
		x.first.drop()
	}
}

// take reads the head of an answer to the earlier try. It returns how much of b is done with; when the answer is the one that the
// client gets, nothing is, and the try is the exchange's.
func (f *httpFirst) take(b []byte) int {
	x, up := f.x, f.up
	if !(http1.Limits{}).More(b, up.seen) {
		return 0
	}
	w := x.client.w
	res := &w.httpResponse
	res.Reset()
	n, err := res.Decode(b, http1.Limits{}, x.Exchange)
	if up.seen = 0; errors.Is(err, http1.ErrShort) {
		up.seen = len(b)
		return 0
	}
	switch {
	case err != nil:
		w.count.Malformed++
		w.accuse(place{up.cluster.name, true}, foreign(b, speaksHTTP1, err))
		f.lost()
	case res.Interim():
		return n
	case x.goal.retry().Wants(res.Status):
		f.lost()
	default:
		x.fallBack()
		return 0
	}
	return len(b)
}

// lost drops a try that has failed. The other one is waited for, and not alone for ever; one that was not sent is a retry like any other.
func (f *httpFirst) lost() {
	x := f.x
	if !x.sent {
		x.client.w.retried(x.cluster, x.goal.span)
	}
	if f.drop(); x.up != nil && x.sent && !x.turn.timer.Armed() {
		x.turn.start(x, turnTry, x.goal.retry().PerTry)
	}
}

// drop calls the try off; nil is none.
func (f *httpFirst) drop() {
	if f == nil {
		return
	}
	f.x.first, f.up.x = nil, nil
	f.claim.release()
	f.up.conn.Close(nil)
}

// shrink leaves the exchange one try: the one that was sent. A second one that was not was none.
func (x *exchange) shrink() {
	if x.first != nil && !x.sent {
		x.attempt--
		x.fallBack()
		return
	}
	x.first.drop()
}
