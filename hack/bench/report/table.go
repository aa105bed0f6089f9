package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/axlemesh/axle/hack/bench/load"
)

// index finds rows.
type index struct {
	at          map[cell]map[int]Row // by repetition
	order       []cell               // as they were measured first
	repetitions int
}

type cell struct{ proxy, load string }

func indexed(rows []Row) index {
	x := index{at: map[cell]map[int]Row{}}
	for _, r := range rows {
		c := cell{r.Proxy, r.Load}
		if x.at[c] == nil {
			x.at[c] = map[int]Row{}
			x.order = append(x.order, c)
		}
		x.at[c][r.Repetition] = r
		x.repetitions = max(x.repetitions, r.Repetition)
	}
	return x
}

// median of a cell; ok is false when nothing was measured.
func (x index) median(c cell, of func(Row) float64) (float64, bool) {
	var v []float64
	for _, r := range x.at[c] {
		v = append(v, of(r))
	}
	return median(v), len(v) > 0
}

// added is the median of what a cell has more than no proxy, within a repetition.
func (x index) added(c cell, of func(Row) float64) (float64, bool) {
	var v []float64
	for i, r := range x.at[c] {
		if none, ok := x.at[cell{Direct, c.load}][i]; ok {
			v = append(v, of(r)-of(none))
		}
	}
	return median(v), len(v) > 0
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// What a row says, as numbers.
func (r Row) cpu() float64         { return r.CPU }
func (r Row) rps() float64         { return r.RPS }
func (r Row) p50() float64         { return r.P50US }
func (r Row) p99() float64         { return r.P99US }
func (r Row) mean() float64        { return r.MeanUS }
func (r Row) reads() float64       { return r.Reads }
func (r Row) writes() float64      { return r.Writes }
func (r Row) allocations() float64 { return r.Allocations }
func (r Row) anon() float64        { return float64(r.AnonKB) / 1024 }
func (r Row) resident() float64    { return float64(r.ResidentKB) / 1024 }
func (r Row) connKB() float64      { return r.ConnKB }
func (r Row) conns() float64       { return float64(r.Conns) }

// heading is one column of the table.
type heading struct {
	name, format string
	of           func(Row) float64
	added        bool
	shown        func(Row) bool // nil is always
}

func burnt(r Row) bool   { return r.CPU > 0 }
func open(r Row) bool    { return strings.HasSuffix(r.Load, "-"+string(Open)) }
func counted(r Row) bool { return r.Requests > 0 && r.Allocations >= 0 }
func kept(r Row) bool    { return r.AnonKB > 0 }
func held(r Row) bool    { return r.Conns > 0 }

var headings = []heading{
	{"requests/s", "%.0f", Row.rps, false, func(r Row) bool { return r.Requests > 0 }},
	{"CPU us", "%.2f", Row.cpu, false, burnt},
	{"p50 us", "%.0f", Row.p50, false, open},
	{"p99 us", "%.0f", Row.p99, false, open},
	{"added mean", "%.0f", Row.mean, true, open},
	{"added p50", "%.0f", Row.p50, true, open},
	{"added p99", "%.0f", Row.p99, true, open},
	{"reads", "%.3f", Row.reads, false, func(r Row) bool { return r.Reads > 0 }}, // what is received otherwise is not counted
	{"writes", "%.3f", Row.writes, false, func(r Row) bool { return r.Writes > 0 }},
	{"allocations", "%.3f", Row.allocations, false, counted},
	{"anon MB", "%.1f", Row.anon, false, kept},
	{"RSS MB", "%.1f", Row.resident, false, kept},
	{"idle", "%.0f", Row.conns, false, held},
	{"kB each", "%.1f", Row.connKB, false, func(r Row) bool { return r.ConnKB != 0 }},
}

// Table writes the medians of every proxy and load.
func Table(w io.Writer, rows []Row) error {
	return table(w, rows, func(cells []string) string { return strings.Join(cells, "\t") + "\t" }, "")
}

// Markdown writes the same for documents.
func Markdown(w io.Writer, rows []Row) error {
	rule := "|---|---|" + strings.Repeat("---:|", len(headings)) + "\n"
	return table(w, rows, func(cells []string) string { return "| " + strings.Join(cells, " | ") + " |" }, rule)
}

func table(w io.Writer, rows []Row, line func([]string) string, rule string) error {
	x := indexed(rows)
	cells := []string{"load", "proxy"}
	for _, h := range headings {
		cells = append(cells, h.name)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	if _, err := fmt.Fprintf(tw, "%s\n%s", line(cells), rule); err != nil {
		return err
	}
	for _, c := range x.sorted() {
		if _, err := fmt.Fprintln(tw, line(x.line(c))); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// line is one line of the table.
func (x index) line(c cell) []string {
	cells := []string{c.load, c.proxy}
	for _, h := range headings {
		find := x.median
		if h.added {
			find = x.added
		}
		text := ""
		if value, ok := find(c, h.of); ok && h.shown(x.any(c)) && (!h.added || c.proxy != Direct) {
			text = fmt.Sprintf(h.format, value)
		}
		cells = append(cells, text)
	}
	return cells
}

// any is a row of a cell, the last one.
func (x index) any(c cell) Row {
	for i := x.repetitions; i > 0; i-- {
		if r, ok := x.at[c][i]; ok {
			return r
		}
	}
	return Row{}
}

// sorted are the cells with the proxies of a load together.
func (x index) sorted() []cell {
	var loads []string
	for _, c := range x.order {
		if !slices.Contains(loads, c.load) {
			loads = append(loads, c.load)
		}
	}
	cells := slices.Clone(x.order)
	slices.SortStableFunc(cells, func(a, b cell) int { return slices.Index(loads, a.load) - slices.Index(loads, b.load) })
	return cells
}

// Protocols are what can be measured, in this order.
var Protocols = []load.Protocol{load.HTTP, load.HTTP2, load.GRPC, load.Bolt, load.Dubbo, load.TLS}
