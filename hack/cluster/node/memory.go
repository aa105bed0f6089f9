package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// ContainerMemory adds up the processes of a running container. Pages that two processes share count in both. A container that
// does not run holds nothing. The ID may have a scheme ("containerd://...").
func (c *Cluster) ContainerMemory(_ context.Context, id string) (Memory, error) {
	if !c.Owned() {
		return Memory{}, fmt.Errorf("memory of container %s: %w", id, ErrNotOwned)
	}
	paths, err := c.cgroups(isContainer(id))
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
			m, err := processMemory(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				return Memory{}, fmt.Errorf("memory of container %s: %w", id, err)
			}
			sum.Add(m)
		}
	}
	return sum, nil
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
