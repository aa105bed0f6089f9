package matrix

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Figure is one thing that a bench says, the median over its repetitions. Ratios are made within a repetition.
type Figure struct {
	Name string
	// Got is negative when it was not measured.
	Got float64
	// Goal is the most that it may be; 0 when there is none.
	Goal float64
}

// Summary is what one bench says.
type Summary struct {
	Figures     []Figure
	Repetitions int
}

// repetition finds the rows of one.
type repetition func(proxy, load string) Row

// figure says how a Figure is made; of returns false when something that it needs was not measured.
type figure struct {
	name string
	goal float64
	of   func(at repetition) (float64, bool)
}

// figures are everything that a bench compares. bolt_* and http_* are the sidecar's CPU time for a request, or its latency,
// beside that of what the name says; added is what a proxy adds to the latency without one, at the open loop's rate.
var figures = []figure{
	{"bolt_vs_relay", 1.0, cpu(relay, wide)},
	{"bolt_mux_vs_relay", 2.0, cpu(relay, mux)},
	{"added_p50_vs_relay", 1.5, addedRatio(low, Row.p50)},
	{"added_mean_vs_relay", 1.5, addedRatio(low, Row.mean)},
	{"added_mean_ms", 0.2, added(low, Row.mean)},
	{"cpu_low_rate_vs_relay", 1.3, cpu(relay, low)},
	{"allocs_per_request", 0.05, allocations(wide)}, // below one in twenty requests it is not the path of a request that allocates
	{"writes_per_request_mux", 0.1, func(at repetition) (float64, bool) { r := at(axle, mux); return r.Writes, r.Requests > 0 }},
	{"http_vs_reverseproxy", 0.4, cpu(reverseOne, webWide)},
	{"http_vs_nginx", 1.2, cpu(nginx, webWide)},
	{"http_vs_relay", 0, cpu(relay, webWide)},
	{"http_added_p50_vs_relay", 1.5, addedRatio(webLow, Row.p50)},
	{"http_added_mean_vs_relay", 1.5, addedRatio(webLow, Row.mean)},
	{"http_added_mean_ms", 0.2, added(webLow, Row.mean)},
	{"http_cpu_low_rate_vs_relay", 1.3, cpu(relay, webLow)},
	{"http_allocs_per_request", 0.05, allocations(webWide)},
}

func (r Row) p50() float64  { return r.P50US }
func (r Row) mean() float64 { return r.MeanUS }

// cpu is the sidecar's CPU time beside another proxy's.
func cpu(than, load string) func(repetition) (float64, bool) {
	return func(at repetition) (float64, bool) {
		mine, other := at(axle, load).CPU, at(than, load).CPU
		return mine / max(other, 1e-9), mine > 0 && other > 0
	}
}

// addedRatio is what the sidecar adds to a latency beside what the relay adds.
func addedRatio(load string, of func(Row) float64) func(repetition) (float64, bool) {
	return func(at repetition) (float64, bool) {
		none, c, a := of(at(direct, load)), of(at(relay, load)), of(at(axle, load))
		// a relay that adds less than a microsecond was not measured but disturbed
		return (a - none) / max(c-none, 1), none > 0 && c > 0 && a > 0
	}
}

// added is what the sidecar adds to a latency, in milliseconds.
func added(load string, of func(Row) float64) func(repetition) (float64, bool) {
	return func(at repetition) (float64, bool) {
		none, a := of(at(direct, load)), of(at(axle, load))
		return max(a-none, 0) / 1000, none > 0 && a > 0
	}
}

func allocations(load string) func(repetition) (float64, bool) {
	return func(at repetition) (float64, bool) {
		r := at(axle, load)
		return r.Allocations, r.Requests > 0 && r.Allocations >= 0
	}
}

// Summarize compares the sidecar with the others.
func Summarize(rows []Row) (Summary, error) {
	type key struct {
		repetition  int
		proxy, load string
	}
	rowAt := map[key]Row{}
	s := Summary{}
	for _, r := range rows {
		rowAt[key{r.Repetition, r.Proxy, r.Load}] = r
		s.Repetitions = max(s.Repetitions, r.Repetition)
	}
	measured := false
	for _, f := range figures {
		var values []float64
		for i := 1; i <= s.Repetitions; i++ {
			if v, ok := f.of(func(proxy, load string) Row { return rowAt[key{i, proxy, load}] }); ok {
				values = append(values, v)
			}
		}
		got := Figure{Name: f.name, Got: -1, Goal: f.goal}
		if len(values) > 0 && len(values) == s.Repetitions {
			got.Got, measured = median(values), true
		}
		s.Figures = append(s.Figures, got)
	}
	if !measured {
		return Summary{}, errors.New("nothing was measured that can be compared")
	}
	return s, nil
}

// String is one line for programs, then one for each goal, then the verdict.
func (s Summary) String() string {
	var line, gates strings.Builder
	line.WriteString("bench:")
	for _, f := range s.Figures {
		if f.Got < 0 {
			continue
		}
		fmt.Fprintf(&line, " %s=%s", f.Name, f.format())
		if f.Goal > 0 {
			fmt.Fprintf(&gates, "%s %-27s %6s, at most %.2f\n", verdict(f.Got <= f.Goal), f.Name, f.format(), f.Goal)
		}
	}
	fmt.Fprintf(&line, " repetitions=%d\n", s.Repetitions)
	for _, f := range s.Figures {
		if f.Got < 0 {
			fmt.Fprintf(&gates, "---- %-27s was not measured\n", f.Name)
		}
	}
	return line.String() + gates.String() + "bench: " + verdict(len(s.Misses()) == 0) + "\n"
}

func verdict(ok bool) string {
	if ok {
		return "PASS"
	}
	return "FAIL"
}

// format has as many digits as the figure deserves.
func (f Figure) format() string {
	if f.Goal > 0 && f.Goal < 0.3 {
		return fmt.Sprintf("%.3f", f.Got)
	}
	return fmt.Sprintf("%.2f", f.Got)
}

// Misses lists the goals that were not reached, or not measured.
func (s Summary) Misses() []string {
	var out []string
	for _, f := range s.Figures {
		switch {
		case f.Got < 0 && f.Goal > 0:
			out = append(out, f.Name+" was not measured")
		case f.Goal > 0 && f.Got > f.Goal:
			out = append(out, fmt.Sprintf("%s is %s, the goal %.2f", f.Name, f.format(), f.Goal))
		}
	}
	return out
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
