package accesslog

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 345678901, time.UTC)

// full is an entry with everything.
func full() *Entry {
	e := &Entry{}
	e.reset()
	e.Began, e.Took, e.Sent, e.Heard = time.Second, 1500*time.Microsecond, time.Second+time.Millisecond, time.Second+1400*time.Microsecond
	e.Direction, e.Protocol, e.Listener, e.Host, e.Route, e.Cluster = "outbound", "http1", "out", "shop.demo", "all", "shop"
	e.Endpoint, e.Client = netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("[2001:db8::1]:4000")
	e.Status, e.GRPC, e.Flag, e.Tries, e.In, e.Out = 200, 0, "-", 2, 3, 4
	for t := range texts {
		e.Add(t, []byte{'t', 'a' + byte(t)})
	}
	return e
}

func TestLine(t *testing.T) {
	const want = `{"time":"2026-01-02T12:00:00.345678Z","direction":"outbound","protocol":"http1","listener":"out","host":"shop.demo","route":"all","cluster":"shop",` +
		`"endpoint":"10.0.0.1:80","client":"[2001:db8::1]:4000","peer":"tg","method":"ta","authority":"td","path":"tb","service":"tc","status":200,"grpc_status":0,"flags":"-",` +
		`"bytes_in":3,"bytes_out":4,"duration_us":1500,"upstream_us":400,"tries":2,"trace_id":"te","request_id":"tf"}` + "\n"
	if diff := cmp.Diff(want, string(full().appendLine(nil, noon))); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	bare := &Entry{}
	bare.reset()
	bare.Direction, bare.Protocol, bare.Host, bare.Route, bare.Flag = "inbound", "tcp", "inbound/80", "-", "client_gone"
	const short = `{"time":"2026-01-02T12:00:00.345678Z","direction":"inbound","protocol":"tcp","host":"inbound/80","route":"-","flags":"client_gone",` +
		`"bytes_in":0,"bytes_out":0,"duration_us":0,"tries":0}` + "\n"
	if diff := cmp.Diff(short, string(bare.appendLine(nil, noon))); diff != "" {
		t.Errorf("line of hardly anything (-want +got):\n%s", diff)
	}
}

func TestLongTextsAreCutOff(t *testing.T) {
	e := full()
	e.reset()
	e.Add(Method, bytes.Repeat([]byte("m"), 10_000))
	e.Add(Path, bytes.Repeat([]byte("p"), 10_000))
	if m, p := len(e.Text(Method)), len(e.Text(Path)); m != maxText || p != maxPath || len(e.Text(Peer)) != 0 {
		t.Errorf("%d and %d bytes are kept", m, p)
	}
}

// FuzzLine: whatever a client sends, a line is one line of JSON, and what is UTF-8 comes back.
func FuzzLine(f *testing.F) {
	for _, s := range []string{"/a?b=c", "\"\\\n\x00\x7f", "ü€😀", "\xff\xc3", "\u2028"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		e := full()
		e.reset()
		e.Add(Path, path)
		line := e.appendLine(nil, noon)
		var got struct{ Path string }
		if err := json.Unmarshal(line, &got); err != nil || bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("%q: %v", line, err)
		}
		if want := strings.ToValidUTF8(string(path[:min(len(path), maxPath)]), "\ufffd"); strings.ReplaceAll(got.Path, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") {
			t.Errorf("path %q, want %q", got.Path, want)
		}
	})
}

func FuzzMoved(f *testing.F) {
	f.Add(full().Move(nil, time.Minute))
	f.Add((&Entry{}).Move(nil, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := &Entry{}
		e.reset()
		if e.Moved(b, time.Hour) != nil {
			return
		}
		again := &Entry{}
		again.reset()
		if err := again.Moved(e.Move(nil, time.Hour), time.Hour); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(e.appendLine(nil, noon)), string(again.appendLine(nil, noon))); diff != "" {
			t.Errorf("the line has changed:\n%s", diff)
		}
	})
}

// TestWhatMovesIsTheSame to the line, but for the time on the way.
func TestWhatMovesIsTheSame(t *testing.T) {
	was, is := full(), &Entry{}
	is.reset()
	if err := is.Moved(was.Move(nil, time.Minute), time.Hour); err != nil {
		t.Fatal(err)
	}
	if is.Heard-is.Sent != was.Heard-was.Sent || time.Hour-is.Sent != time.Minute-was.Sent {
		t.Errorf("sent %s, heard %s", is.Sent, is.Heard)
	}
	is.Took, is.Direction, is.Protocol, is.Host, is.Route, is.Status, is.GRPC, is.Flag = was.Took, was.Direction, was.Protocol, was.Host, was.Route, was.Status, was.GRPC, was.Flag
	if diff := cmp.Diff(string(was.appendLine(nil, noon)), string(is.appendLine(nil, noon))); diff != "" {
		t.Errorf("line (-before +after):\n%s", diff)
	}
}

// running starts a writer with one ring, whose clocks stand still but for tick.
func running(t *testing.T, o Options) (w *Writer, r *Ring, tick func(time.Duration)) {
	t.Helper()
	var mu sync.Mutex
	now := noon
	o.Clock, o.Log = func() time.Duration { return time.Second }, logr.Discard()
	o.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	w = New(o)
	r = w.Ring()
	go w.Run()
	return w, r, func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
}

func put(r *Ring, host string) bool {
	e := r.Take(r.w.Default())
	e.Host, e.Began = host, time.Second
	logged, _ := r.Put(e, false)
	return logged
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

// TestAFileThatIsRotated is opened anew, and one that cannot be opened loses lines and nothing else.
func TestAFileThatIsRotated(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "logs", "access.json")
	w, r, tick := running(t, Options{Path: path})
	holds := func(path, host string) func() bool {
		return func() bool {
			b, _ := os.ReadFile(path)
			return bytes.Contains(b, []byte(host))
		}
	}
	put(r, "no folder")
	until(t, "the line is lost", func() bool { return w.Lost() == 1 })
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	put(r, "first")
	until(t, "the first line is there", holds(path, `"host":"first"`))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	tick(reopen)
	put(r, "second")
	until(t, "the second line is in a new file", holds(path, `"host":"second"`))
	if holds(path+".1", "second")() || holds(path, "first")() {
		t.Error("a line is in the wrong file")
	}
	put(r, "last")
	w.Close(context.Background())
	if !holds(path, `"host":"last"`)() || w.Lost() != 1 {
		t.Errorf("what was left is not written; %d are lost", w.Lost())
	}
}

// stuckFile takes nothing before it is let go.
type stuckFile struct {
	free  chan struct{}
	lines int
}

func (s *stuckFile) Write(b []byte) (int, error) {
	<-s.free
	s.lines += bytes.Count(b, []byte("\n"))
	return len(b), nil
}

// TestASlowDiskStallsNobody: what finds no room is dropped, and the rest is written.
func TestASlowDiskStallsNobody(t *testing.T) {
	out := &stuckFile{free: make(chan struct{})}
	w, r, _ := running(t, Options{Path: Stdout, Stdout: out})
	logged, dropped := 0, 0
	for range 4 * ringSize {
		if put(r, "h") {
			logged++
		} else {
			dropped++
		}
	}
	if dropped < ringSize || logged < ringSize {
		t.Errorf("%d lines are logged, %d dropped", logged, dropped)
	}
	ended, stop := context.WithCancel(context.Background())
	stop()
	w.Close(ended) // does not wait for the disk
	close(out.free)
	<-w.done
	if out.lines != logged {
		t.Errorf("%d lines are written, want %d", out.lines, logged)
	}
}

func TestFilters(t *testing.T) {
	cases := map[string]struct {
		filter       Filter
		failed, slow bool
		want         bool
	}{
		"everything":                     {Filter{}, false, false, true},
		"only errors, no error":          {Filter{OnlyErrors: true}, false, true, false},
		"only errors, an error":          {Filter{OnlyErrors: true}, true, false, true},
		"only slow ones, a fast":         {Filter{SlowerThan: time.Second}, true, false, false},
		"only slow ones, a slow":         {Filter{SlowerThan: time.Second}, false, true, true},
		"errors or slow ones, a slow":    {Filter{OnlyErrors: true, SlowerThan: time.Second}, false, true, true},
		"errors or slow ones, neither":   {Filter{OnlyErrors: true, SlowerThan: time.Second}, false, false, false},
		"errors or slow ones, an error":  {Filter{OnlyErrors: true, SlowerThan: time.Second}, true, false, true},
		"all, which says nothing of one": {Filter{Sample: 0}, false, false, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := New(Options{OnDemand: true}).Ring()
			e := r.Take(&tc.filter)
			if tc.slow {
				e.Took = 2 * time.Second
			}
			if logged, dropped := r.Put(e, tc.failed); logged != tc.want || dropped {
				t.Errorf("logged %t, dropped %t", logged, dropped)
			}
		})
	}
	r, taken := New(Options{Filter: Filter{Sample: Share(0.25)}}).Ring(), 0
	for range 100_000 {
		if e := r.Take(r.w.Default()); e != nil {
			taken++
			r.Put(e, false)
			r.free.push(r.full.pop())
		}
	}
	if taken < 24_000 || taken > 26_000 {
		t.Errorf("%d of 100000 are taken, want a quarter", taken)
	}
}

// TestAnEntryAllocatesNothing once there are some, neither in the loop nor in the writer.
func TestAnEntryAllocatesNothing(t *testing.T) {
	w := New(Options{Path: Stdout, Stdout: new(bytes.Buffer), Now: func() time.Time { return noon }, Clock: func() time.Duration { return 0 }})
	r := w.Ring()
	path := []byte("/a/path?with=a&query")
	line := func() {
		e := r.Take(w.Default())
		e.Add(Path, path)
		r.Put(e, false)
		e = r.full.pop()
		w.buf = e.appendLine(w.buf[:0], noon)
		r.free.push(e)
	}
	line()
	if n := testing.AllocsPerRun(1000, line); n > 0 {
		t.Errorf("%v allocations a line", n)
	}
}

// TestARequestOlderThanTheProcess: the clock of the next process began when that did.
func TestARequestOlderThanTheProcess(t *testing.T) {
	for name, tc := range map[string]struct {
		heard time.Duration
		want  string
	}{
		"answered":     {8 * time.Second, `"upstream_us":3000000,`},
		"not answered": {0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := full()
			e.Sent, e.Heard = 5*time.Second, tc.heard
			var twice Entry
			twice.reset()
			moved := &Entry{}
			moved.reset()
			if err := moved.Moved(e.Move(nil, 10*time.Second), time.Second); err != nil {
				t.Fatal(err)
			}
			if err := twice.Moved(moved.Move(nil, time.Second), time.Millisecond); err != nil {
				t.Fatal(err)
			}
			for _, e := range []*Entry{moved, &twice} {
				line := string(e.appendLine(nil, noon))
				if !strings.Contains(line, tc.want) || tc.want == "" && strings.Contains(line, "upstream_us") {
					t.Errorf("want %s in %s", tc.want, line)
				}
			}
		})
	}
}

// TestALoopMayBeginToLogLater than the writer has begun to write: its lines are written as those of the others.
func TestALoopMayBeginToLogLater(t *testing.T) {
	var out bytes.Buffer
	w, first, _ := running(t, Options{Path: Stdout, Stdout: &out, OnDemand: true})
	if w.Default() != nil || first.Take(w.Default()) != nil {
		t.Error("a request is logged that nobody has asked for")
	}
	all := &Filter{}
	var loops sync.WaitGroup
	for range 3 {
		loops.Go(func() {
			r := w.Ring()
			for range 100 {
				r.Put(r.Take(all), false)
			}
		})
	}
	loops.Wait()
	w.Close(t.Context())
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 300 {
		t.Errorf("%d lines, want 300", n)
	}
}
