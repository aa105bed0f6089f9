// Package route decides where a request goes. It is pure: a compiled table and the request's key in, a route out.
package route

import (
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// Any is the service key of the host that takes what no other matches.
const Any = "*"

// Table is the compiled form of a snapshot's hosts. It is immutable and shared by all loops.
type Table struct {
	hosts  map[string][]Route
	any    []Route
	routes int
}

// Route is where a matching request goes.
type Route struct {
	// Index numbers the routes of one table from 0, so that a loop can keep what belongs to a route in a slice.
	Index   int
	Name    string
	Cluster string
	// Timeout of the whole request; 0 leaves the request's own.
	Timeout time.Duration

	method string
}

// Compile makes a table of hosts that config.Snapshot.Validate has accepted.
func Compile(hosts map[string]*config.Host) *Table {
	t := &Table{hosts: make(map[string][]Route, len(hosts))}
	for key, host := range hosts {
		routes := make([]Route, 0, len(host.Routes))
		for _, r := range host.Routes {
			routes = append(routes, Route{
				Index: t.routes, Name: r.Name, Cluster: r.Cluster, Timeout: r.Timeout, method: r.Method,
			})
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

// Len is the number of routes.
func (t *Table) Len() int { return t.routes }

// Each calls fn for every route.
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

// Match returns the first route of the service's host that takes method, or nil. It allocates nothing.
func (t *Table) Match(service, method []byte) *Route {
	routes, ok := t.hosts[string(service)]
	if !ok {
		routes = t.any
	}
	for i := range routes {
		if r := &routes[i]; r.method == "" || r.method == string(method) {
			return r
		}
	}
	return nil
}
