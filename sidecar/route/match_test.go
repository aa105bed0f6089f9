package route_test

import (
	"math"
	"strings"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/route"
)

// request is a route.Request made by hand.
type request struct {
	path    string
	headers map[string]string
}

func (r request) Path() ([]byte, bool) { return []byte(r.path), r.path != "" }

func (r request) Header(name string) ([]byte, bool) {
	v, ok := r.headers[name]
	return []byte(v), ok
}

func method(exact string) []config.Match {
	return []config.Match{{Name: config.MatchMethod, Kind: config.MatchExact, Value: exact}}
}

func TestMatch(t *testing.T) {
	table := route.Compile(map[string]*config.Host{
		"pay:1.0": {Routes: []config.Route{{Matches: method("refund"), Cluster: "refunds"}, {Cluster: "pay"}}},
		"ask:1.0": {Routes: []config.Route{{Matches: method("price"), Cluster: "prices"}}},
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
			if r := table.Match([]byte(tc.service), []byte(tc.method), request{}); r != nil {
				got = r.Clusters[0]
			}
			if got != tc.want {
				t.Errorf("Match(%q, %q) = %q, want %q", tc.service, tc.method, got, tc.want)
			}
		})
	}
}

func TestMatchOnWhatARequestHas(t *testing.T) {
	header := func(kind config.MatchKind, value string) config.Match {
		return config.Match{Name: "x-user", Kind: kind, Value: value}
	}
	between := func(from, to int64) config.Match {
		return config.Match{Name: "x-user", Kind: config.MatchRange, From: from, To: to}
	}
	inverse := func(m config.Match) config.Match { m.Invert = true; return m }
	user := func(value string) request { return request{headers: map[string]string{"x-user": value}} }
	cases := map[string]struct {
		matches []config.Match
		method  string
		req     request
		want    bool
	}{
		"nothing":                            {nil, "", request{}, true},
		"present":                            {[]config.Match{header(config.MatchPresent, "")}, "", user(""), true},
		"not present":                        {[]config.Match{header(config.MatchPresent, "")}, "", request{}, false},
		"exact":                              {[]config.Match{header(config.MatchExact, "ann")}, "", user("ann"), true},
		"not exact":                          {[]config.Match{header(config.MatchExact, "ann")}, "", user("anna"), false},
		"exact and empty":                    {[]config.Match{header(config.MatchExact, "")}, "", user(""), true},
		"exact and empty is not absent":      {[]config.Match{header(config.MatchExact, "")}, "", request{}, false},
		"prefix":                             {[]config.Match{header(config.MatchPrefix, "an")}, "", user("ann"), true},
		"not the prefix":                     {[]config.Match{header(config.MatchPrefix, "nn")}, "", user("ann"), false},
		"regex":                              {[]config.Match{header(config.MatchRegex, "a.*|b")}, "", user("ann"), true},
		"regex is anchored at its end":       {[]config.Match{header(config.MatchRegex, "a|b")}, "", user("ann"), false},
		"regex is anchored at its start":     {[]config.Match{header(config.MatchRegex, "nn")}, "", user("ann"), false},
		"regex is anchored before a newline": {[]config.Match{header(config.MatchRegex, "ann")}, "", user("ann\n"), false},
		"a regex and a value too long":       {[]config.Match{header(config.MatchRegex, "a*")}, "", user(strings.Repeat("a", config.MaxRegexValue+1)), false},
		"suffix":                             {[]config.Match{header(config.MatchSuffix, "nn")}, "", user("ann"), true},
		"not the suffix":                     {[]config.Match{header(config.MatchSuffix, "an")}, "", user("ann"), false},
		"a part":                             {[]config.Match{header(config.MatchContains, "n")}, "", user("ann"), true},
		"not a part":                         {[]config.Match{header(config.MatchContains, "na")}, "", user("ann"), false},
		"in a range":                         {[]config.Match{between(-3, 3)}, "", user("-3"), true},
		"with a sign":                        {[]config.Match{between(-3, 3)}, "", user("+2"), true},
		"the end of a range is not in it":    {[]config.Match{between(-3, 3)}, "", user("3"), false},
		"the least of all numbers":           {[]config.Match{between(math.MinInt64, 0)}, "", user("-9223372036854775808"), true},
		"one below it":                       {[]config.Match{between(math.MinInt64, 0)}, "", user("-9223372036854775809"), false},
		"one above the greatest":             {[]config.Match{between(0, math.MaxInt64)}, "", user("9223372036854775808"), false},
		"no number":                          {[]config.Match{between(0, 9)}, "", user("1 "), false},
		"only a sign":                        {[]config.Match{between(0, 9)}, "", user("-"), false},
		"nothing is no number":               {[]config.Match{between(0, 9)}, "", user(""), false},
		"the inverse":                        {[]config.Match{inverse(header(config.MatchExact, "ann"))}, "", user("bob"), true},
		"the inverse of what is there":       {[]config.Match{inverse(header(config.MatchExact, "ann"))}, "", user("ann"), false},
		"the inverse of what is not":         {[]config.Match{inverse(header(config.MatchExact, "ann"))}, "", request{}, false},
		"absent":                             {[]config.Match{inverse(header(config.MatchPresent, ""))}, "", request{}, true},
		"not absent":                         {[]config.Match{inverse(header(config.MatchPresent, ""))}, "", user(""), false},
		"a path":                             {[]config.Match{{Name: config.MatchPath, Kind: config.MatchPrefix, Value: "/a"}}, "", request{path: "/a/b"}, true},
		"a path by its parts":                {onPath("/a.b"), "", request{path: "/a.b/c"}, true},
		"all of its parts":                   {onPath("/a.b"), "", request{path: "/a.b"}, true},
		"not a part of a part":               {onPath("/a.b"), "", request{path: "/a.bc"}, false},
		"not what is written like them":      {onPath("/a.b"), "", request{path: "/axb"}, false},
		"a long path by its parts":           {onPath("/a"), "", request{path: "/a/" + strings.Repeat("b", config.MaxRegexValue)}, true},
		"a path where there is none":         {[]config.Match{{Name: config.MatchPath}}, "", request{}, false},
		"a path is no header":                {[]config.Match{{Name: config.MatchPath}}, "", request{headers: map[string]string{":path": "/"}}, false},
		"a method by regex":                  {[]config.Match{{Name: config.MatchMethod, Kind: config.MatchRegex, Value: "get.*"}}, "getPrice", request{}, true},
		"no method":                          {[]config.Match{{Name: config.MatchMethod}}, "", request{}, false},
		"all of them":                        {append(method("pay"), header(config.MatchExact, "ann")), "pay", user("ann"), true},
		"all but one":                        {append(method("pay"), header(config.MatchExact, "ann")), "pay", user("bob"), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			table := route.Compile(map[string]*config.Host{"s": {Routes: []config.Route{{Matches: tc.matches, Cluster: "c"}}}})
			if got := table.Match([]byte("s"), []byte(tc.method), tc.req) != nil; got != tc.want {
				t.Errorf("matches: %t, want %t", got, tc.want)
			}
		})
	}
}

// fixed is a request that allocates nothing.
type fixed struct{ value []byte }

func (f *fixed) Path() ([]byte, bool)         { return nil, false }
func (f *fixed) Header(string) ([]byte, bool) { return f.value, true }

func TestMatchAllocatesNothing(t *testing.T) {
	table := route.Compile(map[string]*config.Host{"pay:1.0": {Routes: []config.Route{
		{Matches: append(method("refund"), config.Match{Name: "x", Kind: config.MatchRegex, Value: "[a-z]+[0-9]"}), Cluster: "c"},
		{Split: []config.Share{{Cluster: "a", Weight: 9}, {Cluster: "b", Weight: 1}}},
	}}})
	service, refund, charge := []byte("pay:1.0"), []byte("refund"), []byte("charge")
	req := &fixed{value: []byte("canary1")}
	var at route.Sequence
	n := testing.AllocsPerRun(100, func() {
		table.Match(service, refund, req)
		r := table.Match(service, charge, req)
		r.Choose(&at)
	})
	if n != 0 {
		t.Errorf("%v allocations for two matches, want 0", n)
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

func onPath(segments string) []config.Match {
	return []config.Match{{Name: config.MatchPath, Kind: config.MatchSegments, Value: segments}}
}
