package matrix

import (
	"bytes"
	"os"
	"path/filepath"
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
			Result: load.Result{Requests: 1000, CPU: cpu * slow, P50US: p50 * slow, Writes: 0.06}}
	}
	return []Row{
		row(direct, low, 0, 50), row(direct, wide, 0, 1), row(direct, mux, 0, 1),
		row(relay, low, 80, 150), row(relay, wide, 20, 1), row(relay, mux, 1, 1),
		row(axle, low, 88, 170), row(axle, wide, 13, 1), row(axle, mux, 1.5, 1),
	}
}

func TestSummarizeComparesWithinARepetition(t *testing.T) {
	rows := append(append(measured(1, 1), measured(2, 5)...), measured(3, 0.9)...)
	got, err := Summarize(rows)
	if err != nil {
		t.Fatal(err)
	}
	want := Summary{Wide: 0.65, Mux: 1.5, LowCPU: 1.1, AddedP50: 1.2, Allocations: 0.01, Writes: 0.06, Repetitions: 3}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	if misses := got.Misses(); misses != nil {
		t.Errorf("misses %v", misses)
	}
	line := "bench: bolt_vs_relay=0.65 bolt_mux_vs_relay=1.50 added_p50_vs_relay=1.20 cpu_low_rate_vs_relay=1.10 allocs_per_request=0.010 writes_per_request_mux=0.060 repetitions=3"
	if got.String() != line {
		t.Errorf("line %q", got)
	}
}

func TestMissesNamesEachGoal(t *testing.T) {
	got := Summary{Wide: 1.2, Mux: 2.5, LowCPU: 2, AddedP50: 2, Allocations: 1}.Misses()
	if len(got) != 5 || !strings.Contains(got[0], "bolt_vs_relay is 1.20, the goal 1.00") {
		t.Errorf("misses %q", got)
	}
}

func TestSummarizeRefusesWhatIsMissing(t *testing.T) {
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
	if n := strings.Count(table.String(), "\n"); n != len(rows)+1 {
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
	if !strings.Contains(string(b), "\n1,axle,64x1,1000,0.000,13.000,") {
		t.Errorf("CSV:\n%s", b)
	}
}
