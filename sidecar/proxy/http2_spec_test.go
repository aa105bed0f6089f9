package proxy_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
)

// specTool is the module that pins h2spec, a test suite for servers.
const specTool = "../../hack/tools/h2spec/go.mod"

// TestHTTP2Conforms runs h2spec's 145 cases against a listener.
func TestHTTP2Conforms(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a tool")
	}
	tool := filepath.Join(t.TempDir(), "h2spec")
	build := exec.Command("go", "build", "-modfile="+specTool, "-o", tool, "github.com/summerwind/h2spec/cmd/h2spec")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("h2spec cannot be built here: %v\n%s", err, out)
	}
	to, _ := shop2(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	s.Hosts["*"] = &config.Host{Name: "*", Routes: s.Hosts["shop.demo"].Routes}
	started(t, 1, s)
	run := exec.Command(tool, "-h", addr.Addr().String(), "-p", fmt.Sprint(addr.Port()), "-P", "/large", "-o", "1")
	out, _ := run.CombinedOutput() // it fails when one case does
	m := regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no result:\n%s", out)
	}
	t.Logf("%s", m[0])
	if string(m[4]) != "0" {
		at := max(strings.Index(string(out), "Failures:"), 0)
		t.Errorf("%s", out[at:])
	}
}
