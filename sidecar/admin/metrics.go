package admin

import (
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/overload"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// Observed is what the metrics are made of. Its counters include those of earlier generations, so that they never go back.
type Observed struct {
	Stats     proxy.Stats
	Handovers Handovers
	Overload  overload.Verdict
	// Adaptive limits, by cluster.
	Adaptive map[string]int64
	// Connected to the operator: 1 or 0; -1 when there is none.
	Connected int
}

// NewRegistry returns a registry that asks observe at each scrape.
func NewRegistry(version, build string, generation int64, observe func() Observed) *prometheus.Registry {
	r := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "axle_build_info", Help: buildHelp,
		ConstLabels: prometheus.Labels{"version": version, "generation": strconv.FormatInt(generation, 10), "build": build},
	})
	info.Set(1)
	r.MustRegister(
		info, &collector{observe: observe},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

// metric is one number of an Observed, or one per label value.
type metric struct {
	Metric
	desc *prometheus.Desc
	kind prometheus.ValueType
	emit func(o *Observed, put func(v float64, labels ...string))
}

// Metric describes a metric for people.
type Metric struct {
	Name, Help string
	Kind       string // counter, gauge, histogram
	Labels     []string
}

// Metrics describes all metrics of a sidecar that are its own, in the order of their page in the documents.
func Metrics() []Metric {
	all := []Metric{{"axle_build_info", buildHelp, "gauge", []string{"version", "generation", "build"}}}
	for _, m := range metrics {
		all = append(all, m.Metric)
	}
	for _, h := range histograms {
		all = append(all, h.Metric)
	}
	return all
}

func describe(name, help string, kind prometheus.ValueType, labels []string, emit func(*Observed, func(float64, ...string))) metric {
	m := metric{
		Metric: Metric{Name: name, Help: help, Kind: "counter", Labels: labels},
		desc:   prometheus.NewDesc(name, help, labels, nil), kind: kind, emit: emit,
	}
	if kind == prometheus.GaugeValue {
		m.Kind = "gauge"
	}
	return m
}

func counter(name, help string, of func(*Observed) uint64) metric {
	return describe(name, help, prometheus.CounterValue, nil, func(o *Observed, put func(float64, ...string)) { put(float64(of(o))) })
}

func gauge(name, help string, of func(*Observed) uint64) metric {
	return describe(name, help, prometheus.GaugeValue, nil, func(o *Observed, put func(float64, ...string)) { put(float64(of(o))) })
}

func byDirection(name, help string, kind prometheus.ValueType, of func(*Observed) proxy.ByDirection) metric {
	return describe(name, help, kind, []string{"direction"}, func(o *Observed, put func(float64, ...string)) {
		v := of(o)
		put(float64(v[config.Inbound]), "inbound")
		put(float64(v[config.Outbound]), "outbound")
	})
}

const buildHelp = "1, with what this process is."

var metrics = slices.Concat(traffic, shortages, clusterMetrics, []metric{
	describe("axle_failures_total", "Requests that got an answer of the sidecar's own, or none.", prometheus.CounterValue, []string{"reason"},
		func(o *Observed, put func(float64, ...string)) {
			for _, f := range proxy.Failures() {
				put(float64(o.Stats.Failed[f]), f.String())
			}
		}),
	describe("axle_overflows_total", "Requests and connections that a limit of their cluster has turned away, or sent over another connection.",
		prometheus.CounterValue, []string{"limit"}, func(o *Observed, put func(float64, ...string)) {
			for _, l := range proxy.Overflows() {
				put(float64(o.Stats.Overflow[l]), l.String())
			}
		}),
	counter("axle_endpoint_ejections_total", "Endpoints that were ejected because of how they had answered.", func(o *Observed) uint64 { return o.Stats.Ejected }),
	describe("axle_endpoints_out", "Endpoints that get no requests now; reason is ejected or unhealthy.", prometheus.GaugeValue, []string{"reason"},
		func(o *Observed, put func(float64, ...string)) {
			put(float64(o.Stats.Out.Ejected), "ejected")
			put(float64(o.Stats.Out.Unhealthy), "unhealthy")
		}),
	describe("axle_mirrored_requests_total", "Copies of requests that were due; result is answered or dropped.",
		prometheus.CounterValue, []string{"result"}, func(o *Observed, put func(float64, ...string)) {
			put(float64(o.Stats.Mirrored), "answered")
			put(float64(o.Stats.MirrorDropped), "dropped")
		}),
	describe("axle_tls_handshakes_total", "TLS handshakes with clients and endpoints; result is ok or failed.",
		prometheus.CounterValue, []string{"result"}, func(o *Observed, put func(float64, ...string)) {
			put(float64(o.Stats.Handshakes), "ok")
			put(float64(o.Stats.HandshakesFailed), "failed")
		}),
	counter("axle_tls_connections_distrusted_total", "Connections closed because their peer is not trusted any more: after a handover, or a change of trust.",
		func(o *Observed) uint64 { return o.Stats.Distrusted }),
	counter("axle_retries_total", "Tries after the first of requests that had reached an endpoint.", func(o *Observed) uint64 { return o.Stats.Retried }),
	counter("axle_retries_denied_total", "Retries that a budget did not allow.", func(o *Observed) uint64 { return o.Stats.RetriesDenied }),
	counter("axle_hedges_total", "Retries that were sent beside a try which was still waited for.", func(o *Observed) uint64 { return o.Stats.Hedged }),
	counter("axle_hedges_won_total", "Those of them that have answered before the other try.", func(o *Observed) uint64 { return o.Stats.HedgesWon }),
	counter("axle_delayed_requests_total", "Requests that a fault has delayed.", func(o *Observed) uint64 { return o.Stats.Delayed }),
	counter("axle_access_log_lines_total", "Lines of the access log that were given to its writer.", func(o *Observed) uint64 { return o.Stats.Logged }),
	describe("axle_access_log_dropped_total", "Lines of the access log that are missing; reason is full (the writer did not keep up) or write (there was no file or no room on its disk).",
		prometheus.CounterValue, []string{"reason"}, func(o *Observed, put func(float64, ...string)) {
			put(float64(o.Stats.LogFull), "full")
			put(float64(o.Stats.LogLost), "write")
		}),
	gauge("axle_upstream_connections_active", "Open connections to endpoints.", func(o *Observed) uint64 { return o.Stats.Upstream }),
	counter("axle_upstream_connections_total", "Connections to endpoints opened.", func(o *Observed) uint64 { return o.Stats.Dialled }),
	gauge("axle_upstream_requests_pending", "Requests that wait for an answer.", func(o *Observed) uint64 { return o.Stats.Waiting }),
	counter("axle_responses_late_total", "Answers after a timeout or the answer of another try, or for a client that had gone.", func(o *Observed) uint64 { return o.Stats.Late }),
	counter("axle_connections_malformed_total", "Connections closed because of what their peer sent.", func(o *Observed) uint64 { return o.Stats.Malformed }),
	counter("axle_connections_slow_total", "Connections closed because their peer did not read.", func(o *Observed) uint64 { return o.Stats.Slow }),
	counter("axle_connections_refused_total", "Client connections over the limit.", func(o *Observed) uint64 { return o.Stats.Refused }),
	counter("axle_read_calls_total", "System calls that read.", func(o *Observed) uint64 { return o.Stats.Reads }),
	counter("axle_write_calls_total", "System calls that write.", func(o *Observed) uint64 { return o.Stats.Writes }),
	counter("axle_handover_connections_moved_total", "Connections that came in a handover.", func(o *Observed) uint64 { return o.Stats.Moved }),
	counter("axle_handover_connections_lost_total", "Connections that a handover closed.", func(o *Observed) uint64 { return o.Stats.Lost }),
	counter("axle_handover_connections_mismatch_total", "Connections whose kernel counters contradicted ours.", func(o *Observed) uint64 { return o.Stats.Mismatch }),
	describe("axle_handovers_total", "Handovers to or from this sidecar that ended.", prometheus.CounterValue, []string{"result"},
		func(o *Observed, put func(float64, ...string)) {
			put(float64(o.Handovers.OK), "ok")
			put(float64(o.Handovers.Failed), "failed")
		}),
	describe("axle_operator_connected", "1 while the control channel is open.", prometheus.GaugeValue, nil,
		func(o *Observed, put func(float64, ...string)) {
			if o.Connected >= 0 {
				put(float64(o.Connected))
			}
		}),
})

// collector turns an Observed into metrics.
type collector struct{ observe func() Observed }

// Describe sends every description.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range metrics {
		to <- m.desc
	}
	for _, h := range histograms {
		to <- h.desc
	}
}

// Collect sends every value.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	o := c.observe()
	for _, m := range metrics {
		m.emit(&o, func(v float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
		})
	}
	for _, h := range histograms {
		h.emit(&o, func(count uint64, sum float64, upTo map[float64]uint64, labels ...string) {
			to <- prometheus.MustNewConstHistogram(h.desc, count, sum, upTo, labels...)
		})
	}
}
