package admin

import (
	"maps"
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
		Name: "axle_build_info", Help: "1, with what this process is.",
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
	desc *prometheus.Desc
	kind prometheus.ValueType
	emit func(o *Observed, put func(v float64, labels ...string))
}

func describe(name, help string, kind prometheus.ValueType, labels []string, emit func(*Observed, func(float64, ...string))) metric {
	return metric{desc: prometheus.NewDesc(name, help, labels, nil), kind: kind, emit: emit}
}

func counter(name, help string, of func(*Observed) uint64) metric {
	return describe(name, help, prometheus.CounterValue, nil, func(o *Observed, put func(float64, ...string)) { put(float64(of(o))) })
}

func gauge(name, help string, of func(*Observed) uint64) metric {
	m := counter(name, help, of)
	m.kind = prometheus.GaugeValue
	return m
}

func byDirection(name, help string, kind prometheus.ValueType, of func(*Observed) proxy.ByDirection) metric {
	return describe(name, help, kind, []string{"direction"}, func(o *Observed, put func(float64, ...string)) {
		v := of(o)
		put(float64(v[config.Inbound]), "inbound")
		put(float64(v[config.Outbound]), "outbound")
	})
}

var metrics = slices.Concat(traffic, shortages)

var traffic = []metric{
	byDirection("axle_downstream_connections_active", "Open client connections.", prometheus.GaugeValue,
		func(o *Observed) proxy.ByDirection { return o.Stats.Downstream }),
	byDirection("axle_downstream_connections_total", "Client connections accepted.", prometheus.CounterValue,
		func(o *Observed) proxy.ByDirection { return o.Stats.Accepted }),
	byDirection("axle_requests_total", "RPC requests taken from clients.", prometheus.CounterValue,
		func(o *Observed) proxy.ByDirection { return o.Stats.Requests }),
	describe("axle_responses_total", "Answers of endpoints given to clients; class is ok or error.", prometheus.CounterValue,
		[]string{"direction", "class"}, responses),
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
	describe("axle_cluster_requests_total", "Requests sent to endpoints, by the cluster that their route has chosen.",
		prometheus.CounterValue, []string{"cluster"}, clusters),
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
	describe("axle_route_requests_total", "Requests that a route has taken; those of routes beyond the bound are in one series.",
		prometheus.CounterValue, []string{"host", "route"}, func(o *Observed, put func(float64, ...string)) {
			for name, c := range o.Stats.Routes {
				put(float64(c.Requests), name.Host, name.Route)
			}
		}),
	describe("axle_route_outcomes_total", "How requests of a route have ended: by the class of the answer's status, own for an answer of the sidecar's own, gone for a client that has left, moved for what a handover has taken elsewhere.",
		prometheus.CounterValue, []string{"host", "route", "outcome"}, func(o *Observed, put func(float64, ...string)) {
			for name, c := range o.Stats.Routes {
				for _, outcome := range proxy.Outcomes() {
					put(float64(c.Outcomes[outcome]), name.Host, name.Route, outcome.String())
				}
			}
		}),
	counter("axle_retries_total", "Tries after the first of requests that had reached an endpoint.", func(o *Observed) uint64 { return o.Stats.Retried }),
	counter("axle_retries_denied_total", "Retries that a budget did not allow.", func(o *Observed) uint64 { return o.Stats.RetriesDenied }),
	counter("axle_delayed_requests_total", "Requests that a fault has delayed.", func(o *Observed) uint64 { return o.Stats.Delayed }),
	gauge("axle_upstream_connections_active", "Open connections to endpoints.", func(o *Observed) uint64 { return o.Stats.Upstream }),
	counter("axle_upstream_connections_total", "Connections to endpoints opened.", func(o *Observed) uint64 { return o.Stats.Dialled }),
	gauge("axle_upstream_requests_pending", "Requests that wait for an answer.", func(o *Observed) uint64 { return o.Stats.Waiting }),
	counter("axle_responses_late_total", "Answers after a timeout or for a client that had gone.", func(o *Observed) uint64 { return o.Stats.Late }),
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
}

func responses(o *Observed, put func(float64, ...string)) {
	for d, name := range map[config.Direction]string{config.Inbound: "inbound", config.Outbound: "outbound"} {
		put(float64(o.Stats.Answered[d]-o.Stats.Errors[d]), name, "ok")
		put(float64(o.Stats.Errors[d]), name, "error")
	}
}

// maxClusters bounds the series by cluster; the requests of all others are in one series, which is named otherClusters.
const (
	maxClusters   = 1000
	otherClusters = "(other)"
)

func clusters(o *Observed, put func(float64, ...string)) {
	rest := uint64(0)
	for i, name := range slices.Sorted(maps.Keys(o.Stats.Clusters)) {
		if i >= maxClusters {
			rest += o.Stats.Clusters[name]
			continue
		}
		put(float64(o.Stats.Clusters[name]), name)
	}
	if rest > 0 {
		put(float64(rest), otherClusters)
	}
}

// collector turns an Observed into metrics.
type collector struct{ observe func() Observed }

var (
	freezeDesc   = prometheus.NewDesc("axle_handover_freeze_seconds", "How long connections stood still in a handover: the 99th percentile of each.", nil, nil)
	durationDesc = prometheus.NewDesc("axle_handover_duration_seconds", "From the first message of a handover to its last.", nil, nil)
	latencyDesc  = prometheus.NewDesc("axle_route_duration_seconds", "From a request to the first byte of its endpoint's answer.", []string{"host", "route"}, nil)
)

// Describe sends every description.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range metrics {
		to <- m.desc
	}
	to <- freezeDesc
	to <- durationDesc
	to <- latencyDesc
}

// Collect sends every value.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	o := c.observe()
	for _, m := range metrics {
		m.emit(&o, func(v float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
		})
	}
	to <- o.Handovers.Freeze.metric(freezeDesc)
	to <- o.Handovers.Duration.metric(durationDesc)
	for name, c := range o.Stats.Routes {
		to <- latency(name, &c)
	}
}

// latency is the histogram of one route.
func latency(name proxy.RouteName, c *proxy.RouteCount) prometheus.Metric {
	upTo := make(map[float64]uint64, len(proxy.LatencyBounds))
	seen := uint64(0)
	for i, bound := range proxy.LatencyBounds {
		seen += c.Latency[i]
		upTo[bound.Seconds()] = seen
	}
	return prometheus.MustNewConstHistogram(latencyDesc, c.Answered(), c.Total.Seconds(), upTo, name.Host, name.Route)
}
