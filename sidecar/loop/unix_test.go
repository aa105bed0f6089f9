package loop_test

import (
	"errors"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/loop"
)

// caller says when its connection is open, and what ends it.
type caller struct {
	echo
	opened chan struct{}
}

func (c *caller) Connected(*loop.Conn) { close(c.opened) }

// TestDialUnix: what does not connect is told later, as of TCP.
func TestDialUnix(t *testing.T) {
	dir := t.TempDir()
	there, gone, full := filepath.Join(dir, "there"), filepath.Join(dir, "gone"), filepath.Join(dir, "full")
	ln, err := net.Listen("unix", there)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: gone})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	_ = left.Close()
	crowded(t, full)
	l := start(t)
	cases := map[string]error{there: nil, gone: unix.ECONNREFUSED, filepath.Join(dir, "never"): unix.ENOENT, full: unix.EAGAIN, "@axle-test-never": unix.ECONNREFUSED}
	for name, want := range cases {
		t.Run(filepath.Base(name), func(t *testing.T) {
			at, err := address.Unix(name)
			if err != nil {
				t.Fatal(err)
			}
			h := &caller{echo{closed: make(chan error, 1)}, make(chan struct{})}
			l.Call(func() {
				_, err = l.Dial(at, 1, h)
				select {
				case why := <-h.closed:
					t.Errorf("closed during Dial: %v", why)
				default:
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				<-h.opened
				return
			}
			if why := <-h.closed; !errors.Is(why, want) {
				t.Errorf("closed with %v, want %v", why, want)
			}
		})
	}
}

// crowded listens without accepting, and has as many connections as it may have.
func crowded(t *testing.T, path string) {
	t.Helper()
	socket := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	ln, sa := socket(), &unix.SockaddrUnix{Name: path}
	if err := errors.Join(unix.Bind(ln, sa), unix.Listen(ln, 1)); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if errors.Is(unix.Connect(socket(), sa), unix.EAGAIN) {
			return
		}
	}
	t.Fatal("the queue is never full")
}

// TestQueuesTellWhoHasTouchedAConnection: a peer may write and read while its other end stands still; nobody else may.
func TestQueuesTellWhoHasTouchedAConnection(t *testing.T) {
	cases := map[string]struct {
		do      func(own, peer int) error
		touched bool
	}{
		"nobody did anything":  {func(int, int) error { return nil }, false},
		"the peer has written": {func(_, peer int) error { return put(peer) }, false},
		"the peer has read":    {func(_, peer int) error { return take(peer, 1000) }, false},
		"somebody has written": {func(own, _ int) error { return put(own) }, true},
		"somebody has read":    {func(own, _ int) error { return take(own, 1) }, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			own, peer := pair[0], pair[1]
			defer func() { _, _ = unix.Close(own), unix.Close(peer) }()
			if err := errors.Join(put(own), put(peer)); err != nil {
				t.Fatal(err)
			}
			then, ok := loop.Queued(own)
			if err := tc.do(own, peer); err != nil || !ok {
				t.Fatal(err, ok)
			}
			now, _ := loop.Queued(own)
			if err := then.Check(now); (err != nil) != tc.touched {
				t.Errorf("%+v, then %+v: %v", then, now, err)
			}
		})
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if _, ok := loop.Queued(fd); ok {
		t.Error("a TCP socket is taken for a Unix-domain one")
	}
}

func put(fd int) error {
	_, err := unix.Write(fd, []byte("some bytes"))
	return err
}

func take(fd, n int) error {
	_, err := unix.Read(fd, make([]byte, n))
	return err
}
