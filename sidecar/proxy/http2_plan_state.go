package proxy

import (
	"slices"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
)

// http2PlanState is what the next owner needs besides of an exchange whose route has a plan. Those of a client stand behind
// its exchanges, if there are any: a build that does not know them refuses the connection, and takes all others.
type http2PlanState struct {
	stream  uint32 // of the client
	route   string // its key
	age     time.Duration
	again   bool   // it is being tried again
	keeps   bool   // the request is kept
	repeat  bool   // it may be sent again although it was processed
	kept    uint64 // bytes of its body, which a relay has carried
	prepaid uint64
}

func (e *encoder) http2Plan(s *http2PlanState) {
	e.uint(uint64(s.stream))
	e.string(s.route)
	e.uint(uint64(s.age))
	for _, flag := range []bool{s.again, s.keeps, s.repeat} {
		e.bool(flag)
	}
	e.uint(s.kept)
	e.uint(s.prepaid)
}

func (d *decoder) http2Plan(s *http2PlanState) {
	s.stream, s.route, s.age = uint32(d.uint()), d.string(), time.Duration(d.uint())
	s.again, s.keeps, s.repeat = d.bool(), d.bool(), d.bool()
	s.kept, s.prepaid = d.uint(), d.uint()
	d.bad = d.bad || s.age < 0 || s.route == "" || s.kept > maxRetryBody || s.prepaid > s.kept
}

// planned says that the route has still something to do for the exchange: once its answer has begun there is nothing more. So
// streams that are open for hours do not keep a build away that does not know plans.
func (x *http2Exchange) planned() bool {
	t := x.goal.route
	return t != nil && t.plan != nil && !x.answered && (t.plan.retry != nil || t.plan.edit != nil)
}

// plans writes down what the routes of a client's exchanges do. What is kept of requests goes ahead.
func (c *http2Client) plans(e *encoder) {
	var all []http2PlanState
	c.proto.Each(func(s *http2.Stream) {
		x := s.Owner.(*http2Exchange)
		t := x.goal.route
		if !x.planned() {
			return
		}
		state := http2PlanState{
			stream: s.ID, route: t.plan.key, age: x.w.loop.Now() - x.goal.began, again: x.part.second, keeps: x.kept.on, repeat: x.repeat,
		}
		if x.kept.on {
			x.relayBody(http2Again, x.kept.body)
			state.kept, state.prepaid = uint64(len(x.kept.body)), uint64(x.request.prepaid)
		}
		all = append(all, state)
	})
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b http2PlanState) int { return int(a.stream) - int(b.stream) })
	e.uint(uint64(len(all)))
	for i := range all {
		e.http2Plan(&all[i])
	}
}

// restorePlans takes over what the routes do that are still there.
func (c *http2Client) restorePlans(d *decoder) {
	for n := d.uint(); n > 0 && !d.bad; n-- {
		var s http2PlanState
		d.http2Plan(&s)
		down := c.proto.Stream(s.stream)
		if d.bad || down == nil {
			d.bad = true
			return
		}
		x, _ := down.Owner.(*http2Exchange)
		if d.bad = x == nil || x.cluster == nil || x.goal.route != nil || !x.resume(&s); d.bad {
			return
		}
	}
}

// resume takes over what a route's plan needs of an exchange; false when what was kept of it has not come.
func (x *http2Exchange) resume(s *http2PlanState) bool {
	w := x.w
	place := http2Place{x.client.id, x.down.ID, http2Again}
	body := w.http2.bodies[place]
	delete(w.http2.bodies, place)
	if uint64(len(body)) < s.kept {
		return false
	}
	t := w.planned[s.route]
	if t == nil {
		return true
	}
	x.goal.cluster, x.goal.route, x.goal.timeout, x.goal.began = x.cluster, t, x.timeout, w.loop.Now()-s.age
	if t.plan.retry == nil {
		return true
	}
	x.attempts, x.repeat = t.plan.attempts, s.repeat
	if x.part.open(t.plan.budget); s.again {
		x.part.again(t.plan.retry)
	}
	if x.kept.on = s.keeps && len(x.head) > 0 && x.attempts > 1; x.kept.on {
		x.charge(len(x.head))
		x.keep(body[:s.kept])
		x.request.prepaid = int(s.prepaid)
	}
	return true
}

// fresh allows an exchange that was taken over at least one try. What has no retries begins anew.
func (x *http2Exchange) fresh() {
	if x.goal.retry() == nil {
		x.attempt = 0
	}
	x.attempts = max(x.attempts, x.attempt+1)
}
