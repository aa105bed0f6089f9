package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProcessMemory(t *testing.T) {
	cases := map[string]struct {
		status string
		want   Memory
		fails  bool
	}{
		"a process":      {status: "Name:\tx\nVmRSS:\t    1200 kB\nRssAnon:\t     300 kB\nRssFile:\t 900 kB\n", want: Memory{1200 << 10, 300 << 10}},
		"a zombie":       {status: "Name:\tx\nState:\tZ (zombie)\n"},
		"not a number":   {status: "VmRSS:\tmuch kB\n", fails: true},
		"it has ended":   {},
		"another's file": {status: "VmRSSx: 1 kB\nVmRSS: 2 kB\n", want: Memory{Resident: 2 << 10}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "status")
			if tc.status != "" {
				if err := os.WriteFile(file, []byte(tc.status), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := processMemory(file)
			if (err != nil) != tc.fails {
				t.Fatalf("error %v, want one: %v", err, tc.fails)
			}
			if diff := cmp.Diff(tc.want, got); err == nil && diff != "" {
				t.Errorf("memory (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRuns(t *testing.T) {
	me := os.Getpid()
	if !runs(me, filepath.Base(os.Args[0])) || runs(me, "another") {
		t.Errorf("this process is %q", os.Args[0])
	}
	if runs(1<<30, "another") {
		t.Error("a process that does not exist runs a program")
	}
}
