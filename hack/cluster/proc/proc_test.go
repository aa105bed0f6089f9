package proc

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"
)

func table(t *testing.T) Table {
	return Table{Dir: t.TempDir(), Logs: t.TempDir(), Clock: clock.RealClock{}}
}

func TestStartAndStop(t *testing.T) {
	tab := table(t)
	spec := Spec{Name: "x", Args: []string{"sh", "-c", "echo started; exec sleep 60"}, Env: os.Environ()}
	r, err := tab.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Signal(syscall.SIGKILL) })
	if again, err := tab.Start(spec); err != nil || again.PID != r.PID {
		t.Errorf("a second start: %+v, %v; want the same process", again, err)
	}
	if all, err := tab.All(); err != nil || len(all) != 1 || !all[0].Alive() {
		t.Errorf("records %+v, %v", all, err)
	}
	if err := tab.Stop(t.Context(), "x", syscall.SIGTERM, time.Second); err != nil || r.Alive() {
		t.Errorf("stop: %v, alive %t", err, r.Alive())
	}
	if err := tab.Stop(t.Context(), "never-started", syscall.SIGTERM, time.Second); err != nil {
		t.Errorf("stop what was never started: %v", err)
	}
}

func TestStopKillsTheDeaf(t *testing.T) {
	tab := table(t)
	ready := filepath.Join(t.TempDir(), "ready")
	script := "trap '' TERM; : > " + ready + "; while :; do sleep 1; done"
	r, err := tab.Start(Spec{Name: "deaf", Args: []string{"sh", "-c", script}, Env: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	err = Wait(t.Context(), tab.Clock, 5*time.Second, func() bool { _, err := os.Stat(ready); return err == nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := tab.Stop(t.Context(), "deaf", syscall.SIGTERM, 50*time.Millisecond); err != nil || r.Alive() {
		t.Errorf("stop: %v, alive %t", err, r.Alive())
	}
}

func TestAliveRefusesReusedPids(t *testing.T) {
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	start, _, err := stat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		record Record
		want   bool
	}{
		"the process itself":              {Record{PID: os.Getpid(), Start: start, Boot: boot}, true},
		"a later process with its number": {Record{PID: os.Getpid(), Start: start + 1, Boot: boot}, false},
		"before a reboot":                 {Record{PID: os.Getpid(), Start: start, Boot: "other"}, false},
		"never started":                   {Record{}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.record.Alive(); got != tc.want {
				t.Errorf("alive %t, want %t", got, tc.want)
			}
		})
	}
}

func TestParseStat(t *testing.T) {
	line := "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1"
	if start, state, err := parseStat(line); start != 4242 || state != "S" || err != nil {
		t.Errorf("start %d, state %q, %v", start, state, err)
	}
	for _, bad := range []string{"", "7 (a) S 1", strings.Replace(line, "4242", "x", 1)} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestParseMounts(t *testing.T) {
	const hybrid = `24 1 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw
25 24 0:21 / /sys/fs/cgroup/cpu rw,nosuid - cgroup cgroup rw,cpu
26 24 0:22 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
bad line
`
	const unified = "25 24 0:21 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n"
	cases := map[string]struct {
		mounts  string
		want    []Hierarchy
		version int
	}{
		"version 1 with an empty version 2 beside it": {
			hybrid, []Hierarchy{{Path: "/sys/fs/cgroup/cpu"}, {Path: "/sys/fs/cgroup/unified", Unified: true}}, 1,
		},
		"version 2": {unified, []Hierarchy{{Path: "/sys/fs/cgroup", Unified: true}}, 2},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := parseMounts(tc.mounts)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("hierarchies (-want +got):\n%s", diff)
			}
			if v := Version(got); v != tc.version {
				t.Errorf("version %d, want %d", v, tc.version)
			}
		})
	}
}

// A folder that looks like a version 2 hierarchy shows what is written where.
func TestMakeCgroupDelegates(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"", "axle-x"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string]string{"cgroup.controllers": "cpu memory\n", "cgroup.subtree_control": ""} {
			if err := os.WriteFile(filepath.Join(root, dir, name), []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := MakeCgroup([]Hierarchy{{Path: root, Unified: true}}, "/axle-x/n1"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "axle-x"} {
		data, err := os.ReadFile(filepath.Join(root, dir, "cgroup.subtree_control"))
		if err != nil || string(data) != "+memory" { // a real one adds up what is written
			t.Errorf("%q delegates %q, %v", dir, data, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "axle-x/n1/cgroup.subtree_control")); err == nil {
		t.Error("the leaf delegates")
	}
}

func TestEndCgroupRefusesTheRoot(t *testing.T) {
	for _, path := range []string{"", "/", "//"} {
		if err := EndCgroup(t.Context(), clock.RealClock{}, nil, path); err == nil {
			t.Errorf("no error for %q", path)
		}
	}
}
