package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/axlemesh/axle/hack/cluster/proc"
)

// Memory is what processes hold, in bytes: all that is mapped and present, and of that what no file backs.
type Memory struct{ Resident, Anonymous int64 }

// Add adds other to m.
func (m *Memory) Add(other Memory) {
	m.Resident += other.Resident
	m.Anonymous += other.Anonymous
}

// PodMemory adds up the processes of a pod that run a program, whichever of its containers they are in and whether or not the API has
// heard of them. Pages that two processes share count in both. program is the base name of the file that they were started as.
func (c *Cluster) PodMemory(_ context.Context, podUID, program string) (Memory, error) {
	if !c.Owned() {
		return Memory{}, fmt.Errorf("memory of pod %s: %w", podUID, ErrNotOwned)
	}
	paths, err := c.cgroups(isSandbox(podUID, nil)) // every cgroup of the pod
	if err != nil {
		return Memory{}, err
	}
	hierarchies, err := proc.Hierarchies()
	if err != nil {
		return Memory{}, err
	}
	var sum Memory
	for _, path := range paths {
		pids, err := proc.Members(hierarchies[:1], path)
		if err != nil {
			return Memory{}, err
		}
		for _, pid := range pids {
			if !runs(pid, program) {
				continue
			}
			m, err := processMemory(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				return Memory{}, fmt.Errorf("memory of pod %s: %w", podUID, err)
			}
			sum.Add(m)
		}
	}
	return sum, nil
}

// runs says that a process was started as a program of that base name.
func runs(pid int, program string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	first, _, _ := bytes.Cut(line, []byte{0})
	return err == nil && filepath.Base(string(first)) == program
}

// processMemory reads a process's status (proc_pid_status(5)). A process that has just ended holds nothing.
func processMemory(status string) (Memory, error) {
	data, err := os.ReadFile(status)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return Memory{}, nil
	}
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		var to *int64
		switch key {
		case "VmRSS":
			to = &m.Resident
		case "RssAnon":
			to = &m.Anonymous
		default:
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("%s: %s is %q: %w", status, key, value, err)
		}
		*to = kib << 10
	}
	return m, nil
}
