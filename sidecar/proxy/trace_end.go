package proxy

import (
	"strconv"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/codec/dubbo"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/trace"
)

// How spans end. Each request without a span pays for one branch here.

// failures beside those that are counted as a Failure.
const (
	spanMalformed = "malformed" // the client broke the protocol
	spanReset     = "reset"     // a stream was reset, by the endpoint or because it was stuck
)

// ownStatus is a response's status in its protocol.
func (r rpcFrame) ownStatus() int32 {
	if r.reply.protocol == config.Dubbo {
		return int32(dubbo.Seen(r.raw).Status())
	}
	return int32(bolt.Seen(r.raw).Status())
}

// failSpan ends the goal's span for its reason, or because its client has left.
func (w *worker) failSpan(to *goal, gone bool) {
	if to.span == nil {
		return
	}
	why := to.why.String()
	if gone {
		why = trace.GoneWith
	}
	to.span.Fail(why, 0, w.loop.Now())
	to.span = nil
}

// answerSpan ends the span of a request that an endpoint has answered.
func (v *waiting) answerSpan(f rpcFrame) {
	if s := v.span; s != nil {
		s.Status, v.span = f.ownStatus(), nil
		s.End(v.up.w.loop.Now())
	}
}

// failSpan ends the span of a request that got no answer.
func (v *waiting) failSpan(why Failure) {
	s := v.span
	if s == nil {
		return
	}
	reason := why.String()
	if v.down == nil || v.down.gone {
		reason = trace.GoneWith
	}
	s.Fail(reason, 0, v.up.w.loop.Now())
	v.span = nil
}

// leaveSpan forgets a span that is another's now: of the call that tries again, or of the next owner.
func (v *waiting) leaveSpan() {
	if v.span != nil {
		v.span.Leave()
		v.span = nil
	}
}

// retried counts one more try.
func retried(s *trace.Span) {
	if s != nil && s.Retries < 1<<8-1 {
		s.Retries++
	}
}

// endSpan ends the span of an exchange that has gone well, or whose status says enough.
func (x *exchange) endSpan() {
	if s := x.goal.span; s != nil {
		s.End(x.client.w.loop.Now())
		x.goal.span = nil
	}
}

// failSpan ends it for a reason. What a route answers with is no failure.
func (x *exchange) failSpan(why string, status int) {
	s := x.goal.span
	if s == nil {
		return
	}
	if why == FailRule.String() {
		why = ""
	}
	s.Fail(why, status, x.client.w.loop.Now())
	x.goal.span = nil
}

// statusSpan notes the status of the answer.
func (x *exchange) statusSpan(status int) {
	if s := x.goal.span; s != nil {
		s.Status = int32(status)
	}
}

// statusSpan notes the status of the answer, in gRPC's words for gRPC.
func (x *http2Exchange) statusSpan(status int) {
	s := x.goal.span
	switch {
	case s == nil:
	case !x.grpc:
		s.Status = int32(status)
	case status != 200:
		s.Status = int32(x.grpcStatus(status))
	}
}

// grpcSpan notes gRPC's status.
func (x *http2Exchange) grpcSpan(status []byte) {
	if s := x.goal.span; s != nil {
		n, err := strconv.ParseUint(string(status), 10, 16)
		if err != nil {
			n = grpcUnknown
		}
		s.Status = int32(n)
	}
}

// failSpan ends the span of an exchange for a reason; status is of our answer, 0 for none.
func (x *http2Exchange) failSpan(why string, status int) {
	s := x.goal.span
	if s == nil {
		return
	}
	if status > 0 && s.Status < 0 {
		x.statusSpan(status)
	}
	if why == FailRule.String() && !x.grpc {
		why = ""
	}
	s.Fail(why, 0, x.w.loop.Now())
	x.goal.span = nil
}

// endSpan ends the span of an exchange that is over.
func (x *http2Exchange) endSpan() {
	s := x.goal.span
	if s == nil {
		return
	}
	if !x.response.done {
		x.failSpan(trace.GoneWith, 0)
		return
	}
	s.End(x.w.loop.Now())
	x.goal.span = nil
}

// goneSpan ends the span of an exchange whose client's connection has ended; for a tunnel that is how it ends.
func (x *exchange) goneSpan() {
	if x.tunnel {
		x.endSpan()
		return
	}
	x.failSpan(trace.GoneWith, 0)
}

// endSpan ends the span of a request that gets no answer.
func (g *goal) endSpan(now time.Duration) {
	if g.span != nil {
		g.span.End(now)
		g.span = nil
	}
}
