// Package proc starts processes that outlive the caller, remembers them in
// files, and ends exactly those: a recorded pid counts only while its start
// time and the machine's boot match what was recorded.
package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/utils/clock"

	"github.com/axlemesh/axle/hack/cluster/progress"
)

// Record identifies one process for as long as the machine lives.
type Record struct {
	Name  string   `json:"name"`
	PID   int      `json:"pid"`
	Start uint64   `json:"start"` // field 22 of /proc/PID/stat: clock ticks since boot
	Boot  string   `json:"boot"`  // the kernel's boot id
	Args  []string `json:"args"`
}

// Table is the set of processes of one cluster.
type Table struct {
	Dir    string      // folder of the records
	Logs   string      // folder of the processes' logs
	Cgroup []string    // cgroup folders that every process joins
	Clock  clock.Clock // paces waiting
}

// Spec says what to run.
type Spec struct {
	Name string   // of the record and the log
	Args []string // the program and its arguments
	Env  []string // the environment, complete
	Dir  string   // working directory
}

// Start runs a process in its own session, with its output appended to
// Logs/NAME.log, and records it. A live process of that name is left as it is.
func (t Table) Start(s Spec) (Record, error) {
	if r, err := t.Find(s.Name); err != nil {
		return Record{}, err
	} else if r.Alive() {
		return r, nil
	}
	log, err := os.OpenFile(t.Log(s.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return Record{}, fmt.Errorf("start %s: %w", s.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.Env, s.Dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return Record{}, fmt.Errorf("start %s: %w", s.Name, err)
	}
	go func() { _ = cmd.Wait() }() // reaps; ends with the process, or with ours
	r, err := t.adopt(s, cmd.Process.Pid)
	if err != nil {
		return Record{}, errors.Join(err, cmd.Process.Kill())
	}
	return r, nil
}

func (t Table) adopt(s Spec, pid int) (Record, error) {
	for _, dir := range t.Cgroup {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return Record{}, fmt.Errorf("put %s into its cgroup: %w", s.Name, err)
		}
	}
	start, _, err := stat(pid)
	if err != nil {
		return Record{}, fmt.Errorf("start %s: it ended at once, see %s: %w", s.Name, t.Log(s.Name), err)
	}
	boot, err := bootID()
	if err != nil {
		return Record{}, err
	}
	r := Record{Name: s.Name, PID: pid, Start: start, Boot: boot, Args: s.Args}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return Record{}, fmt.Errorf("record %s: %w", s.Name, err)
	}
	if err := os.WriteFile(t.file(s.Name), data, 0o644); err != nil {
		return Record{}, fmt.Errorf("record %s: %w", s.Name, err)
	}
	return r, nil
}

// Find reads the record of a process; one that was never started is a Record that is not alive.
func (t Table) Find(name string) (Record, error) {
	data, err := os.ReadFile(t.file(name))
	if errors.Is(err, os.ErrNotExist) {
		return Record{Name: name}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("read the record of %s: %w", name, err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("read the record of %s: %w", name, err)
	}
	return r, nil
}

// All returns the records, by name.
func (t Table) All() ([]Record, error) {
	files, err := filepath.Glob(filepath.Join(t.Dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list the records: %w", err)
	}
	slices.Sort(files)
	var out []Record
	for _, file := range files {
		r, err := t.Find(strings.TrimSuffix(filepath.Base(file), ".json"))
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Stop sends sig, waits up to grace, then kills, and returns when the process is gone.
func (t Table) Stop(ctx context.Context, name string, sig syscall.Signal, grace time.Duration) error {
	r, err := t.Find(name)
	if err != nil || !r.Alive() {
		return err
	}
	if err := r.Signal(sig); err != nil {
		return err
	}
	if Wait(ctx, t.Clock, grace, func() bool { return !r.Alive() }) == nil {
		return nil
	}
	if err := r.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	if err := Wait(ctx, t.Clock, 30*time.Second, func() bool { return !r.Alive() }); err != nil {
		return fmt.Errorf("kill %s (pid %d): %w", name, r.PID, err)
	}
	return nil
}

// Log names the log of a process.
func (t Table) Log(name string) string { return filepath.Join(t.Logs, name+".log") }

func (t Table) file(name string) string { return filepath.Join(t.Dir, name+".json") }

// Alive reports whether the recorded process still runs. A zombie does not,
// but one with other threads does: they still hold its files and ports.
func (r Record) Alive() bool {
	if r.PID <= 0 {
		return false
	}
	if boot, err := bootID(); err != nil || boot != r.Boot {
		return false
	}
	start, state, err := stat(r.PID)
	if err != nil || start != r.Start || state == "X" {
		return false
	}
	return state != "Z" || threads(r.PID) > 1
}

// threads counts the threads of a process; it is 0 for one that is gone.
func threads(pid int) int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0
	}
	return len(entries)
}

// Signal sends a signal if the recorded process still runs.
func (r Record) Signal(sig syscall.Signal) error {
	if !r.Alive() {
		return nil
	}
	if err := syscall.Kill(r.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %s to %s (pid %d): %w", sig, r.Name, r.PID, err)
	}
	return nil
}

// Wait polls every 20 ms until done, and fails when the limit or ctx ends first.
func Wait(ctx context.Context, clk clock.Clock, limit time.Duration, done func() bool) error {
	return progress.Poll(ctx, clk, 20*time.Millisecond, limit, func() (bool, error) { return done(), nil })
}

// stat returns a process's start time and state (proc(5), /proc/pid/stat).
func stat(pid int) (start uint64, state string, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", fmt.Errorf("read the state of process %d: %w", pid, err)
	}
	return parseStat(string(data))
}

// parseStat skips the program's name, which may hold spaces and parentheses.
func parseStat(line string) (start uint64, state string, err error) {
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 20 {
		return 0, "", fmt.Errorf("parse process state %q: too few fields", line)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, "", fmt.Errorf("parse process state %q: %w", line, err)
	}
	return start, fields[0], nil
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
