package route

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
)

// FuzzFits holds the matches against what the standard library makes of the same value.
func FuzzFits(f *testing.F) {
	for _, s := range []string{"", "a", "/api/v1", "-9223372036854775808", "9223372036854775808", "+1", "0000000000000000000001", "1_0", "\xff"} {
		f.Add([]byte(s), []byte("/api"))
	}
	f.Fuzz(func(t *testing.T, value, want []byte) {
		v, w := string(value), string(want)
		for kind, holds := range map[config.MatchKind]bool{
			config.MatchExact: v == w, config.MatchPrefix: strings.HasPrefix(v, w), config.MatchSuffix: strings.HasSuffix(v, w),
			config.MatchContains: strings.Contains(v, w), config.MatchPresent: true,
			config.MatchSegments: v == w || strings.HasPrefix(v, w+"/"),
		} {
			if m := (match{kind: kind, value: want}); m.fits(value) != holds {
				t.Errorf("%q is matched with %q by kind %d: %v", v, w, kind, !holds)
			}
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if got, ok := integer(value); len(bytes.TrimLeft(value, "+-")) <= 19 && (ok != (err == nil) || ok && got != n) || ok && err != nil {
			t.Errorf("%q is the number %d, %v; it is %d, %v", v, got, ok, n, err)
		}
	})
}
