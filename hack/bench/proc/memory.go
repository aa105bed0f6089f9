package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Memory of a process in kB.
type Memory struct {
	// Anon is memory of its own: heap and stacks. Resident is that and the pages of files and shared memory.
	Anon, Resident int64
}

// MemoryOf returns the memory of a process and all its descendants; nothing when it is gone.
func MemoryOf(pid int) Memory {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}
	}
	m := Memory{Anon: field(b, "RssAnon:"), Resident: field(b, "VmRSS:")}
	for _, child := range Children(pid) {
		of := MemoryOf(child)
		m.Anon += of.Anon
		m.Resident += of.Resident
	}
	return m
}

// Children of a process.
func Children(pid int) []int {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	var all []int
	for _, t := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		if err != nil {
			continue // the thread has just ended
		}
		for f := range bytes.FieldsSeq(b) {
			if child, err := strconv.Atoi(string(f)); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// Limits are what bounds the number of connections here.
type Limits struct {
	// Descriptors that one process may have, and all of the machine together.
	Descriptors, Files int64
	// Ports that connections from one local address to one destination can have.
	Ports int64
}

// ReadLimits asks the kernel.
func ReadLimits() (Limits, error) {
	var l Limits
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return l, fmt.Errorf("limit of descriptors: %w", err)
	}
	l.Descriptors = int64(min(r.Max, 1<<62))
	files, err := numbers("/proc/sys/fs/file-max")
	if err != nil {
		return l, err
	}
	ports, err := numbers("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return l, err
	}
	if len(files) != 1 || len(ports) != 2 {
		return l, fmt.Errorf("the kernel says %v files and %v ports", files, ports)
	}
	l.Files, l.Ports = files[0], ports[1]-ports[0]+1
	return l, nil
}

// numbers of a file of the kernel's.
func numbers(path string) ([]int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("limits of this machine: %w", err)
	}
	var all []int64
	for f := range strings.FieldsSeq(string(b)) {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("limits of this machine: %s says %q", path, b)
		}
		all = append(all, n)
	}
	return all, nil
}
