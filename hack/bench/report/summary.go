package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/axlemesh/axle/hack/bench/load"
)

// Figure is one thing that a bench says, the median over its repetitions. Ratios are made within a repetition.
type Figure struct {
	Name string
	// Got is negative when it was not measured; Why says why then.
	Got float64
	Why string
	// Goal is the most that it may be; 0 when there is none.
	Goal float64
	// Line says that it belongs to the line for programs.
	Line bool
}

// Summary is what one bench says.
type Summary struct {
	Figures     []Figure
	Repetitions int
}

// figure says how a Figure is made: of the rows of some cells, all of one repetition.
type figure struct {
	name  string
	goal  float64
	line  bool
	needs []cell
	of    func([]Row) float64
	// any makes it of the cells that were measured, of at least one.
	any bool
	// least takes the smallest of all repetitions instead of their median: what disturbs it can only add to it.
	least bool
}

func ratio(r []Row) float64 { return r[0].CPU / max(r[1].CPU, 1e-9) }

// against is the sidecar's CPU time for a request beside another proxy's.
func against(proxy string, p load.Protocol, k Kind) []cell {
	return []cell{{Axle, Name(p, k)}, {proxy, Name(p, k)}}
}

// hops are the sidecar, the relay and no proxy at a fixed rate.
func hops(p load.Protocol) []cell {
	n := Name(p, Open)
	return []cell{{Axle, n}, {Relay, n}, {Direct, n}}
}

// addedRatio is what the sidecar adds to a latency beside what the relay adds. A relay that adds less than a microsecond was
// not measured but disturbed.
func addedRatio(of func(Row) float64) func([]Row) float64 {
	return func(r []Row) float64 { return (of(r[0]) - of(r[2])) / max(of(r[1])-of(r[2]), 1) }
}

// added is what the proxy of one row adds to the mean, in milliseconds.
func added(hop int) func([]Row) float64 {
	return func(r []Row) float64 { return max(r[hop].MeanUS-r[2].MeanUS, 0) / 1000 }
}

// most is the largest value of some rows.
func most(of func(Row) float64) func([]Row) float64 {
	return func(rows []Row) float64 {
		v := 0.0
		for _, r := range rows {
			v = max(v, of(r))
		}
		return v
	}
}

func only(of func(Row) float64) func([]Row) float64 { return func(r []Row) float64 { return of(r[0]) } }

func mine(k Kind, protocols ...load.Protocol) []cell {
	var all []cell
	for _, p := range protocols {
		all = append(all, cell{Axle, Name(p, k)})
	}
	return all
}

// loops are the closed loops in which allocations count.
var loops = append(mine(Wide, load.Bolt, load.Dubbo, load.HTTP, load.TLS), mine(Mux, load.HTTP2, load.GRPC)...)

// figures are everything that a bench compares, in the order of the line for programs, and then what is only printed.
var figures = []figure{
	{name: "http1_vs_nginx", goal: 1.0, line: true, needs: against(Nginx, load.HTTP, Wide), of: ratio},
	{name: "http1_vs_haproxy", goal: 1.1, line: true, needs: against(HAProxy, load.HTTP, Wide), of: ratio},
	{name: "http1_vs_envoy", line: true, needs: against(Envoy, load.HTTP, Wide), of: ratio},
	{name: "h2_vs_nginx", goal: 0.7, line: true, needs: against(Nginx, load.HTTP2, Mux), of: ratio},
	{name: "h2_vs_haproxy", goal: 0.8, line: true, needs: against(HAProxy, load.HTTP2, Mux), of: ratio},
	{name: "h2_vs_envoy", goal: 0.5, line: true, needs: against(Envoy, load.HTTP2, Mux), of: ratio},
	{name: "bolt_vs_relay", goal: 0.8, line: true, needs: against(Relay, load.Bolt, Wide), of: ratio},
	{name: "bolt_mux_vs_relay", goal: 1.8, line: true, needs: against(Relay, load.Bolt, Mux), of: ratio},
	{name: "dubbo_vs_relay", goal: 0.8, line: true, needs: against(Relay, load.Dubbo, Wide), of: ratio},
	{name: "dubbo_mux_vs_relay", goal: 1.8, line: true, needs: against(Relay, load.Dubbo, Mux), of: ratio},
	{name: "tls_vs_nginx", goal: 1.2, line: true, needs: against(Nginx, load.TLS, Wide), of: ratio},
	{name: "tls_vs_haproxy", goal: 1.05, line: true, needs: against(HAProxy, load.TLS, Wide), of: ratio},
	{name: "added_p50_vs_relay", goal: 1.5, line: true, needs: hops(load.Bolt), of: addedRatio(Row.p50)},
	{name: "anon_idle_mb", goal: 12, line: true, needs: mine(Idle, "memory"), of: only(Row.anon)},
	{name: "conn_kb", goal: 8, line: true, needs: mine(Held, load.HTTP), of: only(Row.connKB)},
	{name: "tls_conn_kb", goal: 16, line: true, needs: mine(Held, load.TLS), of: only(Row.connKB)},
	{name: "idle20k_ratio", line: true, needs: []cell{{Axle, Name(load.HTTP, Crowded)}, {Axle, Name(load.HTTP, Alone)}}, of: ratio},
	// A collection of garbage makes answering for counters dearer once. Below one in twenty requests it is not the path of a
	// request that allocates.
	{name: "allocs_per_request", goal: 0.05, line: true, any: true, least: true, of: most(Row.allocations), needs: loops},
	{name: "mux_writes_per_request", goal: 0.1, line: true, any: true, needs: mine(Mux, load.Bolt, load.Dubbo), of: most(Row.writes)},

	{name: "allocs_per_request_median", any: true, of: most(Row.allocations), needs: loops},
	{name: "grpc_vs_nginx", goal: 0.7, needs: against(Nginx, load.GRPC, Mux), of: ratio},
	{name: "grpc_vs_haproxy", goal: 0.8, needs: against(HAProxy, load.GRPC, Mux), of: ratio},
	{name: "grpc_vs_envoy", goal: 0.5, needs: against(Envoy, load.GRPC, Mux), of: ratio},
	{name: "http1_vs_reverseproxy", goal: 0.4, needs: against(Reverse, load.HTTP, Wide), of: ratio},
	{name: "http1_vs_relay", needs: against(Relay, load.HTTP, Wide), of: ratio},
	{name: "http1_vs_nginx_by_wrk", needs: against(Nginx, load.HTTP, "wrk"), of: ratio},
	{name: "h2_vs_nginx_by_h2load", needs: against(Nginx, load.HTTP2, "h2load"), of: ratio},
	{name: "bolt_added_mean_ms", goal: 0.2, needs: hops(load.Bolt), of: added(0)},
	{name: "bolt_added_mean_ms_of_relay", needs: hops(load.Bolt), of: added(1)},
	{name: "bolt_added_mean_vs_relay", goal: 1.5, needs: hops(load.Bolt), of: addedRatio(Row.mean)},
	{name: "http1_added_mean_ms", goal: 0.2, needs: hops(load.HTTP), of: added(0)},
	{name: "http1_added_mean_ms_of_relay", needs: hops(load.HTTP), of: added(1)},
	{name: "http1_added_mean_vs_relay", goal: 1.5, needs: hops(load.HTTP), of: addedRatio(Row.mean)},
	{name: "http1_added_p50_vs_relay", goal: 1.5, needs: hops(load.HTTP), of: addedRatio(Row.p50)},
	{name: "bolt_cpu_low_rate_vs_relay", goal: 1.3, needs: against(Relay, load.Bolt, Open), of: ratio},
	{name: "http1_cpu_low_rate_vs_relay", goal: 1.3, needs: against(Relay, load.HTTP, Open), of: ratio},
}

// Missing says why a proxy was not measured with a protocol.
type Missing map[Absent]string

// Absent is a proxy and a load's protocol, or one load where only that is missing.
type Absent struct {
	Proxy    string
	Protocol load.Protocol
	Load     string
}

// why says why a cell has no rows.
func (m Missing) why(c cell) string {
	p, _, _ := strings.Cut(c.load, "-")
	if reason := m[Absent{Proxy: c.proxy, Load: c.load}]; reason != "" {
		return reason
	}
	if reason := m[Absent{Proxy: c.proxy, Protocol: load.Protocol(p)}]; reason != "" {
		return c.proxy + ", " + p + ": " + reason
	}
	return c.proxy + ", " + c.load + ": no result"
}

// Summarize compares the sidecar with the others.
func Summarize(rows []Row, missing Missing) Summary {
	x := indexed(rows)
	s := Summary{Repetitions: x.repetitions}
	for _, f := range figures {
		got := Figure{Name: f.name, Got: -1, Goal: f.goal, Line: f.line}
		var values []float64
		for i := 1; i <= x.repetitions; i++ {
			if some := f.rows(x, i); some != nil {
				values = append(values, f.of(some))
			}
		}
		if len(values) > 0 && len(values) == x.repetitions {
			got.Got = median(values)
			if f.least {
				got.Got = slices.Min(values)
			}
		} else {
			got.Why = f.why(x, missing)
		}
		s.Figures = append(s.Figures, got)
	}
	return s
}

// rows are what the figure is made of in one repetition; nil when they are not all there.
func (f figure) rows(x index, repetition int) []Row {
	var all []Row
	for _, c := range f.needs {
		r, ok := x.at[c][repetition]
		ok = ok && (r.CPU > 0 || r.Requests == 0 || c.proxy == Direct) // a proxy that was given no time was not measured
		if !ok && !f.any {
			return nil
		}
		if ok {
			all = append(all, r)
		}
	}
	return all
}

func (f figure) why(x index, missing Missing) string {
	for _, c := range f.needs {
		if len(x.at[c]) < max(x.repetitions, 1) {
			return missing.why(c)
		}
	}
	return "no result"
}

// Goals says what became of each goal, then of figures without one, then why others are missing.
func (s Summary) Goals() string {
	var goals, others, gone strings.Builder
	for _, f := range s.Figures {
		switch {
		case f.Got < 0:
			fmt.Fprintf(&gone, "na   %-28s %s\n", f.Name, f.Why)
		case f.Goal > 0:
			fmt.Fprintf(&goals, "%s %-28s %7s, at most %.2f\n", verdict(f.Got <= f.Goal), f.Name, f.format(), f.Goal)
		default:
			fmt.Fprintf(&others, "     %-28s %7s\n", f.Name, f.format())
		}
	}
	return goals.String() + others.String() + gone.String()
}

// Line is one line for programs.
func (s Summary) Line() string {
	words := []string{"bench:"}
	for _, f := range s.Figures {
		if f.Line {
			words = append(words, f.Name+"="+f.format())
		}
	}
	return strings.Join(words, " ")
}

func verdict(ok bool) string {
	if ok {
		return "PASS"
	}
	return "FAIL"
}

// format has as many digits as the figure deserves.
func (f Figure) format() string {
	switch {
	case f.Got < 0:
		return "na"
	case f.Goal > 0 && f.Goal < 0.3 || strings.Contains(f.Name, "_ms"):
		return fmt.Sprintf("%.3f", f.Got)
	}
	return fmt.Sprintf("%.2f", f.Got)
}

// Misses lists the goals that were measured and not reached.
func (s Summary) Misses() []string {
	var out []string
	for _, f := range s.Figures {
		if f.Goal > 0 && f.Got > f.Goal {
			out = append(out, fmt.Sprintf("%s is %s, the goal %.2f", f.Name, f.format(), f.Goal))
		}
	}
	return out
}
