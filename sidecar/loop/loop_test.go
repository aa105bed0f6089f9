package loop_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/loop"
)

// echo sends everything back, and remembers what it heard.
type echo struct {
	closed  chan error
	drained int
}

func (e *echo) Connected(*loop.Conn) {}
func (e *echo) Data(c *loop.Conn, b []byte) int {
	c.Write(b)
	return len(b)
}
func (e *echo) EOF(c *loop.Conn)               { c.CloseAfterWrite() }
func (e *echo) Drained(*loop.Conn)             { e.drained++ }
func (e *echo) Closed(_ *loop.Conn, why error) { e.closed <- why }

func clock() loop.Clock {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

func start(t testing.TB) *loop.Loop {
	t.Helper()
	return startWith(t, clock())
}

// startWith runs a loop by a clock.
func startWith(t testing.TB, now loop.Clock) *loop.Loop {
	t.Helper()
	l, err := loop.New(now, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- l.Run() }()
	t.Cleanup(func() {
		l.Stop()
		if err := <-ended; err != nil {
			t.Errorf("loop: %v", err)
		}
	})
	return l
}

// listen accepts on loopback into l with the handlers that next makes.
func listen(t testing.TB, l *loop.Loop, next func() loop.Handler) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 128); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	l.Call(func() {
		_, err = l.Accept(fd, func(fd int) { _, _ = l.Add(fd, 1, next()) }, func(err error) { t.Error(err) })
	})
	if err != nil {
		t.Fatal(err)
	}
	in4 := sa.(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port))
}

func TestEchoOfMoreThanEveryBuffer(t *testing.T) {
	l := start(t)
	e := &echo{closed: make(chan error, 1)}
	addr := listen(t, l, func() loop.Handler { return e })
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 16<<20)
	_, _ = rand.Read(want)
	go func() { _, _ = conn.Write(want) }()
	for unsent := 0; unsent < 1<<20; { // more than one turn reads: the kernel is full
		l.Call(func() { l.Each(func(c *loop.Conn) { unsent = c.Unsent() }) })
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the bytes that came back are not those that were sent")
	}
	drained := 0
	l.Call(func() { drained = e.drained })
	if drained == 0 {
		t.Error("the queue was full, and nobody was told that it is empty again")
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	if n, err := conn.Read(got); !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes, %v; want the end", n, err)
	}
	if why := <-e.closed; why != nil {
		t.Errorf("closed: %v", why)
	}
}

func TestDialNowhere(t *testing.T) {
	l := start(t)
	e := &echo{closed: make(chan error, 1)}
	l.Call(func() { _, _ = l.Dial(netip.MustParseAddrPort("127.0.0.1:1"), 1, e) })
	if why := <-e.closed; why == nil {
		t.Error("closed without a reason, want connection refused")
	}
}

// TestMoveBetweenLoops gives one connection from loop to loop under load: every byte comes back, in order.
func TestMoveBetweenLoops(t *testing.T) {
	loops := []*loop.Loop{start(t), start(t)}
	e := &echo{closed: make(chan error, 1)}
	addr := listen(t, loops[0], func() loop.Handler { return e })
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 4<<20)
	_, _ = rand.Read(want)
	go func() {
		for b := want; len(b) > 0; b = b[min(len(b), 7777):] {
			_, _ = conn.Write(b[:min(len(b), 7777)])
		}
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	got := make([]byte, 0, len(want))
	buf := make([]byte, 32<<10)
	for hop := 0; ; hop++ {
		n, err := conn.Read(buf)
		got = append(got, buf[:n]...)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if hop%4 == 0 {
			move(t, loops[hop/4%2], loops[(hop/4+1)%2], e)
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got %d bytes back, which are not the %d that were sent", len(got), len(want))
	}
}

// move hands the only connection of from over, as two processes would.
func move(t *testing.T, from, to *loop.Loop, h loop.Handler) {
	t.Helper()
	var img loop.Image
	fd := -1
	from.Call(func() {
		from.Each(func(c *loop.Conn) {
			img = c.Freeze()
			img.In, img.Out = bytes.Clone(img.In), bytes.Clone(img.Out)
			fd, _ = unix.Dup(c.FD())
			k, ok := loop.Count(fd)
			if !ok {
				t.Log("no stable sample of the counters")
			} else if err := img.Check(k); err != nil {
				t.Error(err)
			}
			c.Release()
		})
	})
	if fd < 0 {
		return // it was the other loop's, or is closed already
	}
	to.Call(func() {
		if err := to.Restore(fd, img, h).Thaw(); err != nil {
			t.Error(err)
		}
	})
}

func TestTimersAreNeverEarly(t *testing.T) {
	l := start(t)
	fired := make(chan time.Duration, 3)
	waits := []time.Duration{time.Millisecond, 30 * time.Millisecond, 90 * time.Millisecond}
	var began time.Duration
	l.Call(func() {
		began = l.Now()
		for _, d := range waits {
			l.Start(&loop.Timer{Owner: expire(func() { fired <- l.Now() })}, d)
		}
	})
	for _, d := range waits {
		if at := <-fired; at < began+d {
			t.Errorf("a timer of %v went off after %v", d, at-began)
		}
	}
}

type expire func()

func (e expire) Expire() { e() }

// slurp takes nothing: it waits for a message that never ends.
type slurp struct{ echo }

func (*slurp) Data(*loop.Conn, []byte) int { return 0 }

func TestABudgetStopsMessagesThatNeverEnd(t *testing.T) {
	budget := loop.NewBudget(5 << 20)
	l, err := loop.New(clock(), budget)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = l.Run() }()
	defer l.Stop()
	closed := make(chan error, 3)
	addr := listen(t, l, func() loop.Handler { return &slurp{echo{closed: closed}} })
	for range 3 {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		go func() { _, _ = conn.Write(make([]byte, 3<<20)) }()
	}
	for range 2 {
		if why := <-closed; !errors.Is(why, loop.ErrBudget) {
			t.Errorf("closed: %v, want %v", why, loop.ErrBudget)
		}
	}
	if used := budget.Used(); used > 5<<20 {
		t.Errorf("%d bytes are in use, more than the budget", used)
	}
}
