package report

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the golden files")

// TestWhatIsWrittenIsGolden holds every writer against its golden file. Run it with -update after a change.
func TestWhatIsWrittenIsGolden(t *testing.T) {
	rows := slices.Concat(measured(1, 1), measured(2, 1.25))
	for name, write := range map[string]func(io.Writer, []Row) error{
		"results.golden.csv": WriteCSV, "plot.golden.svg": Plot, "table.golden.txt": Table, "results.golden.md": Document,
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := write(&got, rows); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		})
	}
}

func TestResultsComeBack(t *testing.T) {
	rows := measured(1, 1.0/3)
	dir := t.TempDir()
	if err := Save(dir, rows); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "results.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := ReadCSV(f)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rows, got, cmpopts.EquateApprox(0, 0.001)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestOldResultsOfOtherLoadsAreKept(t *testing.T) {
	dir := t.TempDir()
	if rows, err := Load(dir); rows != nil || err != nil {
		t.Errorf("an empty folder has %v, %v", rows, err)
	}
	old := []Row{{Repetition: 1, Proxy: Axle, Load: "a"}, {Repetition: 1, Proxy: Axle, Load: "b"}}
	now := []Row{{Repetition: 1, Proxy: Axle, Load: "b", Conns: 7}}
	if err := Save(dir, old); err != nil {
		t.Fatal(err)
	}
	saved, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Row{old[0], now[0]}, Merge(saved, now)); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
}

func TestReadCSVRefuses(t *testing.T) {
	var good bytes.Buffer
	if err := WriteCSV(&good, measured(1, 1)[:1]); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct{ in, want string }{
		"nothing":        {"", "columns"},
		"other columns":  {"a,b\n1,2\n", "columns"},
		"a torn line":    {good.String() + "1,axle\n", "wrong number of fields"},
		"a word":         {strings.Replace(good.String(), "\n1,", "\none,", 1), "line 2"},
		"a word, inside": {strings.Replace(good.String(), ",1000,", ",many,", 1), "line 2"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadCSV(strings.NewReader(tc.in)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one about %q", err, tc.want)
			}
		})
	}
}
