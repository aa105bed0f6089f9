package config

import (
	"errors"
	"fmt"
	"time"
)

// Priority of a request: what is short of something serves the highest first. The zero value is the default one.
type Priority int8

// Priorities.
const (
	PriorityLow     Priority = -1
	PriorityDefault Priority = 0
	PriorityHigh    Priority = 1
)

// Priorities lists all of them, the lowest first.
func Priorities() []Priority { return []Priority{PriorityLow, PriorityDefault, PriorityHigh} }

// Index counts priorities from 0, the lowest.
func (p Priority) Index() int { return int(p - PriorityLow) }

// String is the word for it, in files, headers and metrics.
func (p Priority) String() string {
	switch p {
	case PriorityLow:
		return "low"
	case PriorityDefault:
		return "default"
	case PriorityHigh:
		return "high"
	}
	return fmt.Sprintf("priority %d", int8(p))
}

// ParsePriority reads the word for a priority; ok is false for any other. It allocates nothing.
func ParsePriority(word []byte) (p Priority, ok bool) {
	switch string(word) {
	case "low":
		return PriorityLow, true
	case "default":
		return PriorityDefault, true
	case "high":
		return PriorityHigh, true
	}
	return PriorityDefault, false
}

func (r *Route) validatePriority() []error {
	var errs []error
	if r.Priority < PriorityLow || r.Priority > PriorityHigh {
		errs = append(errs, fmt.Errorf("%s is none of low, default and high", r.Priority))
	}
	if h := r.PriorityHeader; h != "" && (h[0] == ':' || h[0] == QueryPrefix[0]) {
		errs = append(errs, fmt.Errorf("priority header: %q is no header", h))
	}
	return errs
}

// Adaptive finds out by itself how many requests of this process a cluster may have open: as many as it takes until their
// latency begins to grow. The zero value of each field stands for its default.
type Adaptive struct {
	// Min and Max bound what it finds: DefaultAdaptiveMin and DefaultAdaptiveMax.
	Min, Max int
	// Window is how long latencies are collected before the limit is worked out anew: DefaultAdaptiveWindow.
	Window time.Duration
	// Percentile of a window's latencies that stands for it: DefaultAdaptivePercentile.
	Percentile int
	// Slack is by how many percent a latency may be above the lowest one before the limit shrinks: DefaultAdaptiveSlack.
	Slack int
	// Probe is how often the limit is lowered for a moment, to see how low the latency is then: DefaultAdaptiveProbe.
	Probe time.Duration
}

// Defaults of an Adaptive.
const (
	DefaultAdaptiveMin        = 4
	DefaultAdaptiveMax        = 1000
	DefaultAdaptiveWindow     = 100 * time.Millisecond
	DefaultAdaptivePercentile = 50
	DefaultAdaptiveSlack      = 25
	DefaultAdaptiveProbe      = 30 * time.Second
)

// Defaulted returns a with its defaults filled in.
func (a Adaptive) Defaulted() Adaptive {
	fill(&a.Min, DefaultAdaptiveMin)
	fill(&a.Max, max(DefaultAdaptiveMax, a.Min))
	fill(&a.Window, DefaultAdaptiveWindow)
	fill(&a.Percentile, DefaultAdaptivePercentile)
	fill(&a.Slack, DefaultAdaptiveSlack)
	fill(&a.Probe, DefaultAdaptiveProbe)
	return a
}

func fill[T comparable](v *T, with T) {
	var zero T
	if *v == zero {
		*v = with
	}
}

// Bounds of an Adaptive.
const (
	maxAdaptive = 1 << 20
	minWindow   = 10 * time.Millisecond
	maxSlack    = 1000
)

func (a *Adaptive) validate() []error {
	if a == nil {
		return nil
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("adaptive: "+format, args...)) }
	d := a.Defaulted()
	if d.Min < 1 || d.Max < d.Min || d.Max > maxAdaptive {
		bad("a limit from %d to %d is not between 1 and %d", d.Min, d.Max, maxAdaptive)
	}
	if d.Window < minWindow || d.Window > time.Minute {
		bad("the window %s is not between %s and 1m", d.Window, minWindow)
	}
	if d.Percentile < 1 || d.Percentile > 99 {
		bad("the percentile %d is not between 1 and 99", d.Percentile)
	}
	if d.Slack < 1 || d.Slack > maxSlack {
		bad("a slack of %d percent is not between 1 and %d", d.Slack, maxSlack)
	}
	if d.Probe < 2*d.Window || d.Probe > time.Hour {
		bad("a probe every %s is not between two windows and 1h", d.Probe)
	}
	return errs
}

// Breakers are limits of a cluster for the requests of one priority.
type Breakers struct {
	MaxPending  int // requests that wait for a connection
	MaxRequests int // requests without an answer
	MaxRetries  int // of those, the ones that are tried again
}

func (b *Breakers) validate() error {
	if b == nil || b.MaxPending >= 0 && b.MaxRequests >= 0 && b.MaxRetries >= 0 {
		return nil
	}
	return errors.New("a limit of requests of high priority is negative")
}
