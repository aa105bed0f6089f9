package matrix

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
)

// Summary is what one bench says, in medians over its repetitions. Ratios are to the C relay in the same repetition.
type Summary struct {
	// Wide and Mux are CPU time for one request with 64 connections x 1 in flight and with 4 x 32.
	Wide, Mux float64
	// LowCPU and AddedP50 are CPU time and added median latency at the open loop's rate.
	LowCPU, AddedP50 float64
	// Allocations for one request, and Writes for one request with 4 x 32, both directions together.
	Allocations, Writes float64
	Repetitions         int
}

// Goals of the first release.
const (
	goalWide        = 1.0
	goalMux         = 2.0
	goalAddedP50    = 1.5
	goalLowCPU      = 1.3
	goalAllocations = 0.05 // below one in twenty requests it is not the path of a request that allocates
)

func (s Summary) String() string {
	return fmt.Sprintf("bench: bolt_vs_relay=%.2f bolt_mux_vs_relay=%.2f added_p50_vs_relay=%.2f cpu_low_rate_vs_relay=%.2f allocs_per_request=%.3f writes_per_request_mux=%.3f repetitions=%d",
		s.Wide, s.Mux, s.AddedP50, s.LowCPU, s.Allocations, s.Writes, s.Repetitions)
}

// Misses lists the goals that were not reached.
func (s Summary) Misses() []string {
	var out []string
	if s.Allocations < 0 {
		out = append(out, "allocs_per_request was not measured")
	}
	for _, g := range []struct {
		name      string
		got, goal float64
	}{
		{"bolt_vs_relay", s.Wide, goalWide},
		{"bolt_mux_vs_relay", s.Mux, goalMux},
		{"added_p50_vs_relay", s.AddedP50, goalAddedP50},
		{"cpu_low_rate_vs_relay", s.LowCPU, goalLowCPU},
		{"allocs_per_request", s.Allocations, goalAllocations},
	} {
		if g.got > g.goal {
			out = append(out, fmt.Sprintf("%s is %.2f, the goal %.2f", g.name, g.got, g.goal))
		}
	}
	return out
}

// key finds a row.
type key struct {
	repetition  int
	proxy, load string
}

// Summarize compares the sidecar with the relay.
func Summarize(rows []Row) (Summary, error) {
	at := map[key]Row{}
	last := 0
	for _, r := range rows {
		at[key{r.Repetition, r.Proxy, r.Load}] = r
		last = max(last, r.Repetition)
	}
	var wides, muxes, lows, added, allocs, writes []float64
	for i := 1; i <= last; i++ {
		get := func(proxy, load string) Row { return at[key{i, proxy, load}] }
		none, c, a := get(direct, low), get(relay, low), get(axle, low)
		if get(relay, wide).CPU <= 0 || get(relay, mux).CPU <= 0 || c.CPU <= 0 || get(axle, mux).Requests == 0 {
			return Summary{}, fmt.Errorf("repetition %d lacks results of %s or %s", i, relay, axle)
		}
		wides = append(wides, get(axle, wide).CPU/get(relay, wide).CPU)
		muxes = append(muxes, get(axle, mux).CPU/get(relay, mux).CPU)
		lows = append(lows, a.CPU/c.CPU)
		// a relay that adds less than a microsecond was not measured but disturbed
		added = append(added, (a.P50US-none.P50US)/max(c.P50US-none.P50US, 1))
		allocs = append(allocs, get(axle, wide).Allocations)
		writes = append(writes, get(axle, mux).Writes)
	}
	return Summary{
		Wide: median(wides), Mux: median(muxes), LowCPU: median(lows), AddedP50: median(added),
		Allocations: median(allocs), Writes: median(writes), Repetitions: last,
	}, nil
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// Table writes the medians of every proxy and load.
func Table(w io.Writer, rows []Row) error {
	type column struct {
		proxy, load string
	}
	var order []column
	cells := map[column][]Row{}
	for _, r := range rows {
		c := column{r.Proxy, r.Load}
		if cells[c] == nil {
			order = append(order, c)
		}
		cells[c] = append(cells[c], r)
	}
	of := func(c column, f func(Row) float64) float64 {
		var v []float64
		for _, r := range cells[c] {
			v = append(v, f(r))
		}
		return median(v)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	if _, err := fmt.Fprintln(tw, "proxy\tload\trequests/s\tCPU us\tp50 us\tp99 us\treads\twrites\tallocations\tRSS MB\t"); err != nil {
		return err
	}
	for _, c := range order {
		if _, err := fmt.Fprintf(tw, "%s\t%s\t%.0f\t%.2f\t%.0f\t%.0f\t%.3f\t%.3f\t%.3f\t%.1f\t\n", c.proxy, c.load,
			of(c, func(r Row) float64 { return r.RPS }), of(c, func(r Row) float64 { return r.CPU }),
			of(c, func(r Row) float64 { return r.P50US }), of(c, func(r Row) float64 { return r.P99US }),
			of(c, func(r Row) float64 { return r.Reads }), of(c, func(r Row) float64 { return r.Writes }),
			of(c, func(r Row) float64 { return r.Allocations }), of(c, func(r Row) float64 { return float64(r.ResidentKB) / 1024 })); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func writeCSV(name string, rows []Row) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	w := csv.NewWriter(f)
	lines := [][]string{{"repetition", "proxy", "load", "requests", "rps", "cpu_us", "p50_us", "p99_us", "reads", "writes", "allocations", "rss_kb"}}
	num := func(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
	for _, r := range rows {
		lines = append(lines, []string{
			strconv.Itoa(r.Repetition), r.Proxy, r.Load, strconv.FormatInt(r.Requests, 10), num(r.RPS), num(r.CPU), num(r.P50US), num(r.P99US),
			num(r.Reads), num(r.Writes), num(r.Allocations), strconv.FormatInt(r.ResidentKB, 10),
		})
	}
	if err := w.WriteAll(lines); err != nil {
		_ = f.Close() // the first error counts
		return fmt.Errorf("write %s: %w", name, err)
	}
	return f.Close()
}
