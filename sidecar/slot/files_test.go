package slot

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func opened(t *testing.T) Dir {
	t.Helper()
	d := Dir(t.TempDir())
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDirIsPrivate(t *testing.T) {
	d := opened(t)
	if err := d.open(); err != nil {
		t.Errorf("the second slot: %v", err)
	}
	if err := os.Chmod(d.run(), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := d.open(); err == nil || !strings.Contains(err.Error(), "mode 0700") {
		t.Errorf("error %v for a directory that others can read", err)
	}
	if err := Dir(filepath.Join(t.TempDir(), "none")).open(); err == nil {
		t.Error("opened nothing")
	}
}

func TestParseIdentity(t *testing.T) {
	const both = `{"serving":2,"a":{"generation":2,"version":"v1"},"b":{"generation":3,"version":"v2"},"later":true}`
	cases := map[string]struct {
		slot, content string
		want          Identity
		err           string
	}{
		"a":             {slot: "a", content: both, want: Identity{Generation: 2, Version: "v1", Serving: 2}},
		"b":             {slot: "b", content: both, want: Identity{Generation: 3, Version: "v2", Serving: 2}},
		"empty":         {slot: "a", err: "unexpected end"},
		"half of it":    {slot: "a", content: both[:20], err: "unexpected end"},
		"no generation": {slot: "b", content: `{"serving":2,"a":{"generation":2,"version":"v1"}}`, err: "make no sense"},
		"negative":      {slot: "a", content: strings.Replace(both, `"serving":2`, `"serving":-2`, 1), err: "make no sense"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "slots")
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := readIdentity(path, tc.slot)
			if tc.err == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := readIdentity(filepath.Join(t.TempDir(), "none"), "a"); err == nil {
		t.Error("read a file that is not there")
	}
}

func TestLock(t *testing.T) {
	d := opened(t)
	held := func(want bool) {
		t.Helper()
		if got, err := heldElsewhere(d.Lock()); err != nil || got != want {
			t.Errorf("held %t, %v; want %t", got, err, want)
		}
	}
	held(false)
	first, waited, err := obtain(d.Lock())
	if err != nil || waited {
		t.Fatalf("waited %t, %v", waited, err)
	}
	held(true)
	moved, err := unix.Dup(first) // as it moves in a handover
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		fd     int
		waited bool
	}
	next := make(chan result)
	go func() {
		fd, waited, err := obtain(d.Lock())
		if err != nil {
			t.Error(err)
		}
		next <- result{fd, waited}
	}()
	_ = unix.Close(first)
	held(true)
	select {
	case <-next:
		t.Fatal("the lock was free while a duplicate of its descriptor was open")
	case <-time.After(50 * time.Millisecond):
	}
	_ = unix.Close(moved)
	got := <-next
	if !got.waited {
		t.Error("the second one did not have to wait")
	}
	held(true)
	_ = unix.Close(got.fd)
	held(false)
}

func TestTerms(t *testing.T) {
	d, now := opened(t), time.Unix(1_800_000_000, 0)
	if got := d.Term(); got != 0 {
		t.Errorf("term %d before the first", got)
	}
	fd, _, err := obtain(d.Lock())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	begin := func(want int64) {
		t.Helper()
		if got, err := nextTerm(fd, now); err != nil || got != want || d.Term() != want {
			t.Errorf("term %d, %v, read %d; want %d", got, err, d.Term(), want)
		}
		if _, left, _ := readTerm(fd); left {
			t.Error("a term begins as one that was left")
		}
	}
	begin(1)
	if err := MarkLeft(fd); err != nil {
		t.Fatal(err)
	}
	if term, left, ok := readTerm(fd); term != 1 || !left || !ok {
		t.Errorf("term %d, left %t, %t", term, left, ok)
	}
	begin(2)
	if err := os.WriteFile(d.Lock(), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	begin(now.Unix() + 1) // never back
	begin(now.Unix() + 2)
}

func TestState(t *testing.T) {
	d := opened(t)
	if b, err := d.State("xds"); b != nil || err != nil {
		t.Errorf("state %q, %v before anything was kept", b, err)
	}
	k := NewKeeper(d, testr.New(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { k.Run(ctx); close(done) }()
	k.Keep("xds", []byte("one"))
	k.Keep("trust", []byte("pem"))
	time.Sleep(20 * time.Millisecond)
	if b, _ := d.State("xds"); b != nil {
		t.Errorf("a process that does not serve wrote %q", b)
	}
	k.Open()
	k.Keep("xds", []byte("two"))
	cancel() // what is not written yet is written now
	<-done
	for key, want := range map[string]string{"xds": "two", "trust": "pem"} {
		if b, err := d.State(key); string(b) != want || err != nil {
			t.Errorf("state %s %q, %v; want %q", key, b, err, want)
		}
	}
	entries, err := os.ReadDir(d.run("state"))
	if err != nil || len(entries) != 2 {
		t.Errorf("%d files, %v", len(entries), err)
	}
	b, err := os.ReadFile(d.state("xds"))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(d.state("xds"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := d.State("xds"); b != nil || err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a damaged state is %q, %v", b, err)
	}
}

func TestFailures(t *testing.T) {
	d := opened(t)
	if g, err := d.lastFailure("b"); g != 0 || err != nil {
		t.Errorf("generation %d, %v", g, err)
	}
	if err := d.recordFailure("b", failure{Generation: 3, Reason: "no room"}); err != nil {
		t.Fatal(err)
	}
	if g, err := d.lastFailure("b"); g != 3 || err != nil {
		t.Errorf("generation %d, %v; want 3", g, err)
	}
	if g, err := d.lastFailure("a"); g != 0 || err != nil {
		t.Errorf("the other slot: generation %d, %v", g, err)
	}
	if err := os.WriteFile(d.failed("b"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.lastFailure("b"); err == nil {
		t.Error("half a file is no error")
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add("b", []byte(`{"serving":2,"a":{"generation":2,"version":"v1"},"b":{"generation":3,"version":"v2"}}`))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		id, err := parseIdentity(name, b)
		if err == nil && (id.Generation < 1 || id.Serving < 0 || id.Version == "") {
			t.Errorf("%+v was believed", id)
		}
	})
}

func FuzzTerm(f *testing.F) {
	for _, s := range []string{"", "1\n", "2 left\n", "-1", " left"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if term, _, ok := parseTerm(b); ok && term < 0 {
			t.Errorf("term %d", term)
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add(sealState(nil))
	f.Add(sealState([]byte("x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		data, err := openState(b)
		if err == nil && !bytes.Equal(sealState(data), b) {
			t.Errorf("%q is not what was sealed", b)
		}
	})
}
