package report

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/axlemesh/axle/hack/bench/load"
)

// measured makes the rows of one repetition on a machine that is slow by a factor.
func measured(repetition int, slow float64) []Row {
	row := func(proxy string, p load.Protocol, k Kind, cpu, p50 float64) Row {
		return Row{Repetition: repetition, Proxy: proxy, Load: Name(p, k), AnonKB: 2048, ResidentKB: 4096, Result: load.Result{
			Requests: 1000, RPS: 500, CPU: cpu * slow, P50US: p50 * slow, P99US: 2 * p50 * slow, MeanUS: p50 * slow, Reads: 0.07, Writes: 0.06, Allocations: 0.01,
		}}
	}
	memory := func(p load.Protocol, k Kind, anon int64, each float64) Row {
		return Row{Repetition: repetition, Proxy: Axle, Load: Name(p, k), AnonKB: anon, ResidentKB: 2 * anon, ConnKB: each, Conns: int64(each * 100)}
	}
	var all []Row
	for _, p := range []load.Protocol{load.HTTP, load.Bolt, load.Dubbo} {
		all = append(all,
			row(Direct, p, Open, 0, 50), row(Relay, p, Open, 80, 150), row(Axle, p, Open, 88, 170),
			row(Relay, p, Wide, 20, 1), row(Axle, p, Wide, 13, 1))
		if p != load.HTTP {
			all = append(all, row(Relay, p, Mux, 1, 1), row(Axle, p, Mux, 1.5, 1))
		}
	}
	for _, p := range []load.Protocol{load.HTTP2, load.GRPC} {
		all = append(all, row(Axle, p, Mux, 15, 1), row(Nginx, p, Mux, 30, 1), row(HAProxy, p, Mux, 20, 1), row(Envoy, p, Mux, 60, 1))
	}
	return append(all,
		row(Nginx, load.HTTP, Wide, 26, 1), row(HAProxy, load.HTTP, Wide, 20, 1), row(Envoy, load.HTTP, Wide, 52, 1), row(Reverse, load.HTTP, Wide, 65, 1),
		row(Axle, load.TLS, Wide, 40, 1), row(Nginx, load.TLS, Wide, 40, 1), row(HAProxy, load.TLS, Wide, 50, 1),
		row(Axle, load.HTTP, "wrk", 15, 1), row(Nginx, load.HTTP, "wrk", 25, 1), row(Axle, load.HTTP2, "h2load", 10, 1), row(Nginx, load.HTTP2, "h2load", 40, 1),
		memory("memory", Idle, 8<<10, 0), memory(load.HTTP, Held, 16<<10, 4), memory(load.TLS, Held, 32<<10, 12),
		row(Axle, load.HTTP, Alone, 10, 1), row(Axle, load.HTTP, Crowded, 11, 1))
}

func TestSummarizeComparesWithinARepetition(t *testing.T) {
	rows := slices.Concat(measured(1, 1), measured(2, 5), measured(3, 0.9))
	got := Summarize(rows, nil)
	want := map[string]float64{
		"http1_vs_nginx": 0.5, "http1_vs_haproxy": 0.65, "http1_vs_envoy": 0.25, "h2_vs_nginx": 0.5, "h2_vs_haproxy": 0.75, "h2_vs_envoy": 0.25,
		"bolt_vs_relay": 0.65, "bolt_mux_vs_relay": 1.5, "dubbo_vs_relay": 0.65, "dubbo_mux_vs_relay": 1.5, "tls_vs_nginx": 1, "tls_vs_haproxy": 0.8,
		"added_p50_vs_relay": 1.2, "anon_idle_mb": 8, "conn_kb": 4, "tls_conn_kb": 12, "idle20k_ratio": 1.1,
		"allocs_per_request": 0.01, "mux_writes_per_request": 0.06,
		"grpc_vs_nginx": 0.5, "grpc_vs_haproxy": 0.75, "grpc_vs_envoy": 0.25, "http1_vs_reverseproxy": 0.2, "http1_vs_relay": 0.65,
		"allocs_per_request_median": 0.01, "http1_vs_nginx_by_wrk": 0.6, "h2_vs_nginx_by_h2load": 0.25,
		"bolt_added_mean_ms": 0.12, "bolt_added_mean_ms_of_relay": 0.1, "bolt_added_mean_vs_relay": 1.2,
		"http1_added_mean_ms": 0.12, "http1_added_mean_ms_of_relay": 0.1, "http1_added_mean_vs_relay": 1.2, "http1_added_p50_vs_relay": 1.2,
		"bolt_cpu_low_rate_vs_relay": 1.1, "http1_cpu_low_rate_vs_relay": 1.1,
	}
	values := map[string]float64{}
	for _, f := range got.Figures {
		values[f.Name] = f.Got
	}
	if diff := cmp.Diff(want, values, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	if misses := got.Misses(); misses != nil {
		t.Errorf("misses %v", misses)
	}
	const line = "bench: http1_vs_nginx=0.50 http1_vs_haproxy=0.65 http1_vs_envoy=0.25 h2_vs_nginx=0.50 h2_vs_haproxy=0.75 h2_vs_envoy=0.25 " +
		"bolt_vs_relay=0.65 bolt_mux_vs_relay=1.50 dubbo_vs_relay=0.65 dubbo_mux_vs_relay=1.50 tls_vs_nginx=1.00 tls_vs_haproxy=0.80 " +
		"added_p50_vs_relay=1.20 anon_idle_mb=8.00 conn_kb=4.00 tls_conn_kb=12.00 idle20k_ratio=1.10 allocs_per_request=0.010 mux_writes_per_request=0.060"
	if diff := cmp.Diff(line, got.Line()); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	if goals := got.Goals(); !strings.HasPrefix(goals, "PASS http1_vs_nginx                  0.50, at most 1.00\n") || strings.Contains(goals, "na ") {
		t.Errorf("goals:\n%s", goals)
	}
}

func TestMissesNamesEachGoal(t *testing.T) {
	rows := measured(1, 1)
	for i := range rows {
		if r := &rows[i]; r.Proxy == Axle {
			r.CPU, r.P50US, r.MeanUS = 20*r.CPU, 10*r.P50US, 10*r.MeanUS
			r.AnonKB, r.ConnKB = 10*r.AnonKB, 10*r.ConnKB
			r.Allocations, r.Writes = 1, 1
		}
	}
	got := Summarize(rows, nil)
	goals := 0
	for _, f := range figures {
		if f.goal > 0 {
			goals++
		}
	}
	misses := got.Misses()
	if len(misses) != goals || misses[0] != "http1_vs_nginx is 10.00, the goal 1.00" || !strings.Contains(got.Goals(), "FAIL http1_vs_nginx") {
		t.Errorf("%d misses of %d goals: %q\n%s", len(misses), goals, misses, got.Goals())
	}
}

func TestWhatIsMissingIsNotAvailable(t *testing.T) {
	rows := slices.Concat(measured(1, 1), measured(2, 1))
	for i := range rows {
		if r := &rows[i]; r.Proxy == Nginx && r.Load == "tls-64x1" {
			r.CPU = 0
		}
	}
	if line := Summarize(rows, nil).Line(); !strings.Contains(line, "tls_vs_nginx=na") {
		t.Errorf("a proxy that got no time is compared: %s", line)
	}
	refused := Missing{{Proxy: Envoy, Protocol: load.HTTP}: "no wheel", {Proxy: Axle, Load: "http1-crowded"}: "too few descriptors"}
	cases := map[string]struct {
		gone      func(Row) bool
		name, why string
	}{
		"a peer that cannot be had":     {func(r Row) bool { return r.Proxy == Envoy && r.Load == "http1-64x1" }, "http1_vs_envoy", "envoy, http1: no wheel"},
		"a load that cannot be had":     {func(r Row) bool { return r.Load == "http1-crowded" }, "idle20k_ratio", "too few descriptors"},
		"a part that was not asked for": {func(r Row) bool { return strings.HasPrefix(r.Load, "dubbo") }, "dubbo_vs_relay", "axle, dubbo-64x1: no result"},
		"one repetition of two":         {func(r Row) bool { return r.Load == "h2-4x32" && r.Repetition == 2 }, "h2_vs_nginx", "axle, h2-4x32: no result"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := Summarize(slices.DeleteFunc(slices.Concat(measured(1, 1), measured(2, 1)), tc.gone), refused)
			for _, f := range got.Figures {
				if f.Name == tc.name && (f.Got >= 0 || f.Why != tc.why) {
					t.Errorf("%s is %v, because %q; want %q", f.Name, f.Got, f.Why, tc.why)
				}
			}
			if !strings.Contains(got.Line(), tc.name+"=na") || !strings.Contains(got.Goals(), tc.why) || got.Misses() != nil {
				t.Errorf("%s\n%s\nmisses %v", got.Line(), got.Goals(), got.Misses())
			}
		})
	}
	if line := Summarize(nil, nil).Line(); strings.Count(line, "=na") != strings.Count(line, "=") {
		t.Errorf("a bench of nothing says %s", line)
	}
}
