package slot

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/supervisor"
)

// listen opens a listening descriptor, and says where.
func listen(t *testing.T) (fd int, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	fd, err = unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.Close(), l.Close()
	return fd, l.Addr().String()
}

func (s *spares) keys() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(s.fds)), " ")
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// other is the slot that does not serve, with its desk.
func other(t *testing.T, d Dir, settled func() bool) (*spares, *desk) {
	t.Helper()
	s := newSpares(testr.New(t))
	k, err := newDesk(d.Socket("b"), s, settled, testr.New(t))
	if err != nil {
		t.Fatal(err)
	}
	go k.run() // ends with its listener
	return s, k
}

func TestTheOtherSlotHasEveryListener(t *testing.T) {
	d := opened(t)
	sh := newSharer(d.Socket("b"), time.Now, testr.New(t))
	one, addr := listen(t)
	sh.add("listener/one", one)
	sh.add(LockKey, one)
	sh.add(supervisor.StatePrefix+"credential", one)
	_ = unix.Close(one) // as in the death of whoever serves
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { sh.run(ctx); close(done) }()
	s, k := other(t, d, func() bool { return true })
	want := func(keys string) {
		t.Helper()
		eventually(t, "the other slot has "+keys, func() bool { return s.keys() == keys })
	}
	want("listener/one")
	if conn, err := net.Dial("tcp", addr); err != nil {
		t.Errorf("refused: %v", err)
	} else {
		_ = conn.Close()
	}
	two, _ := listen(t)
	sh.add("listener/two", two)
	want("listener/one listener/two")
	sh.add("listener/two", two) // bound anew under the same key
	sh.remove("listener/one")
	want("listener/two")
	_ = unix.Close(two)

	cancel() // the connection breaks, and comes back to a slot that believes something else
	<-done
	stale, _ := listen(t)
	s.give(map[string]int{"listener/stale": stale})
	s.drop()
	stale, _ = listen(t)
	s.give(map[string]int{"listener/stale": stale})
	want("listener/stale")
	ctx, cancel = context.WithCancel(context.Background())
	done = make(chan struct{})
	go func() { sh.run(ctx); close(done) }()
	want("listener/two")
	late, _ := listen(t)
	s.give(map[string]int{"listener/stale": late}) // it has told already
	want("listener/two")

	sh.clear()
	want("")
	cancel()
	<-done
	_ = k.ln.Close()
	if sh.listeners() != 0 {
		t.Error("something is still shared")
	}
}

func TestReady(t *testing.T) {
	d := opened(t)
	settled := make(chan struct{})
	_, k := other(t, d, func() bool {
		select {
		case <-settled:
			return true
		default:
			return false
		}
	})
	defer func() { _ = k.ln.Close() }()
	answered := make(chan error)
	go func() { answered <- Ready(d, "b", time.Now) }()
	select {
	case err := <-answered:
		t.Fatalf("answered before it had settled: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(settled)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	var clock time.Time
	now := func() time.Time { clock = clock.Add(time.Second); return clock }
	if err := Ready(d, "a", now); err == nil || !errors.Is(err, unix.ENOENT) {
		t.Errorf("error %v for a slot that is not there", err)
	}
}
