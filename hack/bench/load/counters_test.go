package load

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCountersAreParsed(t *testing.T) {
	const all = "# HELP x y\ngo_memstats_mallocs_total 1.5e+06\naxle_read_calls_total 7\naxle_write_calls_total 8\nother 3\n"
	cases := map[string]struct {
		in   string
		want counters
		err  string
	}{
		"all":         {all, counters{1.5e6, 7, 8}, ""},
		"one missing": {strings.Replace(all, "axle_read", "read", 1), counters{}, "1 counters are missing"},
		"a word":      {strings.Replace(all, " 7", " seven", 1), counters{}, "axle_read_calls_total"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parseCounters(strings.NewReader(tc.in))
			if got != tc.want && tc.err == "" || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestTallyTakesTheCostOfAskingOff has a proxy that allocates 100 times for each question, and 50 times for the load.
func TestTallyTakesTheCostOfAskingOff(t *testing.T) {
	mallocs, work := 1000, 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mallocs += 100
		fmt.Fprintf(w, "go_memstats_mallocs_total %d\naxle_read_calls_total %d\naxle_write_calls_total %d\n", mallocs, work, 2*work)
	}))
	defer s.Close()
	c := tally{url: s.URL}
	if err := c.begin(); err != nil {
		t.Fatal(err)
	}
	mallocs, work = mallocs+50, 20
	r := Result{Requests: 10}
	if err := c.end(&r); err != nil {
		t.Fatal(err)
	}
	if r.Allocations != 5 || r.Reads != 2 || r.Writes != 4 {
		t.Errorf("%+v", r)
	}
	none := tally{}
	if err := none.begin(); err != nil || none.end(&r) != nil || r.Allocations != -1 {
		t.Errorf("without metrics: %v, %+v", err, r)
	}
}
