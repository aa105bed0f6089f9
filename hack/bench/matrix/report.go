package matrix

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
)

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
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	if _, err := fmt.Fprintln(tw, "proxy\tload\trequests/s\tCPU us\tmean us\tp50 us\tp99 us\treads\twrites\tallocations\tRSS MB\t"); err != nil {
		return err
	}
	for _, c := range order {
		if _, err := fmt.Fprintf(tw, "%s\t%s\t%.0f\t%.2f\t%.0f\t%.0f\t%.0f\t%.3f\t%.3f\t%.3f\t%.1f\t\n", c.proxy, c.load,
			of(c, func(r Row) float64 { return r.RPS }), of(c, func(r Row) float64 { return r.CPU }),
			of(c, func(r Row) float64 { return r.MeanUS }), of(c, func(r Row) float64 { return r.P50US }),
			of(c, func(r Row) float64 { return r.P99US }),
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
	lines := [][]string{{"repetition", "proxy", "load", "requests", "rps", "cpu_us", "mean_us", "p50_us", "p99_us", "reads", "writes", "allocations", "rss_kb"}}
	num := func(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
	for _, r := range rows {
		lines = append(lines, []string{
			strconv.Itoa(r.Repetition), r.Proxy, r.Load, strconv.FormatInt(r.Requests, 10), num(r.RPS), num(r.CPU), num(r.MeanUS), num(r.P50US), num(r.P99US),
			num(r.Reads), num(r.Writes), num(r.Allocations), strconv.FormatInt(r.ResidentKB, 10),
		})
	}
	if err := w.WriteAll(lines); err != nil {
		_ = f.Close() // the first error counts
		return fmt.Errorf("write %s: %w", name, err)
	}
	return f.Close()
}
