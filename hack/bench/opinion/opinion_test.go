package opinion

import (
	"os"
	"strings"
	"testing"
	"time"
)

func said(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var wants = map[string]Result{"wrk": {43929, 43363.33}, "h2load": {162089, 162089}}

// TestWhatToolsSayIsRead parses what wrk 4.1.0 and h2load 1.52.0 have said.
func TestWhatToolsSayIsRead(t *testing.T) {
	for _, tool := range Tools {
		t.Run(tool.Name, func(t *testing.T) {
			out := said(t, tool.Name)
			got, err := tool.Parse(out)
			if err != nil {
				t.Fatal(err)
			}
			if want := wants[tool.Name]; got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
			if _, err := tool.Parse("unable to connect\n"); err == nil || !strings.Contains(err.Error(), "unable to connect") {
				t.Errorf("error %v, want what it says", err)
			}
		})
	}
}

func TestBadRunsAreRefused(t *testing.T) {
	cases := map[string]struct {
		tool          int
		replace, with string
	}{
		"wrk, an error status":   {0, "Requests/sec", "  Non-2xx or 3xx responses: 7\nRequests/sec"},
		"wrk, a broken socket":   {0, "Requests/sec", "  Socket errors: connect 0, read 3, write 0, timeout 0\nRequests/sec"},
		"wrk, no rate":           {0, "Requests/sec:", "Requests/sec: many"},
		"h2load, a failure":      {1, " 0 failed", " 3 failed"},
		"h2load, an error":       {1, " 0 errored", " 3 errored"},
		"h2load, a timeout":      {1, " 0 timeout", " 3 timeout"},
		"h2load, another status": {1, " 0 5xx", " 3 5xx"},
		"h2load, a word":         {1, "status codes: ", "status codes: x"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			good := said(t, Tools[tc.tool].Name)
			bad := strings.Replace(good, tc.replace, tc.with, 1)
			if bad == good {
				t.Fatalf("%q is not there", tc.replace)
			}
			if r, err := Tools[tc.tool].Parse(bad); err == nil {
				t.Errorf("taken: %+v", r)
			}
		})
	}
}

func TestCommandsAskAsTheBenchDoes(t *testing.T) {
	want := map[string]string{"wrk": "-t 1 -c 64 -d 2 ", "h2load": "-t 1 -c 4 -m 32 -D 2 "}
	for _, tool := range Tools {
		cmd, err := tool.Command("/bin/"+tool.Name, t.TempDir(), "127.0.0.1:1", 64, 1600*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		line := strings.Join(cmd, " ")
		if !strings.HasPrefix(line, "/bin/"+tool.Name+" "+want[tool.Name]) || !strings.HasSuffix(line, " http://127.0.0.1:1/bench/echo") {
			t.Errorf("command %s", line)
		}
	}
}
