// Package route decides where a request goes. It is pure: a compiled table and a view of the request in, a route out.
package route

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// Any is the service key of the host that takes what no other matches.
const Any = "*"

// Request is what a table may ask a request for. What it returns are views that are valid during the call only.
type Request interface {
	// Path of the request without its query; ok is false when the protocol has none.
	Path() (path []byte, ok bool)
	// Header returns the value of the header with this name, and where there is a query that of its parameter, when the name
	// begins with config.QueryPrefix.
	Header(name string) (value []byte, ok bool)
}

// Table is the compiled form of a snapshot's hosts. It is immutable and shared by all loops.
type Table struct {
	hosts  map[string][]Route
	any    []Route
	routes int
}

// Route is where a matching request goes.
type Route struct {
	// Index numbers the routes of one table from 0, so that a loop can keep what belongs to a route in a slice.
	Index int
	// Key names a route that keeps something between requests across tables; it is empty for the others.
	Key  string
	Host string
	Name string
	// Clusters to choose from with Choose; none when Status answers.
	Clusters []string
	Status   int
	// Mirror is the cluster that gets copies; empty for none. See Mirrors.
	Mirror string
	// Timeout of the whole request; 0 leaves the request's own.
	Timeout time.Duration
	// Attempts in all, at least 1.
	Attempts int
	// Hash is what a cluster that balances by hash looks at.
	Hash []config.HashKey
	// What the route does besides, as config.Route has it.
	Retry    *config.Retry
	Fault    *config.Fault
	Limit    config.Limit
	Edit     *config.Edit
	Redirect *config.Redirect
	// Sticky names the header that Stick takes the value of; empty for none.
	Sticky string
	// Priority of the requests, and the header that may lower it; see Rank.
	Priority       config.Priority
	PriorityHeader string

	matches []match
	split   split
	mirror  split
}

// match is a compiled config.Match.
type match struct {
	name  string
	kind  config.MatchKind
	value []byte
	regex *regexp.Regexp

	from, to int64
	invert   bool
}

// Compile makes a table of hosts that config.Snapshot.Validate has accepted.
func Compile(hosts map[string]*config.Host) *Table {
	t := &Table{hosts: make(map[string][]Route, len(hosts))}
	for _, key := range slices.Sorted(maps.Keys(hosts)) {
		host := hosts[key]
		routes := make([]Route, 0, len(host.Routes))
		for i := range host.Routes {
			r := compile(&host.Routes[i])
			if r.Host, r.Name = key, cmp.Or(r.Name, "#"+strconv.Itoa(i)); len(r.Clusters) > 1 || r.Mirror != "" || r.Acts() {
				r.Key = fmt.Sprintf("%s#%d", key, i)
			}
			r.Index = t.routes
			routes = append(routes, r)
			t.routes++
		}
		if key == Any {
			t.any = routes
			continue
		}
		t.hosts[key] = routes
	}
	return t
}

func compile(r *config.Route) Route {
	out := Route{
		Name: r.Name, Status: r.Status, Timeout: r.Timeout, Attempts: cmp.Or(r.Attempts, config.DefaultAttempts),
		Retry: r.Retry, Fault: r.Fault, Limit: r.Limit, Edit: r.Edit, Redirect: r.Redirect, Sticky: r.Sticky, Hash: r.Hash,
		Priority: r.Priority, PriorityHeader: r.PriorityHeader,
	}
	if r.Cluster != "" {
		out.Clusters = []string{r.Cluster}
	}
	for _, s := range r.Split {
		out.Clusters = append(out.Clusters, s.Cluster)
		out.split.add(s.Weight)
	}
	if m := r.Mirror; m != nil && m.Numerator > 0 {
		out.Mirror = m.Cluster
		out.mirror.add(m.Numerator)
		out.mirror.add(m.Denominator - m.Numerator)
	}
	for _, m := range r.Matches {
		c := match{name: m.Name, kind: m.Kind, value: []byte(m.Value), from: m.From, to: m.To, invert: m.Invert}
		if m.Kind == config.MatchRegex {
			var err error
			if c.regex, err = m.Regexp(); err != nil {
				c.regex = regexp.MustCompile(`$^`) // Validate rejects it; here it takes nothing
			}
		}
		out.matches = append(out.matches, c)
	}
	return out
}

// Acts says that the route does more than send requests on and copy them.
func (r *Route) Acts() bool {
	return r.Retry != nil || r.Fault != nil || r.Limit != (config.Limit{}) || r.Edit != nil || r.Redirect != nil ||
		r.Priority != config.PriorityDefault
}

// Rank is the priority of a request: the route's, or a lower one that the request asks for.
func (r *Route) Rank(req Request) config.Priority {
	if r.PriorityHeader == "" {
		return r.Priority
	}
	if value, ok := req.Header(r.PriorityHeader); ok {
		if p, known := config.ParsePriority(value); known {
			return min(p, r.Priority)
		}
	}
	return r.Priority
}

// Len is the number of routes.
func (t *Table) Len() int { return t.routes }

// Each calls fn for every route, in no order.
func (t *Table) Each(fn func(*Route)) {
	for _, routes := range t.hosts {
		for i := range routes {
			fn(&routes[i])
		}
	}
	for i := range t.any {
		fn(&t.any[i])
	}
}

// Host returns the routes of a service, in order; none when nothing is known of it.
func (t *Table) Host(service []byte) []Route {
	if routes, ok := t.hosts[string(service)]; ok {
		return routes
	}
	return t.any
}

// Named is Host without what takes services that nothing is known of; nil then.
func (t *Table) Named(service []byte) []Route { return t.hosts[string(service)] }

// Match returns the route of a service that takes the request, or nil.
func (t *Table) Match(service, method []byte, req Request) *Route {
	return Match(t.Host(service), method, req)
}

// Plain returns the first route if it takes every request, else nil: what most services have, without a look at the request.
func Plain(routes []Route) *Route {
	if len(routes) > 0 && len(routes[0].matches) == 0 {
		return &routes[0]
	}
	return nil
}

// Match returns the first route that takes the request, or nil. It allocates nothing, and asks for headers only when a
// route does.
func Match(routes []Route, method []byte, req Request) *Route {
	for i := range routes {
		if r := &routes[i]; r.takes(method, req) {
			return r
		}
	}
	return nil
}

func (r *Route) takes(method []byte, req Request) bool {
	for i := range r.matches {
		if m := &r.matches[i]; !m.takes(method, req) {
			return false
		}
	}
	return true
}

func (m *match) takes(method []byte, req Request) bool {
	var value []byte
	var ok bool
	switch m.name {
	case config.MatchMethod:
		value, ok = method, len(method) > 0
	case config.MatchPath:
		value, ok = req.Path()
	default:
		value, ok = req.Header(m.name)
	}
	if !ok {
		return m.kind == config.MatchPresent && m.invert
	}
	return m.fits(value) != m.invert
}

func (m *match) fits(value []byte) bool {
	switch m.kind {
	case config.MatchExact:
		return bytes.Equal(value, m.value)
	case config.MatchPrefix:
		return bytes.HasPrefix(value, m.value)
	case config.MatchSegments:
		rest, ok := bytes.CutPrefix(value, m.value)
		return ok && (len(rest) == 0 || rest[0] == '/')
	case config.MatchSuffix:
		return bytes.HasSuffix(value, m.value)
	case config.MatchContains:
		return bytes.Contains(value, m.value)
	case config.MatchRegex:
		return len(value) <= config.MaxRegexValue && m.regex.Match(value)
	case config.MatchRange:
		n, ok := integer(value)
		return ok && n >= m.from && n < m.to
	}
	return true
}

// integer reads a decimal integer with an optional sign, all of b.
func integer(b []byte) (n int64, ok bool) {
	const most = 19 // digits: as many as an uint64 holds of any value
	digits := b
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > most {
		return 0, false
	}
	var sum uint64
	for _, c := range digits {
		if c -= '0'; c > 9 {
			return 0, false
		}
		sum = sum*10 + uint64(c)
	}
	switch negative := b[0] == '-'; {
	case negative && sum <= 1<<63:
		return -int64(sum), true
	case sum > math.MaxInt64:
		return 0, false
	}
	return int64(sum), true
}
