package static

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/overload"
)

const protected = `
node: {id: here, version: v1, generation: 1}
handover: {}
memoryLimitBytes: 100000000
overload:
  interval: 500ms
  memory: {closeIdle: 50, refuseClients: 0, shedHigh: 97}
  cpu: {shedLow: 0}
static:
  listeners:
  - {name: web, address: "127.0.0.1:1", protocol: http1}
  routes:
  - {service: a, cluster: c, priority: high, priorityHeader: x-priority}
  - {service: b, cluster: c, priority: low}
  - {service: "*", cluster: c}
  clusters:
  - name: c
    endpoints: ["127.0.0.1:1"]
    limits: {maxRequests: 10, high: {maxRequests: 20, maxPendingRequests: 3, maxRetries: 2}}
    adaptive: {minConcurrency: 5, maxConcurrency: 50, window: 200ms, percentile: 90, slackPercent: 50, probeInterval: 1m}
`

func TestOverloadIsRead(t *testing.T) {
	b, err := Parse("b.yaml", []byte(protected))
	if err != nil {
		t.Fatal(err)
	}
	got, bound, err := Overload(b)
	if err != nil || bound != 100_000_000 {
		t.Errorf("a bound of %d, %v", bound, err)
	}
	want := overload.Config{Interval: 500 * time.Millisecond, Steps: overload.Defaults()}
	want.Steps[overload.Memory] = overload.Steps{overload.CloseIdle: 0.5, overload.ShedLow: 0.82, overload.ShedDefault: 0.88, overload.ShedHigh: 0.97}
	want.Steps[overload.CPU] = overload.Steps{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("overload (-want +got):\n%s", diff)
	}
	s, err := Snapshot(b.Static)
	if err != nil {
		t.Fatal(err)
	}
	for service, want := range map[string]config.Route{
		"a": {Name: "a", Cluster: "c", Priority: config.PriorityHigh, PriorityHeader: "x-priority"},
		"b": {Name: "b", Cluster: "c", Priority: config.PriorityLow}, "*": {Name: "*", Cluster: "c"},
	} {
		if diff := cmp.Diff([]config.Route{want}, s.Hosts[service].Routes); diff != "" {
			t.Errorf("routes (-want +got):\n%s", diff)
		}
	}
	c := s.Clusters["c"]
	if diff := cmp.Diff(&config.Breakers{MaxRequests: 20, MaxPending: 3, MaxRetries: 2}, c.High); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	adaptive := &config.Adaptive{Min: 5, Max: 50, Window: 200 * time.Millisecond, Percentile: 90, Slack: 50, Probe: time.Minute}
	if diff := cmp.Diff(adaptive, c.Adaptive); diff != "" {
		t.Errorf("adaptive (-want +got):\n%s", diff)
	}
}

func TestOverloadIsOnByDefault(t *testing.T) {
	for name, tc := range map[string]struct {
		in    *bootstrap.Overload
		steps [3]overload.Steps
		bound int64
	}{
		"nothing is said": {nil, overload.Defaults(), 7},
		"a bound":         {&bootstrap.Overload{MemoryBytes: 5}, overload.Defaults(), 5},
		"switched off":    {&bootstrap.Overload{Disabled: true}, [3]overload.Steps{}, 7},
	} {
		got, bound, err := Overload(&bootstrap.Bootstrap{MemoryLimitBytes: 7, Overload: tc.in})
		if diff := cmp.Diff(tc.steps, got.Steps); diff != "" || err != nil || bound != tc.bound {
			t.Errorf("%s: a bound of %d, %v, (-want +got):\n%s", name, bound, err, diff)
		}
	}
}

func TestOverloadMistakes(t *testing.T) {
	percent := func(n int) *int { return &n }
	b := &bootstrap.Bootstrap{Overload: &bootstrap.Overload{
		Interval: "soon", MemoryBytes: -1, Memory: &bootstrap.OverloadSteps{RefuseClients: percent(60)}, CPU: &bootstrap.OverloadSteps{ShedLow: percent(101)},
	}}
	_, _, err := Overload(b)
	if err == nil {
		t.Fatal("no mistake is found")
	}
	want := []string{
		`overload.interval: time: invalid duration "soon"`, "overload.memoryBytes: -1 is negative",
		`overload: memory: "refuse" begins at 0.6, below what comes before it: lower that, too, or set it to 0`,
		`cpu: "shed low" begins at 1.01, which is not between 0 and 1`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
	if got := Check(b).Error(); !strings.Contains(got, "overload.interval") {
		t.Errorf("they are not among those of the file: %s", got)
	}
	_, err = Snapshot(&bootstrap.Static{
		Routes: []bootstrap.Route{{Service: "a", Cluster: "c", Priority: "urgent", PriorityHeader: ":path"}},
		Clusters: []bootstrap.Cluster{{
			Name: "c", Adaptive: &bootstrap.Adaptive{MinConcurrency: 9, MaxConcurrency: 5, Window: "1ms", Percentile: 100, ProbeInterval: "1ms"},
			Limits: &bootstrap.Limits{High: &bootstrap.HighLimits{MaxRequests: -1}},
		}},
	})
	for _, want := range []string{
		`static.routes[0].priority: "urgent" is none of low, default and high`, `priority header: ":path" is no header`,
		"adaptive: a limit from 9 to 5 is not between 1 and 1048576", "adaptive: the window 1ms is not between 10ms and 1m",
		"adaptive: the percentile 100 is not between 1 and 99", "adaptive: a probe every 1ms is not between two windows and 1h",
		"a limit of requests of high priority is negative",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not among the mistakes:\n%v", want, err)
		}
	}
}
