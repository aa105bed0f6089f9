package upstream

import (
	"math"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// gradient works out how many requests a cluster may have open. It goes by how far a window's latency is above the lowest that
// was seen: what is more than that is time spent in queues, which more requests would only make longer. The idea is that of
// congestion control by delay (TCP Vegas; Brakmo and Peterson, 1995), with the root of the limit as the queue that is wanted.
//
// A lowest latency is true for some time only: a server changes, and so does what it is asked for. From time to time, and
// whenever the limit cannot shrink any further, it is taken anew at a limit that leaves the server no queue: half of the limit,
// and half of that again for as long as the latency falls with it. It is pure.
type gradient struct {
	cfg   config.Adaptive // defaulted
	limit float64
	low   float64 // lowest latency of a window, in nanoseconds; 0 before the first

	probed  time.Duration // when the last probe ended, or would have begun
	moved   bool          // the process before this one has probed, at a time that is not known
	probing bool
	settled time.Duration // when what was sent before this step of the probe has been answered
	kept    float64       // the limit before the probe
	above   float64       // latency at twice the limit of this step
	slower  float64       // latency of the first window that was slower than the lowest; 0 without one
	floored int           // windows in a row at the lowest limit
}

const (
	// steepest is the least part of the limit that is left after one window.
	steepest = 0.5
	// shallow is the part of its limit that a cluster has to use before that grows: nobody knows what more it could take.
	shallow = 0.5
	// probePart of the limit is left in each step of a probe.
	probePart = 0.5
	// queued is the part of the latency at twice the limit under which there still is a queue: without one it would hardly fall.
	queued = 0.7
	// doubted is the part of the lowest latency above which a probe looks twice: its machine may have stood still for a moment.
	doubted = 1.25
	// floorFor is for how many windows the limit has to be at its lowest before the latency there is taken for the lowest.
	floorFor = 5
	// firstLimit is what a cluster begins with, within its bounds.
	firstLimit = 32
)

// configure takes over a configuration.
func (g *gradient) configure(cfg config.Adaptive) {
	if g.limit == 0 {
		g.limit = firstLimit
	}
	g.cfg = cfg
	g.limit = g.bound(g.limit)
}

func (g *gradient) bound(limit float64) float64 {
	return min(max(limit, float64(g.cfg.Min)), float64(g.cfg.Max))
}

// window takes a window's latency in nanoseconds, and the most requests that were open in it.
func (g *gradient) window(now time.Duration, latency float64, peak int64) {
	if g.moved {
		g.moved, g.probed = false, now
	}
	switch {
	case latency <= 0:
	case g.probing:
		if now >= g.settled {
			g.step(now, latency)
		}
	default:
		g.adjust(latency, peak)
		g.probe(now, latency, peak)
	}
}

func (g *gradient) adjust(latency float64, peak int64) {
	if g.low == 0 || latency < g.low {
		g.low = latency
	}
	slope := min(max(g.low*(1+float64(g.cfg.Slack)/100)/latency, steepest), 1)
	next := g.limit*slope + math.Sqrt(g.limit*slope)
	if next > g.limit && float64(peak) < g.limit*shallow {
		return
	}
	if g.limit = g.bound(next); g.limit > float64(g.cfg.Min) || slope == 1 {
		g.floored = 0
		return
	}
	if g.floored++; g.floored >= floorFor {
		g.floored, g.low = 0, latency
	}
}

// probe begins one when it is time. A cluster that does not use its limit has no queue: its latency is the lowest already.
func (g *gradient) probe(now time.Duration, latency float64, peak int64) {
	if now-g.probed < g.cfg.Probe {
		return
	}
	if g.probed = now; float64(peak) < g.limit*shallow {
		g.low = latency
		return
	}
	g.probing, g.kept = true, g.limit
	g.deeper(now, latency)
}

// deeper halves the limit, at which the latency was this.
func (g *gradient) deeper(now time.Duration, latency float64) {
	g.above, g.slower = latency, 0
	g.limit = g.bound(g.limit * probePart)
	g.settled = now + max(g.cfg.Window, time.Duration(2*latency))
}

// step takes the latency of a window of the probe.
func (g *gradient) step(now time.Duration, latency float64) {
	switch {
	case latency < g.above*queued && g.limit > float64(g.cfg.Min):
		g.deeper(now, latency)
	case latency > g.low*doubted && g.slower == 0:
		g.slower = latency
	default:
		if g.slower > 0 {
			latency = min(latency, g.slower)
		}
		g.low, g.limit = latency, g.bound(g.kept)
		g.probing, g.probed, g.floored = false, now, 0
	}
}
