// Package proc reads what the kernel knows about running processes: CPU time, system calls, memory, how busy the machine is.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a process has used since its start.
type Usage struct {
	// CPU time of its living threads, from schedstat: exact to the nanosecond, where /proc/PID/stat counts in ticks.
	CPU time.Duration
	// Reads and Writes are system calls of the read and write families; sendmsg and its kin do not count.
	Reads, Writes int64
}

// Read returns the usage of a process.
func Read(pid int) (Usage, error) {
	var u Usage
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return u, fmt.Errorf("threads of process %d: %w", pid, err)
	}
	for _, t := range tasks {
		b, err := os.ReadFile(filepath.Join(dir, t.Name(), "schedstat"))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread has just ended
		}
		if err != nil {
			return u, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		if f := bytes.Fields(b); len(f) > 0 {
			ns, _ := strconv.ParseInt(string(f[0]), 10, 64) // the kernel wrote it
			u.CPU += time.Duration(ns)
		}
	}
	// Not every kernel counts them.
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid)); err == nil {
		u.Reads, u.Writes = field(b, "syscr:"), field(b, "syscw:")
	}
	return u, nil
}

// realTime is the priority that RealTime gives: above all ordinary work, below the kernel's own.
const realTime = 10

// RealTime makes every thread of a process run before all ordinary work of the machine, or like ordinary work again.
func RealTime(pid int, on bool) error {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}
	if on {
		attr.Policy, attr.Priority = unix.SCHED_RR, realTime
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return fmt.Errorf("threads of process %d: %w", pid, err)
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return fmt.Errorf("thread %q of process %d: %w", t.Name(), pid, err)
		}
		if err := unix.SchedSetAttr(tid, &attr, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("schedule thread %d: %w", tid, err)
		}
	}
	return nil
}

// Runnable is how many tasks of the machine want to run now, the caller included.
func Runnable() (int64, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("how busy is the machine: %w", err)
	}
	return field(b, "procs_running"), nil
}

// tick is the unit of /proc/stat: USER_HZ is 100 on every Linux port that Go runs on.
const tick = 10 * time.Millisecond

// Busy is how long all cores together have worked, for anyone, since the machine started.
func Busy() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("how busy is the machine: %w", err)
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	f := bytes.Fields(line)
	if len(f) < 8 || string(f[0]) != "cpu" {
		return 0, fmt.Errorf("how busy is the machine: /proc/stat starts with %q", line)
	}
	var sum int64
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq; not idle and iowait
		n, _ := strconv.ParseInt(string(f[i]), 10, 64) // the kernel wrote it
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// field returns the number behind name at the start of a line, or 0.
func field(b []byte, name string) int64 {
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) > 1 && string(f[0]) == name {
			n, _ := strconv.ParseInt(string(f[1]), 10, 64) // the kernel wrote it
			return n
		}
	}
	return 0
}
