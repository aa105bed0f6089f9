package matrix

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/axlemesh/axle/hack/bench/load"
)

// measured makes the rows of one repetition on a machine that is slow by a factor.
func measured(repetition int, slow float64) []Row {
	row := func(proxy, l string, cpu, p50 float64) Row {
		return Row{Repetition: repetition, Proxy: proxy, Load: l, Allocations: 0.01,
			Result: load.Result{Requests: 1000, CPU: cpu * slow, P50US: p50 * slow, MeanUS: p50 * slow, Writes: 0.06}}
	}
	return []Row{
		row(direct, low, 0, 50), row(direct, wide, 0, 1), row(direct, mux, 0, 1),
		row(relay, low, 80, 150), row(relay, wide, 20, 1), row(relay, mux, 1, 1),
		row(axle, low, 88, 170), row(axle, wide, 13, 1), row(axle, mux, 1.5, 1),
		row(direct, webLow, 0, 60), row(direct, webWide, 0, 1),
		row(relay, webLow, 80, 160), row(relay, webWide, 20, 1),
		row(axle, webLow, 100, 180), row(axle, webWide, 22, 1),
		row(reverseOne, webWide, 88, 1), row(nginx, webWide, 25, 1),
	}
}

func TestSummarizeComparesWithinARepetition(t *testing.T) {
	rows := append(append(measured(1, 1), measured(2, 5)...), measured(3, 0.9)...)
	got, err := Summarize(rows)
	if err != nil {
		t.Fatal(err)
	}
	want := Summary{Repetitions: 3, Figures: []Figure{
		{"bolt_vs_relay", 0.65, 1}, {"bolt_mux_vs_relay", 1.5, 2},
		{"added_p50_vs_relay", 1.2, 1.5}, {"added_mean_vs_relay", 1.2, 1.5}, {"added_mean_ms", 0.12, 0.2},
		{"cpu_low_rate_vs_relay", 1.1, 1.3}, {"allocs_per_request", 0.01, 0.05}, {"writes_per_request_mux", 0.06, 0.1},
		{"http_vs_reverseproxy", 0.25, 0.4}, {"http_vs_nginx", 0.88, 1.2}, {"http_vs_relay", 1.1, 0},
		{"http_added_p50_vs_relay", 1.2, 1.5}, {"http_added_mean_vs_relay", 1.2, 1.5}, {"http_added_mean_ms", 0.12, 0.2},
		{"http_cpu_low_rate_vs_relay", 1.25, 1.3}, {"http_allocs_per_request", 0.01, 0.05},
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	if misses := got.Misses(); misses != nil {
		t.Errorf("misses %v", misses)
	}
	lines := strings.Split(got.String(), "\n")
	if !strings.HasPrefix(lines[0], "bench: bolt_vs_relay=0.65 bolt_mux_vs_relay=1.50 ") || !strings.HasSuffix(lines[0], " http_allocs_per_request=0.010 repetitions=3") {
		t.Errorf("line %q", lines[0])
	}
	if lines[1] != "PASS bolt_vs_relay                 0.65, at most 1.00" || lines[len(lines)-2] != "bench: PASS" {
		t.Errorf("gates:\n%s", got)
	}
}

func TestMissesNamesEachGoal(t *testing.T) {
	rows := measured(1, 1)
	for i := range rows {
		if rows[i].Proxy == axle {
			rows[i].CPU *= 10
			rows[i].P50US *= 10
			rows[i].MeanUS *= 10
			rows[i].Allocations, rows[i].Writes = 1, 1
		}
	}
	got, err := Summarize(rows)
	if err != nil {
		t.Fatal(err)
	}
	misses := got.Misses()
	if len(misses) != len(figures)-1 || misses[0] != "bolt_vs_relay is 6.50, the goal 1.00" || !strings.Contains(got.String(), "FAIL http_vs_nginx") {
		t.Errorf("misses %q\n%s", misses, got)
	}
}

func TestWhatIsMissingWasNotMeasured(t *testing.T) {
	rows := append(measured(1, 1), measured(2, 1)...)
	rows = slices.DeleteFunc(rows, func(r Row) bool { return r.Proxy == nginx && r.Repetition == 2 })
	got, err := Summarize(rows)
	if err != nil {
		t.Fatal(err)
	}
	if misses := got.Misses(); len(misses) != 1 || misses[0] != "http_vs_nginx was not measured" {
		t.Errorf("misses %q", misses)
	}
	if _, err := Summarize(measured(1, 1)[:5]); err == nil {
		t.Error("no error without results of the sidecar")
	}
}

func TestResultsAreWritten(t *testing.T) {
	rows := measured(1, 1)
	var table bytes.Buffer
	if err := Table(&table, rows); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(table.String(), "\n"); n != len(rows)+2 {
		t.Errorf("%d lines for %d rows:\n%s", n, len(rows), table.String())
	}
	name := filepath.Join(t.TempDir(), "out.csv")
	if err := writeCSV(name, rows); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "\n1,axle,64x1,1000,0.000,13.000,1.000,") {
		t.Errorf("CSV:\n%s", b)
	}
}
