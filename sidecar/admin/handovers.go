package admin

import (
	"time"

	"github.com/axlemesh/axle/sidecar/handover"
)

// Handovers counts handovers over all generations: a candidate starts from what its predecessor had counted.
type Handovers struct {
	OK       uint64    `json:"ok"`
	Failed   uint64    `json:"failed"`
	Freeze   Histogram `json:"freeze"`
	Duration Histogram `json:"duration"`
}

// Add counts one that ended.
func (h *Handovers) Add(r handover.Result) {
	if !r.OK {
		h.Failed++
		return
	}
	h.OK++
	h.Freeze.Add(time.Duration(r.FreezeP99Micros) * time.Microsecond)
	h.Duration.Add(time.Duration(r.DurationMicros) * time.Microsecond)
}

// bounds of a Histogram's buckets; what is above the last is only in its count.
var bounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second,
}

// Histogram of durations that travels between generations.
type Histogram struct {
	Buckets [len(bounds)]uint64 `json:"buckets"` // not cumulative
	Count   uint64              `json:"count"`
	Sum     time.Duration       `json:"sum"`
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.Count++
	h.Sum += d
	for i, b := range bounds {
		if d <= b {
			h.Buckets[i]++
			return
		}
	}
}

func (h *Histogram) put(to func(count uint64, sum float64, upTo map[float64]uint64, labels ...string)) {
	upTo := make(map[float64]uint64, len(bounds))
	var seen uint64
	for i, b := range bounds {
		seen += h.Buckets[i]
		upTo[b.Seconds()] = seen
	}
	to(h.Count, h.Sum.Seconds(), upTo)
}
