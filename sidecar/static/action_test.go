package static

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/config"
)

const actions = `
node: {id: here, version: v1, generation: 1}
handover: {}
static:
  listeners:
  - {name: web, address: "127.0.0.1:1", protocol: http1, limit: {burst: 100, tokens: 50}}
  routes:
  - service: shop.demo
    name: old
    match:
    - {header: ":path", prefix: /old}
    - {query: user, suffix: x}
    - {header: n, range: {from: 1, to: 9}, invert: true}
    - {header: a, contains: b}
    redirect: {scheme: https, host: new.demo, port: 8443, prefix: /old, path: /new, dropQuery: true, status: 308}
  - service: shop.demo
    split: [{cluster: v1, weight: 1}, {cluster: v2, weight: 1}]
    sticky: user
    attempts: 4
    retry:
      {retryOn: [reset, 5xx, busy], statuses: [409], anyMethod: true, perTry: 1s, hedge: true, backoff: 10ms, maxBackoff: 1s, budgetPercent: 10, budgetMin: 1}
    fault:
      delay: {numerator: 1, duration: 100ms}
      abort: {numerator: 1, denominator: 1000, status: 503}
    limit: {burst: 10, every: 1m}
    edit:
      request: [{set: a, value: b}, {add: c, value: d}, {default: e, value: f}, {remove: g}]
      response: [{remove: server}]
      host: inner
      prefix: /a
      path: /b
  clusters:
  - {name: v1, endpoints: ["127.0.0.1:1"]}
  - {name: v2, endpoints: []}
`

func TestActions(t *testing.T) {
	b, err := Parse("b.yaml", []byte(actions))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Snapshot(b.Static)
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Route{
		{
			Name: "old", Matches: []config.Match{
				{Name: config.MatchPath, Kind: config.MatchPrefix, Value: "/old"}, {Name: "?user", Kind: config.MatchSuffix, Value: "x"},
				{Name: "n", Kind: config.MatchRange, From: 1, To: 9, Invert: true}, {Name: "a", Kind: config.MatchContains, Value: "b"},
			},
			Redirect: &config.Redirect{Scheme: "https", Host: "new.demo", Port: 8443, Prefix: "/old", With: "/new", DropQuery: true, Status: 308},
		},
		{
			Name: "shop.demo", Split: []config.Share{{Cluster: "v1", Weight: 1}, {Cluster: "v2", Weight: 1}}, Sticky: "user", Attempts: 4,
			Retry: &config.Retry{
				On: config.RetryConnect | config.RetryReset | config.RetryServerError, Statuses: []int{409, 429, 503}, AnyMethod: true,
				PerTry: time.Second, Hedge: true, Backoff: 10 * time.Millisecond, MaxBackoff: time.Second, BudgetPercent: 10, BudgetMin: 1,
			},
			Fault: &config.Fault{
				Delayed: config.Fraction{Numerator: 1, Denominator: 100}, Delay: 100 * time.Millisecond,
				Aborted: config.Fraction{Numerator: 1, Denominator: 1000}, Status: 503,
			},
			Limit: config.Limit{Burst: 10, Tokens: 1, Every: time.Minute},
			Edit: &config.Edit{
				Request: []change.Field{
					{Op: change.Set, Name: "a", Value: "b"}, {Op: change.Add, Name: "c", Value: "d"},
					{Op: change.Absent, Name: "e", Value: "f"}, {Op: change.Remove, Name: "g"},
				},
				Response: []change.Field{{Op: change.Remove, Name: "server"}}, Host: "inner", Prefix: "/a", With: "/b",
			},
		},
	}
	if diff := cmp.Diff(want, got.Hosts["shop.demo"].Routes); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if want := (config.Limit{Burst: 100, Tokens: 50, Every: time.Second}); got.Listeners[0].Limit != want {
		t.Errorf("the listener's limit is %+v, want %+v", got.Listeners[0].Limit, want)
	}
}

func TestActionMistakes(t *testing.T) {
	_, err := Snapshot(&bootstrap.Static{
		Listeners: []bootstrap.Listener{{Name: "l", Address: ":1", Protocol: bootstrap.Bolt}},
		Routes: []bootstrap.Route{{
			Service: "a", Cluster: "c", Match: []bootstrap.Match{{Header: "a", Query: "b", Present: true}},
			Retry: &bootstrap.Retry{RetryOn: []string{"luck"}},
			Fault: &bootstrap.Fault{Delay: &bootstrap.FaultDelay{}, Abort: &bootstrap.FaultAbort{Numerator: 2, Denominator: 1}},
			Limit: &bootstrap.Limit{}, Edit: &bootstrap.Edit{Request: []bootstrap.Change{{Value: "x"}, {Set: "Te", Value: "x"}}},
		}},
		Clusters: []bootstrap.Cluster{{Name: "c"}},
	})
	want := []string{
		`static.routes[0].retry.retryOn[0]: "luck" is none of connect-failure, reset, gateway-error, 5xx and busy`,
		`static.routes[0].fault.delay.duration: it is missing`,
		`static.routes[0].fault.abort.status: it is missing`,
		`static.routes[0].edit.request[0]: it needs one of set, add, default and remove, and has 0`,
		`static.routes[0].match[0]: it needs one of header and query`,
		`static.routes[0]: edit and redirect are for HTTP, and every listener that is routed is bolt: its requests go on as they came`,
		`host "a": route 0: retry: it has nothing to retry on`,
		`host "a": route 0: fault: it needs a delay or an abort`,
		`host "a": route 0: edit: request 0: header "Te" belongs to the connection or frames the message: it cannot be changed`,
		`host "a": route 0: limit: 0 tokens, 1 more in each 1s: each has to be above 0, and the time at most a day`,
	}
	var got []string
	if err != nil {
		got = strings.Split(err.Error(), "\n")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}
