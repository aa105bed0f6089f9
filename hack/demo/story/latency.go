package story

import (
	"fmt"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// The latency windows. Baseline, steady and upgrade are compared; what happens in between is counted elsewhere.
const (
	windowBaseline = "baseline"
	windowMoving   = "moving"
	windowSteady   = "steady"
	windowUpgrade  = "upgrade"
	windowGrowing  = "growing"
	windowSplit    = "split"
	windowLeaving  = "leaving"
)

// latency is one window over all clients, in milliseconds.
type latency struct {
	count     int64
	mean, p99 float64
}

// latencies adds up the windows of all clients.
func (o Observation) latencies() (map[string]latency, error) {
	hists, sums := map[string]*hdr.Histogram{}, map[string]float64{}
	for _, p := range o.Pods {
		if p.Client == nil {
			continue
		}
		for _, w := range p.Client.Windows {
			h, err := hdr.Decode([]byte(w.Histogram))
			if err != nil {
				return nil, fmt.Errorf("latencies of %s in window %q: %w", p.Name, w.Name, err)
			}
			sums[w.Name] += w.MeanMS * float64(w.Count)
			if hists[w.Name] == nil {
				hists[w.Name] = h
				continue
			}
			hists[w.Name].Merge(h)
		}
	}
	out := map[string]latency{}
	for name, h := range hists {
		l := latency{count: h.TotalCount(), p99: float64(h.ValueAtQuantile(99)) / 1000}
		if l.count > 0 {
			l.mean = sums[name] / float64(l.count)
		}
		out[name] = l
	}
	return out, nil
}
