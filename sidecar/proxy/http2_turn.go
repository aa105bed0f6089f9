package proxy

import "github.com/axlemesh/axle/sidecar/codec/http2"

// prepare changes the head of a request as its route says, and notes what may be done with it when it fails.
func (x *http2Exchange) prepare(f *http2.Fields) {
	if p := x.edits(); p != nil {
		x.edit(f, p)
	}
	r := x.goal.retry()
	if r == nil {
		return
	}
	x.part.open(x.goal.route.plan.budget)
	method := f.Method()
	x.repeat = r.AnyMethod || repeatable(method)
	x.kept.on = x.attempts > 1 && string(method) != "CONNECT"
}

// edits is the plan of the exchange's route, if that changes messages.
func (x *http2Exchange) edits() *plan {
	if x.goal.route == nil || x.goal.route.plan == nil || x.goal.route.plan.edit == nil {
		return nil
	}
	return x.goal.route.plan
}

// edit changes the head of a request. A CONNECT keeps its host, and what has no path keeps that.
func (x *http2Exchange) edit(f *http2.Fields, p *plan) {
	f.Edit(p.request2)
	path := f.Path()
	if p.edit.Host != "" && len(path) > 0 {
		f.SetAuthority(p.edit.Host)
	}
	if len(path) == 0 || path[0] != '/' {
		return
	}
	if by := rewrite(path, p.edit.Prefix, p.edit.With); by.With != "" {
		w := x.w
		w.location = by.Append(w.location[:0], path)
		f.SetPath(w.location)
	}
}

// refused answers a request that its route sends nowhere.
func (x *http2Exchange) refused(f *http2.Fields) {
	to := &x.goal
	if to.why != FailRule || to.route.plan == nil || to.route.plan.redirect == nil || x.grpc {
		x.fail(int(to.status), to.why)
		return
	}
	w, r := x.w, to.route.plan.redirect
	w.location = appendLocation(w.location[:0], r, f.Authority(), f.Path())
	w.count.Failed[FailRule]++
	x.code = CodeOf(r.Status)
	x.blame(FlagOf(FailRule))
	x.failSpan(FailRule.String(), r.Status)
	answer := &w.http2.fields
	answer.Reset()
	answer.AddStatus(r.Status)
	answer.Add("content-length", "0")
	answer.Add("location", string(w.location))
	x.client.headers(x.down, answer, true)
	x.client.reset(x.down, http2.NoError)
	x.finish()
}

// postpone keeps a request for as long as a fault delays it.
func (x *http2Exchange) postpone(f *http2.Fields) {
	if !x.keepFields(f) {
		x.fail(httpUnavailable, FailBusy)
		return
	}
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
	switch {
	case x.spoilt != 0:
		x.fail(int(x.spoilt), FailFault)
	case !x.w.admit(&x.claim, x.cluster, x.goal.priority):
		x.fail(httpUnavailable, FailBusy)
	default:
		x.delayed, x.left = false, x.timeout
		if x.goal.mirror != nil {
			x.w.count.MirrorDropped++
		}
	}
}
