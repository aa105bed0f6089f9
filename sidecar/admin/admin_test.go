package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/proxy"
)

func ask(t *testing.T, h http.Handler, method, path string) (int, string) {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	req, err := http.NewRequest(method, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if !resp.Close {
		t.Errorf("%s %s: the response does not end its connection", method, path)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestPages(t *testing.T) {
	var lvl int
	h := Handler(Config{
		Healthy:     func() error { return nil },
		Ready:       func() error { return errors.New("no configuration yet") },
		Dump:        func() any { return map[string]int{"a": 1} },
		Connections: func() any { return []int{} },
		Clusters:    func() any { return []string{"c"} },
		Metrics:     NewRegistry("v1", "b", 3, func() Observed { return Observed{} }),
		Level:       func(n int) { lvl = n },
	})
	cases := map[string]struct {
		method, path string
		code         int
		body         string
	}{
		"index":         {"GET", "/", 200, "/metrics"},
		"health":        {"GET", "/healthz", 200, "ok"},
		"readiness":     {"GET", "/readyz", 503, "no configuration yet"},
		"dump":          {"GET", "/config_dump", 200, "\"a\": 1"},
		"connections":   {"GET", "/connections", 200, "[]"},
		"clusters":      {"GET", "/clusters", 200, "\"c\""},
		"metrics":       {"GET", "/metrics", 200, `axle_build_info{build="b",generation="3",version="v1"} 1`},
		"log level":     {"PUT", "/log_level?level=1", 200, "ok"},
		"a bad level":   {"PUT", "/log_level?level=9", 400, "want 0"},
		"gc":            {"POST", "/gc", 200, "heap_alloc_bytes "},
		"gc is no GET":  {"GET", "/gc", 405, ""},
		"no profile":    {"GET", "/debug/pprof/", 404, ""},
		"anything else": {"GET", "/x", 404, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			code, body := ask(t, h, tc.method, tc.path)
			if code != tc.code || !strings.Contains(body, tc.body) {
				t.Errorf("%d %q; want %d with %q", code, body, tc.code, tc.body)
			}
		})
	}
	if lvl != 1 {
		t.Errorf("level %d, want 1", lvl)
	}
}

func TestMetrics(t *testing.T) {
	o := Observed{Connected: 1}
	o.Stats.Requests = proxy.ByDirection{config.Inbound: 5, config.Outbound: 7}
	o.Stats.Answered = proxy.ByDirection{config.Inbound: 4, config.Outbound: 7}
	o.Stats.Errors = proxy.ByDirection{config.Inbound: 1}
	o.Stats.Failed[proxy.FailTimeout] = 2
	o.Stats.Mirrored, o.Stats.MirrorDropped = 3, 1
	o.Stats.Overflow[proxy.OverPending], o.Stats.Ejected, o.Stats.Out = 4, 2, proxy.Out{Ejected: 1, Unhealthy: 3}
	o.Stats.Clusters = map[string]uint64{"outbound/shop/pay/80/version=v2": 1, "outbound/shop/pay/80/version=v1": 9}
	o.Stats.Downstream = proxy.ByDirection{config.Inbound: 3}
	o.Handovers.Add(handover.Result{OK: true, FreezeP99Micros: 1500, DurationMicros: 30_000})
	o.Handovers.Add(handover.Result{OK: true, FreezeP99Micros: 9_000_000, DurationMicros: 30_000})
	o.Handovers.Add(handover.Result{FreezeP99Micros: 1})
	o.Stats.Retried, o.Stats.RetriesDenied, o.Stats.Delayed = 3, 2, 1
	o.Stats.Hedged, o.Stats.HedgesWon = 2, 1
	c := proxy.SeriesCount{Total: 3 * time.Second, Codes: []proxy.CodeCount{
		{Code: proxy.CodeOf(0), N: 2}, {Code: proxy.CodeOf(7), Flag: proxy.FlagOf(proxy.FailTimeout), N: 1}, {Flag: proxy.FlagClientGone, N: 1},
	}}
	c.Latency[1] = 1
	o.Stats.Series = map[proxy.SeriesName]proxy.SeriesCount{
		{Direction: config.Outbound, Protocol: proxy.SpokenBolt, RouteName: proxy.RouteName{Host: "com.x.Pay:1.0", Route: "default"}}: c,
		{Protocol: proxy.SpokenTCP, RouteName: proxy.RouteName{Host: "inbound/80", Route: proxy.None}}:                                {Codes: []proxy.CodeCount{{N: 4}}},
	}
	o.Stats.Load = map[string]*proxy.ClusterLoad{"outbound/shop/pay/80/version=v1": {Active: 3, Endpoints: map[string]uint64{"healthy": 2, "ejected": 1}}}
	o.Stats.Upstreams = map[string]proxy.ClusterCount{"outbound/shop/pay/80/version=v2": {Retries: 5}}
	r := NewRegistry("v1", "b", 3, func() Observed { return o })
	want := `
# HELP axle_hedges_total Retries that were sent beside a try which was still waited for.
# TYPE axle_hedges_total counter
axle_hedges_total 2
# HELP axle_hedges_won_total Those of them that have answered before the other try.
# TYPE axle_hedges_won_total counter
axle_hedges_won_total 1
# HELP axle_retries_denied_total Retries that a budget did not allow.
# TYPE axle_retries_denied_total counter
axle_retries_denied_total 2
# HELP axle_request_duration_seconds From a request to the last byte of its answer, or to whatever else has ended it.
# TYPE axle_request_duration_seconds histogram
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="0.0005"} 0
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="0.001"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="0.002"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="0.005"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="0.01"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="0.02"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="0.05"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="0.1"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="0.2"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="0.5"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="1"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="2"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="5"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="15"} 1
axle_request_duration_seconds_bucket{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default",le="+Inf"} 4
axle_request_duration_seconds_sum{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default"} 3
axle_request_duration_seconds_count{direction="outbound",host="com.x.Pay:1.0",protocol="bolt",route="default"} 4
# HELP axle_requests_total Requests that have ended, by the status of their answer in the words of the protocol and by what was wrong. Those of routes beyond the bound are (other).
# TYPE axle_requests_total counter
axle_requests_total{class="ok",code="0",direction="outbound",flag="-",host="com.x.Pay:1.0",protocol="bolt",route="default"} 2
axle_requests_total{class="error",code="7",direction="outbound",flag="timeout",host="com.x.Pay:1.0",protocol="bolt",route="default"} 1
axle_requests_total{class="gone",code="-",direction="outbound",flag="client_gone",host="com.x.Pay:1.0",protocol="bolt",route="default"} 1
# HELP axle_tcp_connections_closed_total Plain connections of clients that have ended, by the cluster of their listener and by what was wrong.
# TYPE axle_tcp_connections_closed_total counter
axle_tcp_connections_closed_total{direction="inbound",flag="-",host="inbound/80"} 4
# HELP axle_cluster_retries_total Tries after the first of requests that had reached an endpoint.
# TYPE axle_cluster_retries_total counter
axle_cluster_retries_total{cluster="outbound/shop/pay/80/version=v1"} 0
axle_cluster_retries_total{cluster="outbound/shop/pay/80/version=v2"} 5
# HELP axle_cluster_requests_active Requests that were sent to an endpoint and have no answer yet; plain connections that are open.
# TYPE axle_cluster_requests_active gauge
axle_cluster_requests_active{cluster="outbound/shop/pay/80/version=v1"} 3
axle_cluster_requests_active{cluster="outbound/shop/pay/80/version=v2"} 0
# HELP axle_cluster_endpoints Endpoints, by state: healthy, unhealthy (as the configuration or a check says) or ejected.
# TYPE axle_cluster_endpoints gauge
axle_cluster_endpoints{cluster="outbound/shop/pay/80/version=v1",state="ejected"} 1
axle_cluster_endpoints{cluster="outbound/shop/pay/80/version=v1",state="healthy"} 2
# HELP axle_cluster_requests_total Requests sent to endpoints, each time, by the cluster that their route has chosen.
# TYPE axle_cluster_requests_total counter
axle_cluster_requests_total{cluster="outbound/shop/pay/80/version=v1"} 9
axle_cluster_requests_total{cluster="outbound/shop/pay/80/version=v2"} 1
# HELP axle_mirrored_requests_total Copies of requests that were due; result is answered or dropped.
# TYPE axle_mirrored_requests_total counter
axle_mirrored_requests_total{result="answered"} 3
axle_mirrored_requests_total{result="dropped"} 1
# HELP axle_downstream_connections_active Open client connections.
# TYPE axle_downstream_connections_active gauge
axle_downstream_connections_active{direction="inbound"} 3
axle_downstream_connections_active{direction="outbound"} 0
# HELP axle_endpoint_ejections_total Endpoints that were ejected because of how they had answered.
# TYPE axle_endpoint_ejections_total counter
axle_endpoint_ejections_total 2
# HELP axle_endpoints_out Endpoints that get no requests now; reason is ejected or unhealthy.
# TYPE axle_endpoints_out gauge
axle_endpoints_out{reason="ejected"} 1
axle_endpoints_out{reason="unhealthy"} 3
# HELP axle_overflows_total Requests and connections that a limit of their cluster has turned away, or sent over another connection.
# TYPE axle_overflows_total counter
axle_overflows_total{limit="adaptive"} 0
axle_overflows_total{limit="connections"} 0
axle_overflows_total{limit="pending"} 4
axle_overflows_total{limit="requests"} 0
axle_overflows_total{limit="retries"} 0
# HELP axle_handovers_total Handovers to or from this sidecar that ended.
# TYPE axle_handovers_total counter
axle_handovers_total{result="failed"} 1
axle_handovers_total{result="ok"} 2
# HELP axle_operator_connected 1 while the control channel is open.
# TYPE axle_operator_connected gauge
axle_operator_connected 1
# HELP axle_downstream_requests_total Requests taken from clients, when they came.
# TYPE axle_downstream_requests_total counter
axle_downstream_requests_total{direction="inbound"} 5
axle_downstream_requests_total{direction="outbound"} 7
# HELP axle_handover_freeze_seconds How long connections stood still in a handover: the 99th percentile of each.
# TYPE axle_handover_freeze_seconds histogram
axle_handover_freeze_seconds_bucket{le="0.001"} 0
axle_handover_freeze_seconds_bucket{le="0.002"} 1
axle_handover_freeze_seconds_bucket{le="0.005"} 1
axle_handover_freeze_seconds_bucket{le="0.01"} 1
axle_handover_freeze_seconds_bucket{le="0.02"} 1
axle_handover_freeze_seconds_bucket{le="0.05"} 1
axle_handover_freeze_seconds_bucket{le="0.1"} 1
axle_handover_freeze_seconds_bucket{le="0.2"} 1
axle_handover_freeze_seconds_bucket{le="0.5"} 1
axle_handover_freeze_seconds_bucket{le="1"} 1
axle_handover_freeze_seconds_bucket{le="5"} 1
axle_handover_freeze_seconds_bucket{le="+Inf"} 2
axle_handover_freeze_seconds_sum 9.0015
axle_handover_freeze_seconds_count 2
`
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(want, -1) {
		names = append(names, m[1])
	}
	err := testutil.GatherAndCompare(r, strings.NewReader(want), names...)
	if err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("names: %v, %v", problems, err)
	}
}

// TestSeriesByClusterAreBounded has more clusters than anybody wants to see.
func TestSeriesByClusterAreBounded(t *testing.T) {
	o := Observed{}
	o.Stats.Clusters = map[string]uint64{}
	for i := range maxClusters + 5 {
		o.Stats.Clusters[fmt.Sprintf("c%04d", i)] = 2
	}
	series, rest := 0, 0.0
	clusterMetrics[0].emit(&o, func(v float64, labels ...string) {
		if series++; labels[0] == proxy.Other {
			rest = v
		}
	})
	if series != maxClusters+1 || rest != 10 {
		t.Errorf("%d series, %v requests in the last; want %d and 10", series, rest, maxClusters+1)
	}
}

func TestMetricsWithoutAnOperator(t *testing.T) {
	r := NewRegistry("v1", "b", 3, func() Observed { return Observed{Connected: -1} })
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "axle_operator_connected" {
			t.Errorf("%s is there: %v", f.GetName(), f)
		}
	}
}

func TestHistogramOfABoundary(t *testing.T) {
	var h Histogram
	h.Add(time.Millisecond)
	h.Add(time.Millisecond + 1)
	if h.Buckets[0] != 1 || h.Buckets[1] != 1 || h.Count != 2 {
		t.Errorf("histogram %+v", h)
	}
}
