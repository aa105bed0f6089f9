package static

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzParseEnv reads what an injector of another release has written: what is accepted can be served, and loses nothing that it has a
// field for.
func FuzzParseEnv(f *testing.F) {
	for _, s := range []string{
		`{"node":{"id":"x","version":"v","generation":1,"new":1},"newer":{},"admin":"127.0.0.1:1","meshAPI":"127.0.0.1:2"}`,
		`{"static":{"listeners":[{"name":"in","address":":12200","protocol":"bolt","cluster":"app"}],"clusters":[{"name":"app","endpoints":["unix:@app"]}]}}`,
		`{"tracing":{"endpoint":"http://a/b","samplePercent":1},"overload":{"interval":"1s","memory":{"closeIdle":70}}}`,
		`{"operator":{"address":"axle:15010","serverName":"axle","ca":"x"}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ParseEnv(s)
		if err != nil {
			return
		}
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseEnv(string(text))
		if err != nil || cmp.Diff(b, again) != "" {
			t.Errorf("%v; what was read is written another way (-first +second):\n%s", err, cmp.Diff(b, again))
		}
		_ = Check(b)
		_, _, _ = Overload(b)
		if b.Static == nil {
			return
		}
		snap, err := Snapshot(b.Static)
		if err != nil {
			return
		}
		if err := snap.Validate(); err != nil {
			t.Errorf("an accepted snapshot is invalid: %v", err)
		}
	})
}
