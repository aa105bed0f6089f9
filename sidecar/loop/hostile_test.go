package loop_test

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/loop"
)

// TestAcceptRestsAfterAnErrorThatStays: with too many open files the listening descriptor stays ready. A descriptor on
// which accept fails and which is always readable behaves the same.
func TestAcceptRestsAfterAnErrorThatStays(t *testing.T) {
	l := start(t)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) }()
	if _, err := unix.Write(fds[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	failed := make(chan struct{}, 1<<20)
	var accepting *loop.Accepting
	l.Call(func() {
		accepting, err = l.Accept(fds[0], func(int) {}, func(error) { failed <- struct{}{} })
	})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 3 { // it goes on asking
		<-failed
	}
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("asked three times within %v", took)
	}
	l.Call(accepting.Stop)
	for len(failed) > 0 {
		<-failed
	}
	time.Sleep(250 * time.Millisecond)
	if n := len(failed); n > 0 {
		t.Errorf("asked %d times after Stop", n)
	}
}

func TestALargeBufferIsNotCopiedForEverySmallPiece(t *testing.T) {
	var p loop.Pool
	var b []byte
	grown := 0
	for range 8 << 10 {
		before := cap(b)
		if b = p.Append(b, make([]byte, 1<<10)); cap(b) != before {
			grown++
		}
	}
	if grown > 20 {
		t.Errorf("8 MiB in pieces of 1 KiB moved to another buffer %d times", grown)
	}
}

// allButOne takes everything but a byte once a message is complete.
type allButOne struct {
	echo
	size int
}

func (a *allButOne) Data(_ *loop.Conn, b []byte) int {
	if len(b) < a.size {
		return 0
	}
	return a.size - 1
}

func TestASmallRestKeepsNoLargeBuffer(t *testing.T) {
	l := start(t)
	const size = 4 << 20
	addr := listen(t, l, func() loop.Handler { return &allButOne{echo{closed: make(chan error, 1)}, size} })
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		left, room := -1, 0
		l.Call(func() {
			l.Each(func(c *loop.Conn) {
				img := c.Freeze()
				left, room = len(img.In), cap(img.In)
				if err := c.Thaw(); err != nil {
					t.Error(err)
				}
			})
		})
		if left == 1 {
			if room > 64<<10 {
				t.Errorf("one byte keeps a buffer of %d bytes, which no budget counts", room)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are left, want 1", left)
		}
	}
}

// TestCloseOfAFrozenConnectionIsNotHeard: another process may own it by now.
func TestCloseOfAFrozenConnectionIsNotHeard(t *testing.T) {
	l := start(t)
	e := &echo{closed: make(chan error, 1)}
	addr := listen(t, l, func() loop.Handler { return e })
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	owner := -1
	l.Call(func() {
		l.Each(func(c *loop.Conn) {
			_ = c.Freeze()
			owner, err = unix.Dup(c.FD())
			c.Close(nil)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(owner) }()
	if why := <-e.closed; why != nil {
		t.Errorf("closed: %v", why)
	}
	if _, err := unix.Write(owner, []byte("y")); err != nil {
		t.Errorf("the new owner cannot write: %v", err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("the peer reads %d bytes, %v; want what the new owner wrote", n, err)
	}
}

// TestAnEndedLoopTakesNothing calls a loop while it ends: what it says about a call is true.
func TestAnEndedLoopTakesNothing(t *testing.T) {
	for range 200 {
		l, err := loop.New(clock(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- l.Run() }()
		stopper := make(chan struct{})
		go func() { l.Stop(); close(stopper) }()
		for {
			var ran atomic.Bool
			if ok := l.Call(func() { ran.Store(true) }); !ok {
				break
			} else if !ran.Load() {
				t.Fatal("Call = true, and nothing was called")
			}
		}
		<-stopper
		if err := <-ended; err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if l.Post(func() {}) {
			t.Fatal("an ended loop took something")
		}
	}
}
