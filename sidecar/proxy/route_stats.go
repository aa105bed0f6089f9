package proxy

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/axlemesh/axle/sidecar/route"
)

// Outcome says how a request by a route has ended.
type Outcome uint8

// Outcomes. What an endpoint answers is classed by HTTP's statuses; see rpc_status.go for the others'.
const (
	Outcome2xx   Outcome = iota // and what is below
	Outcome3xx                  //
	Outcome4xx                  //
	Outcome5xx                  // and what is above
	OutcomeOwn                  // answered by the sidecar: a fault, a limit, a timeout, no endpoint
	OutcomeGone                 // the client has left before the answer
	OutcomeMoved                // was under way when the process handed over; its end is not counted
	outcomes
)

// String is the outcome's label in metrics.
func (o Outcome) String() string {
	return [outcomes]string{"2xx", "3xx", "4xx", "5xx", "own", "gone", "moved"}[o]
}

// Outcomes lists all of them.
func Outcomes() []Outcome {
	all := make([]Outcome, outcomes)
	for i := range all {
		all[i] = Outcome(i)
	}
	return all
}

// answered is the outcome of an answer with an HTTP status.
func answered(status int) Outcome {
	return Outcome(min(max(status/100, 2), 5) - 2)
}

// maxRouteCounts bounds the routes of one process that are counted by themselves: those whose names come first. All others
// are counted as OtherRoutes.
const maxRouteCounts = 200

// OtherRoutes is what the routes beyond the bound are counted as.
var OtherRoutes = RouteName{Host: "(other)", Route: "(other)"}

// RouteName names a route for people. Routes of one name are counted together.
type RouteName struct{ Host, Route string }

func nameOf(r *route.Route) RouteName { return RouteName{r.Host, r.Name} }

// nameBreak separates the parts of a written RouteName; it is in no service key.
const nameBreak = "\n"

// MarshalText makes a RouteName a key of a JSON object.
func (n RouteName) MarshalText() ([]byte, error) { return []byte(n.Host + nameBreak + n.Route), nil }

// UnmarshalText reads what MarshalText has written.
func (n *RouteName) UnmarshalText(b []byte) error {
	host, name, ok := bytes.Cut(b, []byte(nameBreak))
	if !ok {
		return errors.New("a route's name has no host")
	}
	n.Host, n.Route = string(host), string(name)
	return nil
}

// LatencyBounds are the upper bounds of the buckets of RouteCount; what took longer is only in its outcomes.
var LatencyBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second,
	5 * time.Second, 15 * time.Second,
}

// RouteCount is what became of the requests of one route.
type RouteCount struct {
	Requests uint64
	Outcomes [outcomes]uint64
	// Latency of those that an endpoint has answered, to the first byte of the answer: how many there were in each bucket, and
	// the time of all.
	Latency [len(LatencyBounds)]uint64
	Total   time.Duration
}

// Answered is how many requests an endpoint has answered.
func (c *RouteCount) Answered() uint64 {
	return c.Outcomes[Outcome2xx] + c.Outcomes[Outcome3xx] + c.Outcomes[Outcome4xx] + c.Outcomes[Outcome5xx]
}

func (c *RouteCount) each(o *RouteCount, fn func(c, o *uint64)) {
	fn(&c.Requests, &o.Requests)
	for i := range c.Outcomes {
		fn(&c.Outcomes[i], &o.Outcomes[i])
	}
	for i := range c.Latency {
		fn(&c.Latency[i], &o.Latency[i])
	}
}

// done counts a request that took so long.
func (c *RouteCount) done(o Outcome, took time.Duration) {
	c.Outcomes[o]++
	if o > Outcome5xx {
		return
	}
	c.Total += took
	for i, bound := range LatencyBounds {
		if took <= bound {
			c.Latency[i]++
			return
		}
	}
}

// done counts the end of the goal's request, once.
func (g *goal) done(o Outcome, now time.Duration) {
	if g.route != nil && g.route.count != nil {
		g.route.count.done(o, now-g.began)
		g.route = nil
	}
}

// routeCounts are added up like counters.
type routeCounts map[RouteName]RouteCount

func (all routeCounts) add(o routeCounts) routeCounts {
	if len(o) == 0 {
		return all
	}
	sum := maps.Clone(all) // a Counters that was copied shares it
	if sum == nil {
		sum = routeCounts{}
	}
	for name, c := range o {
		total := sum[name]
		total.each(&c, func(c, o *uint64) { *c += *o })
		total.Total += c.Total
		sum[name] = total
	}
	return sum
}

func (all routeCounts) sub(o routeCounts) routeCounts {
	rest := maps.Clone(all)
	for name, c := range rest {
		old := o[name]
		c.each(&old, func(c, o *uint64) { *c -= min(*o, *c) })
		c.Total -= min(old.Total, c.Total)
		rest[name] = c
	}
	return rest
}

// recount makes a count for each route of a table, those that are there already kept.
func (w *worker) recount(routes *route.Table) {
	var names []RouteName
	routes.Each(func(r *route.Route) { names = append(names, nameOf(r)) })
	slices.SortFunc(names, func(a, b RouteName) int {
		if by := strings.Compare(a.Host, b.Host); by != 0 {
			return by
		}
		return strings.Compare(a.Route, b.Route)
	})
	names = slices.Compact(names)
	known := w.routeCounts
	w.routeCounts = make(map[RouteName]*RouteCount, len(names))
	count := func(name RouteName) *RouteCount {
		if c := known[name]; c != nil {
			return c
		}
		return &RouteCount{}
	}
	for i, name := range names {
		if i < maxRouteCounts {
			w.routeCounts[name] = count(name)
		}
	}
	if len(names) > maxRouteCounts {
		other := count(OtherRoutes)
		w.routeCounts[OtherRoutes] = other
		for _, name := range names[maxRouteCounts:] {
			w.routeCounts[name] = other
		}
	}
}

// countRoutes adds what this loop has counted.
func (w *worker) countRoutes(s *Stats) {
	mine := routeCounts{}
	for name, c := range w.routeCounts {
		if c != w.routeCounts[OtherRoutes] || name == OtherRoutes {
			mine[name] = *c
		}
	}
	s.Routes = s.Routes.add(mine)
}
