package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/axlemesh/axle/sidecar/proxy"
)

// bySeries emits a number for each series of requests, or of plain connections.
func bySeries(plain bool, put func(name proxy.SeriesName, c proxy.SeriesCount)) func(*Observed) {
	return func(o *Observed) {
		for name, c := range o.Stats.Series {
			if (name.Protocol == proxy.SpokenTCP) == plain {
				put(name, c)
			}
		}
	}
}

// traffic is what comes from clients.
var traffic = []metric{
	describe("axle_requests_total", "Requests that have ended, by the status of their answer in the words of the protocol and by what was wrong. Those of routes beyond the bound are (other).",
		prometheus.CounterValue, []string{"direction", "protocol", "host", "route", "code", "flag", "class"}, func(o *Observed, put func(float64, ...string)) {
			bySeries(false, func(n proxy.SeriesName, c proxy.SeriesCount) {
				for _, one := range c.Codes {
					put(float64(one.N), n.Direction.String(), n.Protocol.String(), n.Host, n.Route, one.Code.String(), one.Flag.String(), proxy.ClassOf(n.Protocol, one.Code, one.Flag))
				}
			})(o)
		}),
	byDirection("axle_downstream_requests_total", "Requests taken from clients, when they came.", prometheus.CounterValue,
		func(o *Observed) proxy.ByDirection { return o.Stats.Requests }),
	byDirection("axle_downstream_connections_active", "Open client connections.", prometheus.GaugeValue,
		func(o *Observed) proxy.ByDirection { return o.Stats.Downstream }),
	byDirection("axle_downstream_connections_total", "Client connections accepted.", prometheus.CounterValue,
		func(o *Observed) proxy.ByDirection { return o.Stats.Accepted }),
	byDirection("axle_downstream_received_bytes_total", "Bytes from clients, as they are on the wire.", prometheus.CounterValue,
		func(o *Observed) proxy.ByDirection { return o.Stats.Received }),
	byDirection("axle_downstream_sent_bytes_total", "Bytes to clients, as they are on the wire.", prometheus.CounterValue,
		func(o *Observed) proxy.ByDirection { return o.Stats.Sent }),
	describe("axle_tcp_connections_closed_total", "Plain connections of clients that have ended, by the cluster of their listener and by what was wrong.",
		prometheus.CounterValue, []string{"direction", "host", "flag"}, func(o *Observed, put func(float64, ...string)) {
			bySeries(true, func(n proxy.SeriesName, c proxy.SeriesCount) {
				for _, one := range c.Codes {
					put(float64(one.N), n.Direction.String(), n.Host, one.Flag.String())
				}
			})(o)
		}),
}

// histogram is a metric with buckets.
type histogram struct {
	Metric
	desc *prometheus.Desc
	emit func(o *Observed, put func(count uint64, sum float64, upTo map[float64]uint64, labels ...string))
}

func bucketed(name, help string, labels []string, emit func(*Observed, func(uint64, float64, map[float64]uint64, ...string))) histogram {
	return histogram{Metric{name, help, "histogram", labels}, prometheus.NewDesc(name, help, labels, nil), emit}
}

var histograms = []histogram{
	bucketed("axle_request_duration_seconds", "From a request to the last byte of its answer, or to whatever else has ended it.",
		[]string{"direction", "protocol", "host", "route"}, func(o *Observed, put func(uint64, float64, map[float64]uint64, ...string)) {
			bySeries(false, func(n proxy.SeriesName, c proxy.SeriesCount) {
				put(c.Ended(), c.Total.Seconds(), buckets(&c.Latency), n.Direction.String(), n.Protocol.String(), n.Host, n.Route)
			})(o)
		}),
	bucketed("axle_tcp_connection_duration_seconds", "How long plain connections were open.",
		[]string{"direction", "host"}, func(o *Observed, put func(uint64, float64, map[float64]uint64, ...string)) {
			bySeries(true, func(n proxy.SeriesName, c proxy.SeriesCount) {
				put(c.Ended(), c.Total.Seconds(), buckets(&c.Latency), n.Direction.String(), n.Host)
			})(o)
		}),
	bucketed("axle_handover_freeze_seconds", "How long connections stood still in a handover: the 99th percentile of each.", nil,
		func(o *Observed, put func(uint64, float64, map[float64]uint64, ...string)) {
			o.Handovers.Freeze.put(put)
		}),
	bucketed("axle_handover_duration_seconds", "From the first message of a handover to its last.", nil,
		func(o *Observed, put func(uint64, float64, map[float64]uint64, ...string)) {
			o.Handovers.Duration.put(put)
		}),
}

// buckets are cumulative, as Prometheus has them.
func buckets(l *proxy.Latency) map[float64]uint64 {
	upTo, seen := make(map[float64]uint64, len(l)), uint64(0)
	for i, bound := range proxy.LatencyBounds {
		seen += l[i]
		upTo[bound.Seconds()] = seen
	}
	return upTo
}
