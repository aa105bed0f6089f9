package setup

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/utils/clock"
)

func machine(t *testing.T) Machine {
	t.Helper()
	return Machine{Source: t.TempDir(), Cache: filepath.Join(t.TempDir(), "cache"), Out: io.Discard, Clock: clock.RealClock{}}
}

func TestWhatWasMadeIsKept(t *testing.T) {
	m := machine(t)
	source := filepath.Join(m.Source, "in")
	write := func(content string) {
		if err := os.WriteFile(source, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runs := 0
	get := func() (string, error) {
		return m.kept(t.Context(), "copy", "copies", m.Source, []string{"in"}, func(scratch string) *exec.Cmd {
			runs++
			cmd := exec.Command("sh", "-c", "! grep -q bad in && cp in out")
			cmd.Dir = scratch
			return cmd
		})
	}
	for _, step := range []struct {
		content string
		runs    int
		fails   bool
	}{{"one", 1, false}, {"one", 1, false}, {"two", 2, false}, {"bad", 3, true}, {"bad", 4, true}, {"one", 4, false}} {
		write(step.content)
		dir, err := get()
		if runs != step.runs || (err != nil) != step.fails {
			t.Fatalf("%q: %d runs, error %v; want %d, %v", step.content, runs, err, step.runs, step.fails)
		}
		if err != nil {
			continue
		}
		if b, err := os.ReadFile(filepath.Join(dir, "out")); err != nil || string(b) != step.content {
			t.Errorf("it kept %q, %v; want %q", b, err, step.content)
		}
	}
	left, err := filepath.Glob(filepath.Join(m.Cache, ".making-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestAFailedCommandSaysWhy(t *testing.T) {
	m := machine(t)
	err := m.run("complain", exec.Command("sh", "-c", "echo it is too cold >&2; exit 3"))
	if err == nil || !strings.Contains(err.Error(), "complain: exit status 3\nit is too cold") {
		t.Errorf("it says %v", err)
	}
}

// TestLockFilesNameNoRegistry: where packages come from is a matter of each machine.
func TestLockFilesNameNoRegistry(t *testing.T) {
	b, err := os.ReadFile("../node/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte(`"resolved"`)) {
		t.Error("package-lock.json has resolved fields; see .npmrc")
	}
}
