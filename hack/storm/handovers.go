package main

import (
	"context"
	"fmt"
	"net/http"
)

// Handovers is what the last generation says about all of them: its counters go on where its predecessors' ended.
type Handovers struct {
	Done                  int
	Moved, Lost, Mismatch int64
	// Swift are those in which the 99th percentile of how long a connection stood still was at most 10 ms, Bearable those
	// in which it was at most 50 ms.
	Swift, Bearable int
	// Requests that the sidecars have counted, oneways included.
	Requests int64
	// Again is how often they have sent a request once more, and Hedges how often beside a try that they waited for. A release without
	// hedging forgets the latter.
	Again, Hedges int64
}

// handovers reads the serving generation's metrics.
func handovers(ctx context.Context) (Handovers, error) {
	body, err := admin(ctx, http.MethodGet, "/metrics")
	if err != nil {
		return Handovers{}, err
	}
	var h Handovers
	for name, to := range map[string]func(float64){
		`axle_handover_freeze_seconds_count`:                   func(n float64) { h.Done = int(n) },
		`axle_handover_freeze_seconds_bucket{le="0.01"}`:       func(n float64) { h.Swift = int(n) },
		`axle_handover_freeze_seconds_bucket{le="0.05"}`:       func(n float64) { h.Bearable = int(n) },
		`axle_handover_connections_moved_total`:                func(n float64) { h.Moved = int64(n) },
		`axle_handover_connections_lost_total`:                 func(n float64) { h.Lost = int64(n) },
		`axle_handover_connections_mismatch_total`:             func(n float64) { h.Mismatch = int64(n) },
		`axle_downstream_requests_total{direction="inbound"}`:  func(n float64) { h.Requests += int64(n) },
		`axle_downstream_requests_total{direction="outbound"}`: func(n float64) { h.Requests += int64(n) },
	} {
		n, ok := metric(body, name)
		if !ok {
			return h, fmt.Errorf("the sidecar's metrics lack %s", name)
		}
		to(n)
	}
	for name, to := range map[string]*int64{"axle_retries_total": &h.Again, "axle_hedges_total": &h.Hedges} {
		n, _ := metric(body, name) // an older release may not have it
		*to = int64(n)
	}
	return h, nil
}
