package proxy

import (
	"github.com/axlemesh/axle/sidecar/codec/dubbo"
	"github.com/axlemesh/axle/sidecar/config"
)

// dubboView is what a route may ask a Dubbo request for.
type dubboView struct{ call dubbo.Invocation }

// Path is a notion of HTTP.
func (v *dubboView) Path() ([]byte, bool) { return nil, false }

// Header looks a name up in the attachments.
func (v *dubboView) Header(name string) ([]byte, bool) { return v.call.Lookup(name) }

// dubboGoal routes a Dubbo request of d. One that cannot be read goes to the listener's cluster, if that takes everything.
func (w *worker) dubboGoal(d *downstream, f rpcFrame) (to goal) {
	call := &w.dubboView.call
	err := call.Read(dubbo.Seen(f.raw))
	if to.timeout = call.Timeout; f.kind == rpcOneway || to.timeout == 0 {
		to.timeout = config.Forgotten // most clients wait for a while that they keep to themselves
	}
	if d.from.Cluster != "" {
		w.straight(&to, &d.fixed, d.from)
		to.hash = to.cluster.hash(nil, &w.dubboView, &d.source, d.conn)
		return to
	}
	if err != nil {
		to.status, to.why = httpNoRoute, FailUnreadable
		return to
	}
	w.serviceKey = call.AppendKey(w.serviceKey[:0])
	r := w.routes.Match(w.serviceKey, call.Method, &w.dubboView)
	w.decide(&to, r, &w.dubboView)
	to.hash = to.cluster.hash(r, &w.dubboView, &d.source, d.conn)
	return to
}
