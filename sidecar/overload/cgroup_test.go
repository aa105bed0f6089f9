package overload

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// write makes the files of a system, by path.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestMemoryIsFound(t *testing.T) {
	const status = "Name:\taxle\nVmRSS:\t  900 kB\nRssAnon:\t     600 kB\nRssFile:\t300 kB\n"
	const statV2 = "anon 700\nfile 99999\nshmem 10\nsock 20\nslab_reclaimable 5000\nslab_unreclaimable 30\nkernel_stack 1\npagetables 2\n"
	cases := map[string]struct {
		files map[string]string
		bound int64
		want  Reading
	}{
		"a container of version 2": {map[string]string{
			"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "1000\n", "/sys/fs/cgroup/memory.stat": statV2,
		}, 0, Reading{763, 1000}},
		"a container of version 2 that sees the host's names": {map[string]string{
			"/proc/self/cgroup": "0::/kubepods/pod1/c1\n", "/sys/fs/cgroup/memory.max": "1000\n", "/sys/fs/cgroup/memory.stat": statV2,
		}, 0, Reading{763, 1000}},
		"a service with a limit above it": {map[string]string{
			"/proc/self/cgroup": "0::/system.slice/axle.service\n", "/sys/fs/cgroup/system.slice/axle.service/memory.max": "max\n",
			"/sys/fs/cgroup/system.slice/axle.service/memory.stat": "anon 1\n",
			"/sys/fs/cgroup/system.slice/memory.max":               "2000\n", "/sys/fs/cgroup/system.slice/memory.stat": "anon 5\n",
		}, 0, Reading{5, 2000}},
		"a container of version 1": {map[string]string{
			"/proc/self/cgroup":                           "12:cpu,cpuacct:/x\n9:memory:/docker/abc\n1:name=systemd:/x\n",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes": "3000\n", "/sys/fs/cgroup/memory/memory.stat": "cache 9\nrss 1\ntotal_rss 70\ntotal_shmem 7\n",
		}, 0, Reading{77, 3000}},
		"version 1 without a limit": {map[string]string{
			"/proc/self/cgroup": "9:memory:/\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0, Reading{}},
		"a bound of our own": {map[string]string{"/proc/self/status": status}, 1 << 20, Reading{600 << 10, 1 << 20}},
		"whichever is nearer (1)": {map[string]string{
			"/proc/self/status": status, "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "1000\n", "/sys/fs/cgroup/memory.stat": statV2,
		}, 1 << 20, Reading{763, 1000}},
		"whichever is nearer (2)": {map[string]string{
			"/proc/self/status": status, "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "100000\n", "/sys/fs/cgroup/memory.stat": statV2,
		}, 1 << 20, Reading{600 << 10, 1 << 20}},
		"nothing is known": {nil, 0, Reading{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := &Reader{Root: write(t, tc.files), Bound: tc.bound}
			if diff := cmp.Diff(tc.want, r.tightest()); diff != "" {
				t.Errorf("memory (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhatThereIs is the machine's memory, or the group's.
func TestWhatThereIs(t *testing.T) {
	const machine = "MemTotal:          4000 kB\nMemFree: 12 kB\n"
	for name, tc := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"a machine":                  {map[string]string{"/proc/meminfo": machine, "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "max\n"}, 4000 << 10},
		"a container":                {map[string]string{"/proc/meminfo": machine, "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "2048\n"}, 2048},
		"one that may have too much": {map[string]string{"/proc/meminfo": machine, "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "5000000\n"}, 4000 << 10},
		"a container alone":          {map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "2048\n"}, 2048},
		"nothing is known":           {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (&Reader{Root: write(t, tc.files)}).Total(); got != tc.want {
				t.Errorf("%d bytes, want %d", got, tc.want)
			}
		})
	}
	if got := (&Reader{}).Total(); got < 1<<20 {
		t.Errorf("here there are %d bytes", got)
	}
}

func TestGarbageIsNoUse(t *testing.T) {
	if got := (heap{free: 10, objects: 100, live: 60}).idle(); got != 50 {
		t.Errorf("idle %d, want 50", got)
	}
	if got := (heap{free: 10, objects: 50, live: 60}).idle(); got != 10 {
		t.Errorf("idle %d, want 10: a collection goes on", got)
	}
	cases := map[string]struct {
		used, garbage int64
		first         float64
		want          bool
	}{
		"far from the limit":           {50, 40, 0.7, false},
		"near it, perhaps":             {80, 40, 0.7, true},
		"near it, without doubt":       {80, 1, 0.7, false},
		"nothing is done about memory": {80, 40, 0, false},
	}
	for name, tc := range cases {
		if got := wantsCollection(tc.used, 100, heap{objects: tc.garbage}, tc.first); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}

// TestThisProcess is read as it is.
func TestThisProcess(t *testing.T) {
	r := &Reader{Bound: 1 << 40, First: 0.7, Busy: func(time.Duration) float64 { return 0.25 }}
	before := r.Read(time.Second)
	if m := before[Memory]; m.Used < 1<<20 || m.Used > 1<<34 || m.Limit <= 0 {
		t.Errorf("memory %+v", m)
	}
	if before[CPU] != (Reading{0.25, 1}) {
		t.Errorf("CPU %+v", before[CPU])
	}
	var open []*os.File
	for range 100 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	after := r.Read(2 * time.Second)
	if d := after[Descriptors].Used - before[Descriptors].Used; d < 95 || d > 105 || after[Descriptors].Limit < 100 {
		t.Errorf("100 descriptors count as %v, of %v", d, after[Descriptors].Limit)
	}
	for _, f := range open {
		_ = f.Close()
	}
	old := &Reader{Root: write(t, map[string]string{"/proc/self/fd/0": "", "/proc/self/fd/1": ""})}
	if n := old.open(); n != 2 {
		t.Errorf("on an old kernel %d descriptors are counted, want 2", n)
	}
}

// FuzzFiles: whatever the kernel says some day is no reason to panic, nor for a number below 0.
func FuzzFiles(f *testing.F) {
	for _, seed := range []string{"0::/\n", "9:memory:/a/../..\n", "max", "12", "anon 5\nanon 9223372036854775807\n", "RssAnon:\t 7 kB\n", ":::", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, g := range groups(b) {
			if !strings.HasPrefix(g.dir, groupRoot) {
				t.Errorf("a group in %q", g.dir)
			}
		}
		if n := groupLimit(b); n < 0 || n > math.MaxInt64>>1 {
			t.Errorf("a limit of %d", n)
		}
		if n := sumOf(b, unreclaimable); n < 0 {
			t.Errorf("%d bytes are used", n)
		}
		if n := kilobytes(b, anonymous); n < 0 {
			t.Errorf("%d bytes are used", n)
		}
	})
}
