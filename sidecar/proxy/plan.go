package proxy

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/route"
)

// plan is what a route does with requests besides sending them on, for every protocol. What the loops share of it outlives
// snapshots, as places do.
type plan struct {
	key      string
	attempts int
	priority config.Priority // of a request that came from another process, where its own is not known
	places   *places
	retry    *config.Retry
	fault    *config.Fault
	redirect *config.Redirect
	edit     *config.Edit
	limit    *bucket // nil for none
	budget   *budget // nil without retry

	request, response   []change.Field // of edit
	request2, response2 []http2.Change // likewise
	room                int            // that a request's head needs beyond what it has
	traces              bool           // it changes the traceparent of requests: ours is not added
}

func (w *worker) newPlan(r *route.Route, at *places) *plan {
	p := &plan{key: r.Key, attempts: r.Attempts, priority: r.Priority, places: at, retry: r.Retry, fault: r.Fault, redirect: r.Redirect, edit: r.Edit}
	if r.Limit != (config.Limit{}) {
		p.limit = w.engine.bucket(routeBucket+r.Key, r.Limit)
	}
	if r.Retry != nil {
		p.budget = w.engine.budget(r.Key)
	}
	if r.Edit != nil {
		p.request, p.response = r.Edit.Request, r.Edit.Response
		p.request2, p.response2 = http2.Changes(r.Edit.Request), http2.Changes(r.Edit.Response)
		p.room = len(r.Edit.Host) + len(r.Edit.With)
		for _, c := range p.request {
			p.room += len(c.Name) + len(c.Value) + len(": \r\n")
			p.traces = p.traces || strings.EqualFold(c.Name, "traceparent")
		}
	}
	return p
}

// shape opens the account of a request that comes from a listener, and does what is due before it is sent anywhere: what an overload asks for, limits, then faults.
// A request that it ends has no cluster afterwards.
func (w *worker) shape(to *goal, from *config.Listener, s Spoken) {
	w.enter(to, from, s)
	if n := w.engine.shedding.Load(); n > 0 && w.sheds(to, int(n)) {
		return
	}
	if len(w.limits) > 0 {
		if limit := w.limits[from.Name]; limit != nil && !limit.take(to.began) {
			to.end(httpTooMany, FailLimit)
		}
	}
	if to.route == nil {
		return
	}
	if p := to.route.plan; p != nil && to.why != FailLimit {
		w.follow(p, to)
	}
}

func (w *worker) follow(p *plan, to *goal) {
	if p.limit != nil && !p.limit.take(to.began) {
		to.end(httpTooMany, FailLimit)
		return
	}
	f := p.fault
	if f == nil || to.cluster == nil { // what is answered here is not spoilt
		return
	}
	if route.Takes(f.Delayed, &p.places.delay) {
		to.delay = f.Delay
		w.count.Delayed++
	}
	if f.Status != 0 && route.Takes(f.Aborted, &p.places.abort) {
		to.end(f.Status, FailFault)
	}
}

// end makes a request be answered here.
func (g *goal) end(status int, why Failure) {
	g.cluster, g.mirror, g.status, g.why = nil, nil, int16(status), why
}

// retry is how the goal's request is sent again; nil when it is only when it has reached no endpoint.
func (g *goal) retry() *config.Retry {
	if g.route == nil || g.route.plan == nil {
		return nil
	}
	return g.route.plan.retry
}

// pause is how long a request waits before it is tried for the nth time, which is above 1: a random part of a time that
// doubles (what spreads the retries of many clients best).
func (p *plan) pause(nth int) time.Duration {
	first := p.retry.Backoff
	if first == 0 {
		first = config.DefaultBackoff
	}
	most := p.retry.MaxBackoff
	if most == 0 {
		most = 10 * first
	}
	return time.Duration(p.places.backoff.Below(uint64(min(first<<min(nth-2, 20), most)) + 1))
}

// bucket is a token bucket that all loops share, as one number: the time at which it is full again.
type bucket struct {
	full         atomic.Int64
	every, burst atomic.Int64 // nanoseconds for one token, and for all
}

// Buckets are named by what they limit.
const (
	routeBucket    = "route "
	listenerBucket = "listener "
)

// forget drops the buckets and budgets that nothing needs any more.
func (e *Engine) forget(s *config.Snapshot, routes *route.Table) {
	keep := map[string]bool{}
	routes.Each(func(r *route.Route) { keep[routeBucket+r.Key] = true })
	for i := range s.Listeners {
		keep[listenerBucket+s.Listeners[i].Name] = true
	}
	e.buckets.Range(func(name, _ any) bool {
		if !keep[name.(string)] {
			e.buckets.Delete(name)
		}
		return true
	})
	e.budgets.Range(func(key, _ any) bool {
		if !keep[routeBucket+key.(string)] {
			e.budgets.Delete(key)
		}
		return true
	})
}

// bucket of this name, with what the configuration says of it now.
func (e *Engine) bucket(name string, l config.Limit) *bucket {
	known, _ := e.buckets.LoadOrStore(name, new(bucket))
	b := known.(*bucket)
	every := int64(l.Every) / int64(l.Tokens)
	b.every.Store(every)
	b.burst.Store(every * int64(l.Burst))
	return b
}

// take takes a token, if there is one.
func (b *bucket) take(now time.Duration) bool {
	every, burst := b.every.Load(), b.burst.Load()
	for {
		full := b.full.Load()
		next := max(full, int64(now)) + every
		if next-int64(now) > burst {
			return false
		}
		if b.full.CompareAndSwap(full, next) {
			return true
		}
	}
}

// budget counts the open requests of a route, and how many of them are retries, in all loops.
type budget struct{ active, retries atomic.Int64 }

func (e *Engine) budget(key string) *budget {
	known, _ := e.budgets.LoadOrStore(key, new(budget))
	return known.(*budget)
}

// take makes one more request a retry, if there may be one.
func (b *budget) take(r *config.Retry) bool {
	percent, least := r.BudgetPercent, r.BudgetMin
	if percent == 0 {
		percent = config.DefaultBudgetPercent
	}
	if least == 0 {
		least = config.DefaultBudgetMin
	}
	most := max(b.active.Load()*int64(percent)/100, int64(least))
	if b.retries.Add(1) <= most {
		return true
	}
	b.retries.Add(-1)
	return false
}

// part is one open request's part of a budget.
type part struct {
	on     *budget // nil while it has none
	second bool    // it is a retry
}

func (c *part) open(b *budget) {
	if c.on == nil && b != nil {
		c.on = b
		b.active.Add(1)
	}
}

// again makes the request a retry, if there may be one more.
func (c *part) again(r *config.Retry) bool {
	c.second = c.second || c.on != nil && c.on.take(r)
	return c.second
}

func (c *part) close() {
	if c.on == nil {
		return
	}
	c.on.active.Add(-1)
	if c.second {
		c.on.retries.Add(-1)
	}
	*c = part{}
}
