package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/axlemesh/axle/sidecar/proxy"
)

// Spans are the metrics of a process that traces. Like all others they go on from those of earlier generations.
func Spans(observe func() proxy.Counters) prometheus.Collector {
	return &spans{observe: observe, desc: prometheus.NewDesc("axle_trace_spans_total",
		"Spans that have ended; result is sent, or dropped when the collector was too slow, away, or did not want them.", []string{"result"}, nil)}
}

type spans struct {
	observe func() proxy.Counters
	desc    *prometheus.Desc
}

// Describe sends the description.
func (s *spans) Describe(to chan<- *prometheus.Desc) { to <- s.desc }

// Collect sends the values.
func (s *spans) Collect(to chan<- prometheus.Metric) {
	c := s.observe()
	to <- prometheus.MustNewConstMetric(s.desc, prometheus.CounterValue, float64(c.SpansSent), "sent")
	to <- prometheus.MustNewConstMetric(s.desc, prometheus.CounterValue, float64(c.SpansDropped), "dropped")
}
