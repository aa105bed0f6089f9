package admin

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/axlemesh/axle/sidecar/overload"
)

func TestOverloadMetrics(t *testing.T) {
	o := Observed{Connected: -1, Adaptive: map[string]int64{"pay": 17}}
	o.Stats.Shed = [3]uint64{5, 1, 0}
	o.Stats.Unwelcome, o.Stats.IdleClosed = 2, 3
	o.Overload.State[overload.Memory], o.Overload.Part[overload.Memory] = overload.ShedLow, 0.83
	o.Overload.Part[overload.CPU] = 0.5
	want := `
# HELP axle_adaptive_limit Requests that a cluster may have open, as its adaptive limit has found out.
# TYPE axle_adaptive_limit gauge
axle_adaptive_limit{cluster="pay"} 17
# HELP axle_overload_closed_connections_total Connections without a request that were closed because of an overload.
# TYPE axle_overload_closed_connections_total counter
axle_overload_closed_connections_total 3
# HELP axle_overload_refused_connections_total Client connections that were refused because of an overload.
# TYPE axle_overload_refused_connections_total counter
axle_overload_refused_connections_total 2
# HELP axle_overload_shed_requests_total Requests that an overload has left out.
# TYPE axle_overload_shed_requests_total counter
axle_overload_shed_requests_total{priority="default"} 1
axle_overload_shed_requests_total{priority="high"} 0
axle_overload_shed_requests_total{priority="low"} 5
# HELP axle_overload_state What is done about a resource: 0 nothing, 1 idle connections are closed, 2 new clients are refused, 3 requests of low priority are shed, 4 those of the default one, 5 all. Each does what those below it do.
# TYPE axle_overload_state gauge
axle_overload_state{resource="cpu"} 0
axle_overload_state{resource="descriptors"} 0
axle_overload_state{resource="memory"} 3
# HELP axle_overload_used_ratio The part of a resource that is used, as it was seen last: of memory what is no garbage; 0 where no limit is known.
# TYPE axle_overload_used_ratio gauge
axle_overload_used_ratio{resource="cpu"} 0.5
axle_overload_used_ratio{resource="descriptors"} 0
axle_overload_used_ratio{resource="memory"} 0.83
`
	names := []string{
		"axle_adaptive_limit", "axle_overload_closed_connections_total", "axle_overload_refused_connections_total",
		"axle_overload_shed_requests_total", "axle_overload_state", "axle_overload_used_ratio",
	}
	r := NewRegistry("v1", "b", 3, func() Observed { return o })
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}
