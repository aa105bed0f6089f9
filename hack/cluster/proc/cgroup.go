package proc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/utils/clock"
)

// Hierarchy is one mounted cgroup hierarchy.
type Hierarchy struct {
	Path    string // where it is mounted
	Unified bool   // cgroup v2
}

// Hierarchies reads this machine's cgroup mounts.
func Hierarchies() ([]Hierarchy, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mounts: %w", err)
	}
	found := parseMounts(string(data))
	if len(found) == 0 {
		return nil, errors.New("read the mounts: no cgroup hierarchy is mounted")
	}
	return found, nil
}

// parseMounts finds the cgroup mounts in mountinfo (proc(5)), each once.
func parseMounts(mountinfo string) []Hierarchy {
	var out []Hierarchy
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 5 || len(kind) == 0 || (kind[0] != "cgroup" && kind[0] != "cgroup2") {
			continue
		}
		h := Hierarchy{Path: fields[4], Unified: kind[0] == "cgroup2"}
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// Version says which cgroup version controls resources: 1, also where a v2
// hierarchy without controllers is mounted beside it, or 2.
func Version(hs []Hierarchy) int {
	for _, h := range hs {
		if !h.Unified {
			return 1
		}
	}
	return 2
}

// MakeCgroup creates the cgroup in every hierarchy and makes it usable for
// children: cpusets are filled on v1, controllers are delegated on v2.
func MakeCgroup(hs []Hierarchy, path string) error {
	for _, h := range hs {
		dir := h.Path
		for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
			if h.Unified {
				if err := delegate(dir); err != nil {
					return err
				}
			}
			parent := dir
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return fmt.Errorf("make cgroup %s: %w", dir, err)
			}
			if err := inheritCpuset(parent, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// delegate turns on every controller for the children of a v2 cgroup.
func delegate(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read the controllers of cgroup %s: %w", dir, err)
	}
	for c := range strings.FieldsSeq(string(data)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
			return fmt.Errorf("delegate %s in cgroup %s: %w", c, dir, err)
		}
	}
	return nil
}

// inheritCpuset copies the parent's CPUs and memory nodes: a v1 cpuset starts
// empty, and then no process may join it.
func inheritCpuset(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) || len(strings.TrimSpace(string(have))) > 0 {
			continue
		}
		value, err := os.ReadFile(filepath.Join(parent, name))
		if errors.Is(err, os.ErrNotExist) || len(strings.TrimSpace(string(value))) == 0 {
			continue // v2: an empty set means the parent's
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0o644); err != nil {
			return fmt.Errorf("fill %s of cgroup %s: %w", name, dir, err)
		}
	}
	return nil
}

// Members lists the processes in a cgroup and below it, over all hierarchies.
func Members(hs []Hierarchy, path string) ([]int, error) {
	seen := map[int]bool{}
	for _, h := range hs {
		root := filepath.Join(h.Path, path)
		err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err != nil || !d.IsDir() {
				return err
			}
			data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				return nil //nolint:nilerr // the cgroup went away or is threaded: nobody to count
			}
			for field := range strings.FieldsSeq(string(data)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
					seen[pid] = true
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list the processes of cgroup %s: %w", root, err)
		}
	}
	pids := make([]int, 0, len(seen))
	for pid := range seen {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids, nil
}

// EndCgroup kills every process in a cgroup and below it and removes it. A
// cgroup that does not exist is fine.
func EndCgroup(ctx context.Context, clk clock.Clock, hs []Hierarchy, path string) error {
	if strings.Trim(path, "/") == "" {
		return fmt.Errorf("end cgroup %q: refusing the root", path)
	}
	var last error
	err := Wait(ctx, clk, 30*time.Second, func() bool {
		pids, err := Members(hs, path)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // already gone is what we want
		}
		if last = err; err != nil || len(pids) > 0 {
			return false
		}
		last = removeCgroup(hs, path)
		return last == nil
	})
	if err != nil {
		return fmt.Errorf("end cgroup %s: %w", path, errors.Join(err, last))
	}
	return nil
}

// removeCgroup removes an empty cgroup, children first.
func removeCgroup(hs []Hierarchy, path string) error {
	for _, h := range hs {
		var dirs []string
		err := filepath.WalkDir(filepath.Join(h.Path, path), func(dir string, d fs.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err == nil && d.IsDir() {
				dirs = append(dirs, dir)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("walk cgroup %s: %w", path, err)
		}
		for _, dir := range slices.Backward(dirs) {
			if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
				return fmt.Errorf("remove cgroup %s: %w", dir, err)
			}
		}
	}
	return nil
}
