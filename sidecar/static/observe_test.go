package static

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/accesslog"
)

func TestAccessFilter(t *testing.T) {
	cases := map[string]struct {
		in   string
		want accesslog.Filter
		err  string
	}{
		"everything":     {in: `{path: stdout}`},
		"all of it":      {in: `{path: /var/log/axle.json, samplePercent: 100}`},
		"a half":         {in: `{path: stdout, samplePercent: 50}`, want: accesslog.Filter{Sample: 1 << 31}},
		"hardly any":     {in: `{path: stdout, samplePercent: 0.0000000001}`, want: accesslog.Filter{Sample: 1}},
		"errors or slow": {in: `{path: stdout, onlyErrors: true, slowerThan: 1s}`, want: accesslog.Filter{OnlyErrors: true, SlowerThan: time.Second}},
		"too much":       {in: `{path: stdout, samplePercent: 101}`, err: "accessLog.samplePercent: 101 is not between 0 and 100"},
		"less than none": {in: `{path: stdout, samplePercent: -1}`, err: "accessLog.samplePercent"},
		"no path":        {in: `{onlyErrors: true}`, err: `accessLog.path: "" is neither stdout nor an absolute path`},
		"a relative one": {in: `{path: axle.json}`, err: `accessLog.path: "axle.json"`},
		"no duration":    {in: `{path: stdout, slowerThan: fast}`, err: "accessLog.slowerThan"},
		"no time at all": {in: `{path: stdout, slowerThan: 0s}`, err: "accessLog.slowerThan: 0s is not positive"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b, err := Parse("b.yaml", []byte("node: {id: x, version: v, generation: 1}\nstatic: {listeners: [], clusters: []}\naccessLog: "+tc.in+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := AccessFilter(b.AccessLog)
			if all := Check(new(b.Defaulted(1))); (err == nil) != (all == nil) {
				t.Errorf("as a part: %v; in the whole: %v", err, all)
			}
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}
