package loop_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/loop"
)

// farewell writes much to whoever says something, and is done with it.
type farewell struct{ echo }

func (*farewell) Data(c *loop.Conn, b []byte) int {
	c.Write(make([]byte, 32<<20))
	c.CloseAfterWrite()
	return len(b)
}

// flood writes as much and goes on; its peer has to read when it is pressed.
type flood struct {
	echo
	pressed bool
}

func (f *flood) Data(c *loop.Conn, b []byte) int {
	c.Press(f.pressed)
	c.Write(make([]byte, 32<<20))
	return len(b)
}

// skipping starts a loop whose clock can be put forward.
func skipping(t *testing.T) (*loop.Loop, func(time.Duration)) {
	t.Helper()
	var ahead atomic.Int64
	now := clock()
	l := startWith(t, func() time.Duration { return now() + time.Duration(ahead.Load()) })
	return l, func(d time.Duration) {
		ahead.Add(int64(d))
		for range 2 { // it looks at the clock, and has seen to what was due
			l.Call(func() {})
		}
	}
}

// saying is a client of l that has said something, and does not read what it is told.
func saying(t *testing.T, l *loop.Loop, by net.Dialer) (*farewell, net.Conn) {
	t.Helper()
	e := &farewell{echo{closed: make(chan error, 1)}}
	return e, sayingTo(t, l, by, e)
}

func sayingTo(t *testing.T, l *loop.Loop, by net.Dialer, h loop.Handler) net.Conn {
	t.Helper()
	addr := listen(t, l, func() loop.Handler { return h })
	conn, err := by.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for unsent(l) <= 0 {
		time.Sleep(time.Millisecond)
	}
	return conn
}

// unsent is how much waits for the peer of the only connection; -1 when there is none.
func unsent(l *loop.Loop) (n int) {
	n = -1
	l.Call(func() { l.Each(func(c *loop.Conn) { n = c.Unsent() }) })
	return n
}

func standsStill(l *loop.Loop) {
	for last := -2; last != unsent(l); time.Sleep(50 * time.Millisecond) {
		last = unsent(l)
	}
}

// TestLastBytesHaveADeadline, which what the kernel takes puts off, and which begins anew elsewhere.
func TestLastBytesHaveADeadline(t *testing.T) {
	l, skip := skipping(t)
	e, conn := saying(t, l, net.Dialer{})
	for range 3 {
		standsStill(l)
		skip(59 * time.Second)
		before := unsent(l)
		if before <= 0 {
			t.Fatal("it is closed although it may only be slow")
		}
		for piece := make([]byte, 64<<10); unsent(l) >= before; {
			if _, err := io.ReadFull(conn, piece); err != nil {
				t.Fatal(err)
			}
		}
	}
	standsStill(l)
	to, skipTo := skipping(t)
	skip(59 * time.Second)
	move(t, l, to, e)
	skip(time.Hour)
	skipTo(59 * time.Second)
	if unsent(to) <= 0 {
		t.Fatal("it is closed although it has only just come")
	}
	skipTo(2 * time.Second)
	if why := <-e.closed; !errors.Is(why, loop.ErrSlow) {
		t.Errorf("closed: %v, want %v", why, loop.ErrSlow)
	}
	slow := uint64(0)
	if to.Call(func() { slow = to.Slow() }); slow != 1 {
		t.Errorf("slow = %d, want 1", slow)
	}
}

// TestLastBytesWaitForWhoReadsSlowly: one that reads all the time stays, although the kernel asks for more only when it has got rid of
// a good part of what it holds, which takes minutes.
func TestLastBytesWaitForWhoReadsSlowly(t *testing.T) {
	l, skip := skipping(t)
	small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<10) })
	}}
	e, conn := saying(t, l, small)
	standsStill(l)
	for range 20 {
		if _, err := io.ReadFull(conn, make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // until the kernel knows
		skip(20 * time.Second)
	}
	standsStill(l)
	if unsent(l) <= 0 {
		t.Fatal("it is closed although it reads")
	}
	for range 6 {
		skip(15 * time.Second)
	}
	if why := <-e.closed; !errors.Is(why, loop.ErrSlow) {
		t.Errorf("closed: %v, want %v", why, loop.ErrSlow)
	}
}

// TestWhoIsPressedHasToRead: there is a deadline, but none when nothing waits, or nobody is pressed.
func TestWhoIsPressedHasToRead(t *testing.T) {
	for name, pressed := range map[string]bool{"pressed": true, "not": false} {
		t.Run(name, func(t *testing.T) {
			l, skip := skipping(t)
			h := &flood{echo{closed: make(chan error, 1)}, pressed}
			conn := sayingTo(t, l, net.Dialer{}, h)
			for range 2 {
				standsStill(l)
				before := unsent(l)
				skip(45 * time.Second)
				for piece := make([]byte, 64<<10); unsent(l) >= before; {
					if _, err := io.ReadFull(conn, piece); err != nil {
						t.Fatal(err)
					}
				}
			}
			for unsent(l) > 0 {
				if _, err := io.CopyN(io.Discard, conn, 64<<10); err != nil {
					t.Fatal(err)
				}
			}
			for range 9 {
				skip(15 * time.Second)
			}
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			for unsent(l) <= 0 {
				time.Sleep(time.Millisecond)
			}
			standsStill(l)
			skip(285 * time.Second)
			if unsent(l) <= 0 {
				t.Fatal("it is closed although it may only be slow")
			}
			for range 3 {
				skip(15 * time.Second)
			}
			if there := unsent(l) > 0; there == pressed {
				t.Errorf("it is there: %t", there)
			}
			slow := uint64(0)
			if l.Call(func() { slow = l.Slow() }); (slow == 1) != pressed {
				t.Errorf("slow = %d", slow)
			}
		})
	}
}

// TestAFrozenConnectionHasNoDeadline: it may be somebody else's.
func TestAFrozenConnectionHasNoDeadline(t *testing.T) {
	l, skip := skipping(t)
	e, _ := saying(t, l, net.Dialer{})
	l.Call(func() { l.Each(func(c *loop.Conn) { c.Freeze() }) })
	skip(2 * time.Minute)
	if unsent(l) <= 0 {
		t.Error("it is closed")
	}
	l.Call(func() { l.Each(func(c *loop.Conn) { _ = c.Thaw() }) })
	skip(61 * time.Second)
	if why := <-e.closed; !errors.Is(why, loop.ErrSlow) {
		t.Errorf("closed: %v, want %v", why, loop.ErrSlow)
	}
}

// thirds takes 3 bytes at a time.
type thirds struct{ echo }

func (*thirds) Data(_ *loop.Conn, b []byte) int { return len(b) / 3 * 3 }

// TestUnfinished: what is left has waited since it came, since it has last grown by much, or since it is asked for.
func TestUnfinished(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fds[1]) }()
	l, skip := skipping(t)
	var c *loop.Conn
	l.Call(func() { c, err = l.Add(fds[0], 1, &thirds{echo{closed: make(chan error, 1)}}) })
	if err != nil {
		t.Fatal(err)
	}
	read := uint64(0)
	say := func(n int) {
		if _, err := unix.Write(fds[1], bytes.Repeat([]byte("x"), n)); err != nil {
			t.Fatal(err)
		}
		read += uint64(n)
		for have := uint64(0); have < read; {
			l.Call(func() { have, _ = c.Totals() })
		}
	}
	want := func(what string, seconds int) {
		t.Helper()
		var since time.Duration
		ok := false
		l.Call(func() { since, ok = c.Unfinished() })
		if ok != (seconds >= 0) || int(since.Seconds()) != max(seconds, 0) {
			t.Errorf("%s: %v, %t; want %d s", what, since, ok, seconds)
		}
	}
	want("nothing was read", -1)
	say(4)
	skip(10 * time.Second)
	want("one byte is left", 10)
	say(1)
	skip(10 * time.Second)
	want("two are left", 20)
	say(2)
	skip(10 * time.Second)
	want("one is left of the next", 10)
	l.Call(c.Pause)
	want("reading is paused", -1)
	l.Call(c.Resume)
	want("and goes on", 0)
	skip(10 * time.Second)
	l.Call(c.Reread)
	want("nothing was taken when it was shown again", 10)
	say(2)
	want("all was taken", -1)
}

// none takes nothing.
type none struct {
	echo
	partial int
}

func (*none) Data(*loop.Conn, []byte) int { return 0 }
func (n *none) Partial(*loop.Conn)        { n.partial++ }

// TestUnfinishedUnderTLS: a record that comes in pieces is no more of a message before it is whole.
func TestUnfinishedUnderTLS(t *testing.T) {
	l, skip := skipping(t)
	h := &none{echo: echo{closed: make(chan error, 1)}}
	s, c := dialSealed(t, l, h)
	read := uint64(0)
	say := func(b []byte) {
		if _, err := s.conn.Write(b); err != nil {
			t.Fatal(err)
		}
		read += uint64(len(b))
		for have := uint64(0); have < read; {
			l.Call(func() { have, _ = c.Totals() })
		}
		skip(10 * time.Second)
	}
	say(s.session.Seal(nil, make([]byte, 60<<10)))
	next := s.session.Seal(nil, make([]byte, 14<<10))
	for from := 0; from < 10<<10; from += 2 << 10 {
		say(next[from : from+2<<10])
	}
	var since time.Duration
	if l.Call(func() { since, _ = c.Unfinished() }); int(since.Seconds()) != 60 {
		t.Errorf("it is in the middle for %v, want 60 s", since)
	}
	inRecord := func(want int) {
		t.Helper()
		ok := false
		l.Call(func() { since, ok = c.InRecord() })
		if ok != (want >= 0) || int(since.Seconds()) != max(want, 0) {
			t.Errorf("it is in a record for %v, %t; want %d s", since, ok, want)
		}
	}
	inRecord(50)
	l.Call(c.Pause)
	inRecord(-1)
	l.Call(c.Resume)
	inRecord(0)
	say(next[10<<10 : 14<<10])
	inRecord(10)
	say(next[14<<10:])
	inRecord(-1)
	heard := 0
	if l.Call(func() { heard = h.partial }); heard == 0 {
		t.Error("the handler has not heard of it")
	}
}
