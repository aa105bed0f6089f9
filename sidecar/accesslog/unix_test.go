package accesslog

import (
	"strings"
	"testing"

	"github.com/axlemesh/axle/sidecar/address"
)

// TestAUnixSocketInALine is written as files have it, whatever is in its name.
func TestAUnixSocketInALine(t *testing.T) {
	for name, want := range map[string]string{
		"/run/app.sock": `"endpoint":"unix:///run/app.sock",`,
		`@a"b`:          `"endpoint":"unix:@a\"b",`,
	} {
		e := full()
		var err error
		if e.Endpoint, err = address.Unix(name); err != nil {
			t.Fatal(err)
		}
		if got := string(e.appendLine(nil, noon)); !strings.Contains(got, want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
