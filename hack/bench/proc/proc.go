// Package proc reads what the kernel knows about running processes: CPU time, system calls, memory, how busy the machine is.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
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
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return u, fmt.Errorf("process %d: no threads in /proc: %v", pid, err)
	}
	for _, name := range tasks {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has just ended
		}
		if f := bytes.Fields(b); len(f) > 0 {
			ns, _ := strconv.ParseInt(string(f[0]), 10, 64) // the kernel wrote it
			u.CPU += time.Duration(ns)
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return u, nil // not every kernel counts them
	}
	u.Reads, u.Writes = field(b, "syscr:"), field(b, "syscw:")
	return u, nil
}

// Resident is a process's resident memory in kB, 0 when it is gone.
func Resident(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	return field(b, "VmRSS:")
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
