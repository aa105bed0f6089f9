package static

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/config"
)

const rules = `
node: {id: here, version: v1, generation: 1}
handover: {}
static:
  listeners: []
  routes:
  - service: com.x.Pay:1.0
    match:
    - {header: ":method", exact: refund}
    - {header: user, prefix: test-}
    - {header: zone, regex: "eu-[0-9]"}
    - {header: trace, present: true}
    split:
    - {cluster: v1, weight: 9}
    - {cluster: v2, weight: 1}
    mirror: {cluster: v3, numerator: 5}
    timeout: 2s
    attempts: 1
  - service: com.x.Pay:1.0
    match: [{header: user, exact: nobody}]
    status: 403
  - service: com.x.Pay:1.0
    cluster: v1
    mirror: {cluster: v3, numerator: 1, denominator: 1000}
  clusters:
  - {name: v1, endpoints: ["127.0.0.1:1"]}
  - {name: v2, endpoints: []}
  - {name: v3, endpoints: []}
`

func TestRoutes(t *testing.T) {
	b, err := Parse("b.yaml", []byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Snapshot(b.Static)
	if err != nil {
		t.Fatal(err)
	}
	const name = "com.x.Pay:1.0"
	want := &config.Host{Name: name, Routes: []config.Route{
		{
			Name: name,
			Matches: []config.Match{
				{Name: config.MatchMethod, Kind: config.MatchExact, Value: "refund"}, {Name: "user", Kind: config.MatchPrefix, Value: "test-"},
				{Name: "zone", Kind: config.MatchRegex, Value: "eu-[0-9]"}, {Name: "trace"},
			},
			Split:   []config.Share{{Cluster: "v1", Weight: 9}, {Cluster: "v2", Weight: 1}},
			Mirror:  &config.Mirror{Cluster: "v3", Numerator: 5, Denominator: 100},
			Timeout: 2 * time.Second, Attempts: 1,
		},
		{Name: name, Matches: []config.Match{{Name: "user", Kind: config.MatchExact, Value: "nobody"}}, Status: 403},
		{Name: name, Cluster: "v1", Mirror: &config.Mirror{Cluster: "v3", Numerator: 1, Denominator: 1000}},
	}}
	if diff := cmp.Diff(want, got.Hosts[name]); diff != "" {
		t.Errorf("host (-want +got):\n%s", diff)
	}
}

func TestRoutesReportEveryMistake(t *testing.T) {
	_, err := Snapshot(&bootstrap.Static{
		Routes: []bootstrap.Route{
			{Service: "s", Match: []bootstrap.Match{{Header: "a"}, {Header: "b", Exact: "x", Prefix: "y"}, {Header: "c", Regex: "("}}, Cluster: "c"},
			{Service: "s", Split: []bootstrap.Share{{Cluster: "c"}}, Mirror: &bootstrap.Mirror{Cluster: "none", Numerator: 101}},
			{Service: "s", Status: 403},
			{Service: "t", Cluster: "c", Status: 403},
		},
		Clusters: []bootstrap.Cluster{{Name: "c"}},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`static.routes[0].match[0]: it needs one of present, exact, prefix, suffix, contains, regex and range, and has 0`,
		`static.routes[0].match[1]: it needs one of present, exact, prefix, suffix, contains, regex and range, and has 2`,
		`host "s": route 0: match 2: regex "(": error parsing regexp`,
		`host "s": route 1: split: the weights add up to 0`,
		`host "s": route 1: mirror: there is no cluster "none"`,
		`host "s": route 1: mirror: 101 in 100 is no fraction up to 1`,
		`static.routes[2].service: "s" has a route already that takes every request`,
		`host "t": route 0: it needs one of a cluster, a split, a status and a redirect, and has 2`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not among the mistakes:\n%v", want, err)
		}
	}
}
