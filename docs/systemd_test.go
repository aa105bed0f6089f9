package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/supervisor"
)

const (
	cold     = "standalone/axle-sidecar@.service"
	takeover = "standalone/axle-takeover@.service"
)

// setting reads one setting of a unit; none of them is there twice.
func setting(t *testing.T, unit, name string) string {
	t.Helper()
	found := regexp.MustCompile("(?m)^"+name+"=(.*)$").FindAllStringSubmatch(read(t, unit), -1)
	if len(found) > 1 {
		t.Fatalf("%s has %s %d times", unit, name, len(found))
	}
	if len(found) == 0 {
		return ""
	}
	return found[0][1]
}

func TestUnitsAreReadBySystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed; TestUnitsUpgrade still plays the commands")
	}
	dir := t.TempDir()
	var files []string
	for _, unit := range []string{cold, takeover} {
		text := strings.ReplaceAll(read(t, unit), "/opt/axle/%i/", filepath.Dir(program(t, "axle-sidecar"))+"/")
		path := filepath.Join(dir, filepath.Base(unit))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	out, err := exec.Command(analyze, append([]string{"verify"}, files...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

func TestUnitsAgree(t *testing.T) {
	for _, name := range []string{"User", "ExecStartPost", "RuntimeDirectory", "RuntimeDirectoryMode", "RuntimeDirectoryPreserve", "LimitNOFILE", "TimeoutStopSec"} {
		if a, b := setting(t, cold, name), setting(t, takeover, name); a != b || a == "" {
			t.Errorf("%s is %q in one unit and %q in the other", name, a, b)
		}
	}
	for _, check := range []struct{ unit, name, want string }{
		{cold, "Restart", "on-failure"},
		{cold, "RestartPreventExitStatus", strconv.Itoa(supervisor.ExitConfig)},
		{cold, "RuntimeDirectoryPreserve", "yes"},
		{takeover, "Restart", "no"},
		{takeover, "OnFailure", "axle-sidecar@%i.service"},
	} {
		if got := setting(t, check.unit, check.name); got != check.want {
			t.Errorf("%s: %s is %q, want %q", check.unit, check.name, got, check.want)
		}
	}
	if stop, err := strconv.Atoi(setting(t, cold, "TimeoutStopSec")); err != nil || stop <= bootstrap.DefaultTerminationGraceSeconds {
		t.Errorf("TimeoutStopSec is %d (%v): SIGKILL would come before the grace period ends", stop, err)
	}
}

// TestUnitsUpgrade does what systemd does with the units, as far as commands go.
func TestUnitsUpgrade(t *testing.T) {
	h := newHost(t)
	h.install("v1-0-0")
	h.install("v1-1-0")

	if code := h.run(cold, "v1-0-0", "ExecCondition", 0); code != 0 {
		t.Fatalf("the first start is skipped: %d", code)
	}
	first := h.start(cold, "v1-0-0")
	h.served(first, cold, "v1-0-0")
	c := dial(t, h.move("127.0.0.1:16379"))
	c.say(t, "hello")

	second := h.start(takeover, "v1-1-0")
	h.served(second, takeover, "v1-1-0")
	if code := first.exit(); code != 0 {
		t.Errorf("v1-0-0 exited with %d", code)
	}
	c.say(t, "after the upgrade")

	// A takeover that fails: the other unit is started by OnFailure, and does nothing.
	h.install("v1-2-0", "  clusters:", `  - {name: taken, address: "127.0.0.1:6379", protocol: tcp, cluster: cache}`+"\n  clusters:")
	failed := h.start(takeover, "v1-2-0")
	if code := h.run(takeover, "v1-2-0", "ExecStartPost", failed.cmd.Process.Pid); code == 0 {
		t.Error("`systemctl start` of a takeover that fails succeeds")
	}
	if code := failed.exit(); code != supervisor.ExitCandidate {
		t.Errorf("the failed takeover exited with %d", code)
	}
	if code := h.run(cold, "v1-2-0", "ExecCondition", 0); code == 0 || code == 255 {
		t.Errorf("after a failed takeover the condition ends with %d, want 1 to 254", code)
	}
	c.say(t, "after the failed one")

	third := h.start(takeover, "v1-0-0")
	h.served(third, takeover, "v1-0-0")
	if code := second.exit(); code != 0 {
		t.Errorf("v1-1-0 exited with %d", code)
	}
	c.say(t, "back again")

	// A crash: OnFailure starts the other unit, which serves.
	_ = third.cmd.Process.Kill()
	third.exit()
	if code := h.run(cold, "v1-0-0", "ExecCondition", 0); code != 0 {
		t.Errorf("after a crash the condition ends with %d", code)
	}
	fourth := h.start(cold, "v1-0-0")
	h.served(fourth, cold, "v1-0-0")
	dial(t, h.move("127.0.0.1:16379")).say(t, "after the crash")
	_ = fourth.cmd.Process.Signal(syscall.SIGINT)
	if code := fourth.exit(); code != 0 {
		t.Errorf("the last one exited with %d", code)
	}
}

// host is a machine with the units installed.
type host struct{ *place }

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{newPlace(t)}
	if err := os.MkdirAll(filepath.Join(h.dir, "run/axle"), 0o700); err != nil {
		t.Fatal(err)
	}
	echo(t, h.move("127.0.0.1:6379"))
	return h
}

// install puts a release into its places.
func (h *host) install(release string, replace ...string) {
	h.t.Helper()
	folder := filepath.Join(h.dir, "opt/axle", release)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Symlink(program(h.t, "axle-sidecar"), filepath.Join(folder, "axle-sidecar")); err != nil {
		h.t.Fatal(err)
	}
	file := h.file("systemd.yaml", "etc/axle/"+release+".yaml")
	text := strings.Replace(read(h.t, file), "version: v1-0-0", "version: "+release, 1)
	for i := 0; i+1 < len(replace); i += 2 {
		text = strings.Replace(text, replace[i], h.move(replace[i+1]), 1)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) command(unit, release, name string) string {
	h.t.Helper()
	return h.move(strings.ReplaceAll(setting(h.t, unit, name), "%i", release))
}

// start is ExecStart.
func (h *host) start(unit, release string) *process {
	h.t.Helper()
	args := strings.Fields(h.command(unit, release, "ExecStart"))
	return start(h.t, args[0], args[1:]...)
}

// run is a command of a unit that goes through the shell; it returns the exit code.
func (h *host) run(unit, release, name string, mainPID int) int {
	h.t.Helper()
	script, ok := strings.CutPrefix(h.command(unit, release, name), "/bin/sh -c '")
	script, closed := strings.CutSuffix(script, "'")
	if !ok || !closed || strings.ContainsAny(script, `'\`) {
		h.t.Fatalf("%s of %s is no plain script: %s", name, unit, script)
	}
	cmd := exec.Command("timeout", "20", "/bin/sh", "-c", strings.ReplaceAll(script, "${MAINPID}", strconv.Itoa(mainPID)))
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		h.t.Fatalf("%s: %v: %s", name, err, out)
	}
	return cmd.ProcessState.ExitCode()
}

// served is ExecStartPost: `systemctl start` returns.
func (h *host) served(p *process, unit, release string) {
	h.t.Helper()
	if code := h.run(unit, release, "ExecStartPost", p.cmd.Process.Pid); code != 0 {
		h.t.Fatalf("%s of %s: ExecStartPost ended with %d", release, unit, code)
	}
}
