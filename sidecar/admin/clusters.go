package admin

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/axlemesh/axle/sidecar/proxy"
)

// maxClusters bounds the series by cluster; those of all others are in one, which is named proxy.Other.
const maxClusters = 1000

// byCluster emits a number for each cluster.
func byCluster(name, help string, kind prometheus.ValueType, of func(s *proxy.Stats, cluster string) uint64) metric {
	return describe(name, help, kind, []string{"cluster"}, func(o *Observed, put func(float64, ...string)) {
		rest, more := uint64(0), false
		for i, cluster := range clusterNames(&o.Stats) {
			n := of(&o.Stats, cluster)
			if i < maxClusters {
				put(float64(n), cluster)
				continue
			}
			rest, more = rest+n, true
		}
		if more {
			put(float64(rest), proxy.Other)
		}
	})
}

// clusterNames are sorted.
func clusterNames(s *proxy.Stats) []string {
	all := map[string]bool{}
	for name := range s.Clusters {
		all[name] = true
	}
	for name := range s.Upstreams {
		all[name] = true
	}
	return slices.Sorted(maps.Keys(all))
}

func clusterCounter(name, help string, of func(c proxy.ClusterCount) uint64) metric {
	return byCluster(name, help, prometheus.CounterValue, func(s *proxy.Stats, cluster string) uint64 { return of(s.Upstreams[cluster]) })
}

func clusterGauge(name, help string, of func(l *proxy.ClusterLoad) uint64) metric {
	return byCluster(name, help, prometheus.GaugeValue, func(s *proxy.Stats, cluster string) uint64 {
		if l := s.Load[cluster]; l != nil {
			return of(l)
		}
		return 0
	})
}

var clusterMetrics = []metric{
	byCluster("axle_cluster_requests_total", "Requests sent to endpoints, each time, by the cluster that their route has chosen.", prometheus.CounterValue,
		func(s *proxy.Stats, cluster string) uint64 { return s.Clusters[cluster] }),
	clusterGauge("axle_cluster_requests_active", "Requests that were sent to an endpoint and have no answer yet; plain connections that are open.",
		func(l *proxy.ClusterLoad) uint64 { return l.Active }),
	clusterGauge("axle_cluster_requests_pending", "Requests that wait for a connection to an endpoint.", func(l *proxy.ClusterLoad) uint64 { return l.Pending }),
	clusterCounter("axle_cluster_timeouts_total", "Tries that an endpoint has not answered in time.", func(c proxy.ClusterCount) uint64 { return c.Timeouts }),
	clusterCounter("axle_cluster_retries_total", "Tries after the first of requests that had reached an endpoint.", func(c proxy.ClusterCount) uint64 { return c.Retries }),
	clusterCounter("axle_cluster_connections_total", "Connections to endpoints, opened or tried to.", func(c proxy.ClusterCount) uint64 { return c.Connections }),
	clusterGauge("axle_cluster_connections_active", "Connections to endpoints that are open or being opened.", func(l *proxy.ClusterLoad) uint64 { return l.Connections }),
	clusterCounter("axle_cluster_connect_failures_total", "Connections to endpoints that could not be opened.", func(c proxy.ClusterCount) uint64 { return c.ConnectFailures }),
	clusterCounter("axle_cluster_received_bytes_total", "Bytes from endpoints, as they are on the wire.", func(c proxy.ClusterCount) uint64 { return c.Received }),
	clusterCounter("axle_cluster_sent_bytes_total", "Bytes to endpoints, as they are on the wire.", func(c proxy.ClusterCount) uint64 { return c.Sent }),
	clusterCounter("axle_cluster_ejections_total", "Endpoints that were ejected because of how they had answered, each time.", func(c proxy.ClusterCount) uint64 { return c.Ejections }),
	describe("axle_cluster_endpoints", "Endpoints, by state: healthy, unhealthy (as the configuration or a check says) or ejected.", prometheus.GaugeValue,
		[]string{"cluster", "state"}, func(o *Observed, put func(float64, ...string)) {
			rest := map[string]uint64{}
			for i, cluster := range clusterNames(&o.Stats) {
				l := o.Stats.Load[cluster]
				if l == nil {
					continue
				}
				for state, n := range l.Endpoints {
					if i < maxClusters {
						put(float64(n), cluster, state)
						continue
					}
					rest[state] += n
				}
			}
			for state, n := range rest {
				put(float64(n), proxy.Other, state)
			}
		}),
}
