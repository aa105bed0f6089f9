package route_test

import (
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/route"
)

func TestMatch(t *testing.T) {
	table := route.Compile(map[string]*config.Host{
		"pay:1.0": {Routes: []config.Route{{Method: "refund", Cluster: "refunds"}, {Cluster: "pay"}}},
		"ask:1.0": {Routes: []config.Route{{Method: "price", Cluster: "prices"}}},
		route.Any: {Routes: []config.Route{{Cluster: "rest"}}},
	})
	cases := map[string]struct{ service, method, want string }{
		"the first route that matches":              {"pay:1.0", "refund", "refunds"},
		"a route without a method takes all":        {"pay:1.0", "charge", "pay"},
		"no route of a known host":                  {"ask:1.0", "stock", ""},
		"an unknown service":                        {"nobody:1.0", "x", "rest"},
		"a request without a key":                   {"", "", "rest"},
		"a version is a part of the service's name": {"pay:2.0", "refund", "rest"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := ""
			if r := table.Match([]byte(tc.service), []byte(tc.method)); r != nil {
				got = r.Cluster
			}
			if got != tc.want {
				t.Errorf("Match(%q, %q) = %q, want %q", tc.service, tc.method, got, tc.want)
			}
		})
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	table := route.Compile(map[string]*config.Host{"pay:1.0": {Routes: []config.Route{{Method: "refund", Cluster: "c"}}}})
	service, method := []byte("pay:1.0"), []byte("refund")
	if n := testing.AllocsPerRun(100, func() { table.Match(service, method) }); n != 0 {
		t.Errorf("%v allocations for one match, want 0", n)
	}
}

func TestEveryRouteHasItsIndex(t *testing.T) {
	table := route.Compile(map[string]*config.Host{
		"a": {Routes: []config.Route{{Cluster: "1"}, {Cluster: "2"}}}, route.Any: {Routes: []config.Route{{Cluster: "3"}}},
	})
	seen := map[int]bool{}
	table.Each(func(r *route.Route) { seen[r.Index] = true })
	if len(seen) != table.Len() || !seen[0] || !seen[1] || !seen[2] {
		t.Errorf("indexes %v of %d routes, want 0 to 2", seen, table.Len())
	}
}
