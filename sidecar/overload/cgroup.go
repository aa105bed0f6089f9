package overload

import (
	"bytes"
	"math"
	"path"
	"strconv"
)

// Formats of the kernel: cgroups(7) for /proc/self/cgroup, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst for
// a group's files, proc_pid_status(5) for the process's own, proc_meminfo(5) for the machine's.

// group is a control group that bounds memory, of either version.
type group struct {
	dir   string
	limit string   // the file with the bound
	used  []string // the names in memory.stat of what cannot be reclaimed
}

// Memory that reclaiming does not get back: of processes, of what they share, of sockets, and of the kernel for them.
var (
	unreclaimable   = []string{"anon", "shmem", "sock", "slab_unreclaimable", "kernel_stack", "pagetables"}
	unreclaimableV1 = []string{"total_rss", "total_shmem"}
)

const groupRoot = "/sys/fs/cgroup"

// groups lists where this process's memory may be bounded, the narrowest first. In a container the names are the host's while
// the files are the container's own: then the root is the group.
func groups(self []byte) (all []group) {
	for line := range bytes.Lines(self) {
		parts := bytes.SplitN(bytes.TrimSpace(line), []byte{':'}, 3)
		if len(parts) != 3 {
			continue
		}
		g := group{dir: groupRoot, limit: "memory.max", used: unreclaimable}
		if len(parts[1]) > 0 {
			if string(parts[1]) != "memory" {
				continue
			}
			g = group{dir: groupRoot + "/memory", limit: "memory.limit_in_bytes", used: unreclaimableV1}
		}
		root := g.dir
		for at := path.Join("/", string(parts[2])); ; at = path.Dir(at) {
			g.dir = path.Join(root, at)
			all = append(all, g)
			if at == "/" {
				break
			}
		}
	}
	return all
}

// unlimitedV1 is what version 1 says where there is no limit, about.
const unlimitedV1 = math.MaxInt64 >> 1

// groupLimit reads a bound in bytes; 0 for none.
func groupLimit(b []byte) int64 {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil || n < 0 || n >= unlimitedV1 {
		return 0 // "max"
	}
	return n
}

// sumOf adds up the named lines of a memory.stat, in bytes.
func sumOf(stat []byte, names []string) (sum int64) {
	for line := range bytes.Lines(stat) {
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
		for _, want := range names {
			if string(name) == want {
				n, err := strconv.ParseInt(string(value), 10, 64)
				if err == nil && n > 0 && n < math.MaxInt64-sum {
					sum += n
				}
			}
		}
	}
	return sum
}

// Lines of a process's status and of the machine's meminfo: its memory that is in no file, and what the kernel has to give.
const (
	anonymous  = "RssAnon:"
	everything = "MemTotal:"
)

// kilobytes reads the line that begins with name, as bytes.
func kilobytes(b []byte, name string) int64 {
	for line := range bytes.Lines(b) {
		rest, found := bytes.CutPrefix(line, []byte(name))
		if !found {
			continue
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte("kB")))), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64>>10 {
			return 0
		}
		return n << 10
	}
	return 0
}

// heap is what the Go runtime says of its own, in bytes.
type heap struct {
	free    int64 // neither used nor returned
	objects int64 // in use, or not collected yet
	live    int64 // of those, what the last collection has left
}

// idle is what of the process's memory it could do without: what is free, and what was made since the last collection, much of
// which is garbage by now. See wantsCollection for the rest.
func (h heap) idle() int64 { return h.free + max(h.objects-h.live, 0) }

// wantsCollection says that a reading is not worth much before garbage is collected: with it the limit seems near, and
// a good part may be none.
func wantsCollection(used, limit int64, h heap, first float64) bool {
	if limit <= 0 || first <= 0 {
		return false
	}
	return float64(used) >= first*float64(limit) && float64(max(h.objects-h.live, 0)) > uncertain*float64(limit)
}

// uncertain is the part of a limit that may be garbage or not.
const uncertain = 0.03
