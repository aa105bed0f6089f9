package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestStorm runs short storms with real processes: a healthy sidecar passes, and each sabotaged one is found out by the
// counter that is meant for it. It asserts no latency.
func TestStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a storm builds four sidecars and runs for half a minute")
	}
	cases := map[string]struct {
		breakage, why string
	}{
		"a healthy sidecar":          {"", ""},
		"an answer that is dropped":  {"drop", "failed="},
		"a connection that is cut":   {"reset", "resets="},
		"an answer that comes twice": {"dup", "duplicates="},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			v, err := Storm(t.Context(), Config{
				Upgrades: 3, Connections: 40, Rate: 1500, Steady: time.Second, Between: 3500 * time.Millisecond,
				Source: "../..", Break: tc.breakage, Out: t.Output(), Now: time.Now,
			})
			if err != nil {
				t.Fatal(err)
			}
			found := slices.DeleteFunc(v.Why(), func(why string) bool { return strings.HasPrefix(why, "p99 ") })
			meant := func(why string) bool { return strings.HasPrefix(why, tc.why) }
			if tc.why == "" && len(found) > 0 || tc.why != "" && !slices.ContainsFunc(found, meant) {
				t.Errorf("findings %q, want one of %q\n%s", found, tc.why, v)
			}
		})
	}
}
