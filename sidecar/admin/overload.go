package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/overload"
)

// shortages are metrics of what the process is short of, and of what it leaves out because of that.
var shortages = []metric{
	describe("axle_overload_state", "What is done about a resource: 0 nothing, 1 idle connections are closed, 2 new clients are refused, 3 requests of low priority are shed, 4 those of the default one, 5 all. Each does what those below it do.",
		prometheus.GaugeValue, []string{"resource"}, func(o *Observed, put func(float64, ...string)) {
			for _, r := range overload.Resources() {
				put(float64(o.Overload.State[r]), r.String())
			}
		}),
	describe("axle_overload_used_ratio", "The part of a resource that is used, as it was seen last: of memory what is no garbage; 0 where no limit is known.",
		prometheus.GaugeValue, []string{"resource"}, func(o *Observed, put func(float64, ...string)) {
			for _, r := range overload.Resources() {
				put(o.Overload.Part[r], r.String())
			}
		}),
	describe("axle_overload_shed_requests_total", "Requests that an overload has left out.", prometheus.CounterValue, []string{"priority"},
		func(o *Observed, put func(float64, ...string)) {
			for _, p := range config.Priorities() {
				put(float64(o.Stats.Shed[p.Index()]), p.String())
			}
		}),
	counter("axle_overload_refused_connections_total", "Client connections that were refused because of an overload.",
		func(o *Observed) uint64 { return o.Stats.Unwelcome }),
	counter("axle_overload_closed_connections_total", "Connections without a request that were closed because of an overload.",
		func(o *Observed) uint64 { return o.Stats.IdleClosed }),
	describe("axle_adaptive_limit", "Requests that a cluster may have open, as its adaptive limit has found out.", prometheus.GaugeValue, []string{"cluster"},
		func(o *Observed, put func(float64, ...string)) {
			for name, limit := range o.Adaptive {
				put(float64(limit), name)
			}
		}),
}
