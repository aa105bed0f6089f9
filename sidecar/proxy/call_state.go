package proxy

import (
	"slices"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// maxMovedFrames bounds what is written down of one connection's requests so that the next owner may send them again. What
// is beyond it moves as well, and is answered as its endpoint answers.
const maxMovedFrames = 64 << 10

// planState is what the next owner needs of a Bolt request whose route has a plan.
type planState struct {
	route    string        // its key; empty for the others, which have nothing of this
	age      time.Duration // since the request came
	attempts uint64        // that are left, and
	tries    uint64        // those that have failed
	again    bool          // it is a retry
	frame    []byte        // the request; empty when it is not sent again
}

// planned says that the next owner has to know more than how to pass bytes on.
func (s *connState) planned() bool {
	return s.exchange.planned() || slices.ContainsFunc(s.waiting, func(w waitingState) bool { return w.plan.route != "" })
}

func (e *encoder) plan(s *planState) {
	e.string(s.route)
	if s.route == "" {
		return
	}
	e.uint(uint64(s.age))
	e.uint(s.attempts)
	e.uint(s.tries)
	e.bool(s.again)
	e.bytes(s.frame)
}

func (d *decoder) plan() (s planState) {
	if s.route = d.string(); s.route == "" {
		return s
	}
	s.age, s.attempts, s.tries, s.again, s.frame = time.Duration(d.uint()), d.uint(), d.uint(), d.bool(), d.bytes()
	d.bad = d.bad || s.age < 0 || s.attempts > 1<<7-1 || s.tries > 1<<7-1
	return s
}

// plan writes down what v's route does; room is what is left for frames.
func (v *waiting) plan(room *int) (s planState) {
	if v.route == nil || v.route.plan == nil {
		return s
	}
	s.route, s.age = v.route.plan.key, v.up.w.loop.Now()-v.began
	c := v.call
	if c == nil || c.to.retry() == nil || len(c.frame) > *room {
		return s
	}
	*room -= len(c.frame)
	s.attempts, s.tries, s.again, s.frame = uint64(max(c.to.attempts, 0)), uint64(c.tries), c.part.second, c.frame
	return s
}

// rank is the priority of a request that came from another process, by its route's key: what the route says, since a header
// that had lowered it is gone.
func (w *worker) rank(route string) config.Priority {
	if t := w.planned[route]; t != nil {
		return t.plan.priority
	}
	return config.PriorityDefault
}

// resume takes over what the route of a restored request does, if the route is still there.
func (v *waiting) resume(s *planState) {
	w := v.up.w
	t := w.planned[s.route]
	if t == nil {
		return
	}
	now := w.loop.Now()
	v.route, v.began = t, now-s.age
	f, err := keptFrame(s.frame)
	if err != nil || t.plan.retry == nil {
		return
	}
	c := w.newCall(v.down, f, goal{
		cluster: v.up.cluster, timeout: v.left, attempts: int8(s.attempts), route: t, account: account{began: v.began}, span: v.span, priority: t.plan.priority,
	})
	c.at, c.by, c.tries, v.call = v, now+v.left, int(s.tries), c
	if s.again {
		c.part.again(t.plan.retry)
		c.retry = c.to.limits().Retries
		c.retry.Force()
	}
}

// run starts the clocks of a request that was frozen.
func (v *waiting) run() {
	v.up.w.loop.Start(&v.timer, v.left)
	if v.call != nil {
		v.call.watch()
	}
}

// given forgets a request that the next owner has now, which counts its end; one whose client had gone before is not known there.
func (v *waiting) given() {
	if !v.told {
		v.ended(0, FlagClientGone)
		v.failSpan(FailHandover)
	} else {
		v.up.w.given(v.span)
	}
	v.route = nil
	v.forget()
}
