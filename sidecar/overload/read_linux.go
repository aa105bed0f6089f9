package overload

import (
	"errors"
	"io"
	"os"
	"path"
	"runtime"
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"
)

// collectEvery is how often, at most, garbage is collected to see what is none.
const collectEvery = time.Second

// Reader reads what this process uses of what it may. It is for one goroutine.
type Reader struct {
	// Bound of the process's own memory in bytes; 0 sets none. The container's is found by itself.
	Bound int64
	// First is the part of memory at which something is done, which a reading has to be exact for.
	First float64
	// Busy returns the part of its time that the busiest event loop has worked since the last call.
	Busy func(now time.Duration) float64
	// Root of the file system; empty means the real one.
	Root string

	group     *group
	looked    bool
	collected time.Duration
	samples   []metrics.Sample
}

// Read reads everything, at now. What cannot be read has no limit.
func (r *Reader) Read(now time.Duration) (all [resources]Reading) {
	all[Memory] = r.memory(now)
	all[Descriptors] = r.descriptors()
	if r.Busy != nil {
		all[CPU] = Reading{Used: r.Busy(now), Limit: 1}
	}
	return all
}

// memory is whichever is nearer to its bound: the process, or the container that it is in.
func (r *Reader) memory(now time.Duration) Reading {
	h := r.heap()
	read := r.tightest()
	if wantsCollection(int64(read.Used), int64(read.Limit), h, r.First) && (r.collected == 0 || now-r.collected >= collectEvery) {
		r.collected = max(now, 1)
		runtime.GC()
		h, read = r.heap(), r.tightest()
	}
	read.Used = max(read.Used-float64(h.idle()), 0)
	return read
}

func (r *Reader) tightest() (worst Reading) {
	take := func(used, limit int64) {
		one := Reading{Used: float64(used), Limit: float64(limit)}
		if limit > 0 && (worst.Limit == 0 || one.Used*worst.Limit > worst.Used*one.Limit) {
			worst = one
		}
	}
	take(kilobytes(r.file("/proc/self/status"), anonymous), r.Bound)
	if !r.looked {
		r.looked = true
		r.group = r.find()
	}
	if g := r.group; g != nil {
		take(sumOf(r.file(path.Join(g.dir, "memory.stat")), g.used), groupLimit(r.file(path.Join(g.dir, g.limit))))
	}
	return worst
}

// Total is how many bytes of memory there are for this process: the machine's, or what its group may have when that is less; 0 when
// nobody says.
func (r *Reader) Total() int64 {
	total := kilobytes(r.file("/proc/meminfo"), everything)
	if g := r.find(); g != nil {
		if limit := groupLimit(r.file(path.Join(g.dir, g.limit))); total == 0 || limit < total {
			total = limit
		}
	}
	return total
}

// find returns the narrowest group with a bound; nil when there is none.
func (r *Reader) find() *group {
	for _, g := range groups(r.file("/proc/self/cgroup")) {
		if groupLimit(r.file(path.Join(g.dir, g.limit))) > 0 {
			return &g
		}
	}
	return nil
}

// file returns a file's content, nothing when it cannot be read.
func (r *Reader) file(name string) []byte {
	b, err := os.ReadFile(path.Join("/", r.Root, name))
	if err != nil {
		return nil
	}
	return b
}

func (r *Reader) heap() heap {
	if r.samples == nil {
		r.samples = []metrics.Sample{
			{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"},
		}
	}
	metrics.Read(r.samples)
	value := func(i int) int64 {
		if v := r.samples[i].Value; v.Kind() == metrics.KindUint64 {
			return int64(v.Uint64())
		}
		return 0
	}
	return heap{free: value(0), objects: value(1), live: value(2)}
}

func (r *Reader) descriptors() Reading {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return Reading{}
	}
	n := r.open()
	if n == 0 {
		return Reading{}
	}
	return Reading{Used: float64(n), Limit: float64(limit.Cur)}
}

// open counts descriptors. Since Linux 6.2 the directory's size is their number; before that it has to be read.
func (r *Reader) open() int64 {
	const fds = "/proc/self/fd"
	if s, err := os.Stat(path.Join("/", r.Root, fds)); err == nil && s.Size() > 0 && r.Root == "" {
		return s.Size()
	}
	d, err := os.Open(path.Join("/", r.Root, fds))
	if err != nil {
		if errors.Is(err, unix.EMFILE) {
			return int64(^uint32(0)) // as many as there can be
		}
		return 0
	}
	defer func() { _ = d.Close() }()
	n := int64(0)
	for {
		names, err := d.Readdirnames(1 << 10)
		n += int64(len(names))
		if err != nil {
			if errors.Is(err, io.EOF) {
				return n
			}
			return 0
		}
	}
}
