package control

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the control channel. Make them with NewMetrics.
type Metrics struct {
	streams      *prometheus.GaugeVec
	joins        prometheus.Counter
	joinsRefused *prometheus.CounterVec
	handovers    *prometheus.CounterVec
	patches      *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "axle_control_streams", Help: "Sidecars that are connected to this replica's control channel.",
		}, []string{"version"}),
		joins: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "axle_control_joins_total", Help: "Join tokens that this replica exchanged for a credential.",
		}),
		joinsRefused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "axle_control_joins_refused_total", Help: "Joins that this replica refused, by gRPC code.",
		}, []string{"code"}),
		handovers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "axle_control_handovers_total", Help: "Handovers whose end this replica recorded, by result (ok, failed).",
		}, []string{"result"}),
		patches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "axle_control_status_patches_total", Help: "Patches of pod status annotations, by result (ok, conflict, error).",
		}, []string{"result"}),
	}
	r.MustRegister(m.streams, m.joins, m.joinsRefused, m.handovers, m.patches)
	return m
}
