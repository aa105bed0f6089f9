package static

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/overload"
)

// Overload reads what b, which is defaulted, says of shortages; and how many bytes this process may have, 0 for no bound. Every
// mistake is reported at once.
func Overload(b *bootstrap.Bootstrap) (overload.Config, int64, error) {
	t := translator{}
	o := cmp.Or(b.Overload, &bootstrap.Overload{})
	cfg := overload.Config{Interval: t.duration("overload.interval", o.Interval, overload.DefaultInterval), Steps: overload.Defaults()}
	if o.MemoryBytes < 0 {
		t.fault("overload.memoryBytes: %d is negative", o.MemoryBytes)
	}
	for r, steps := range map[overload.Resource]*bootstrap.OverloadSteps{overload.Memory: o.Memory, overload.Descriptors: o.Descriptors, overload.CPU: o.CPU} {
		t.steps(&cfg.Steps[r], steps)
	}
	if err := cfg.Validate(); err != nil {
		t.errs = append(t.errs, fmt.Errorf("overload: %w", err))
	}
	if o.Disabled {
		cfg.Steps = [3]overload.Steps{}
	}
	return cfg, cmp.Or(o.MemoryBytes, b.MemoryLimitBytes), errors.Join(t.errs...)
}

func (t *translator) steps(out *overload.Steps, s *bootstrap.OverloadSteps) {
	if s == nil {
		return
	}
	for to, percent := range map[overload.State]*int{
		overload.CloseIdle: s.CloseIdle, overload.Refuse: s.RefuseClients, overload.ShedLow: s.ShedLow, overload.ShedDefault: s.ShedDefault,
		overload.ShedHigh: s.ShedHigh,
	} {
		if percent != nil {
			out[to] = float64(*percent) / 100
		}
	}
}

// priority reads the word for one.
func (t *translator) priority(at, word string) config.Priority {
	p, known := config.ParsePriority([]byte(cmp.Or(word, "default")))
	if !known {
		t.fault("%s: %q is none of low, default and high", at, word)
	}
	return p
}

func (t *translator) adaptive(at string, a *bootstrap.Adaptive) *config.Adaptive {
	if a == nil {
		return nil
	}
	return &config.Adaptive{
		Min: a.MinConcurrency, Max: a.MaxConcurrency, Window: t.duration(at+".window", a.Window, 0), Percentile: a.Percentile,
		Slack: a.SlackPercent, Probe: t.duration(at+".probeInterval", a.ProbeInterval, 0),
	}
}

func breakers(h *bootstrap.HighLimits) *config.Breakers {
	if h == nil {
		return nil
	}
	return &config.Breakers{MaxPending: h.MaxPendingRequests, MaxRequests: h.MaxRequests, MaxRetries: h.MaxRetries}
}
