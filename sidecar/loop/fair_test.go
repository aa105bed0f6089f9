package loop_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/loop"
)

// counted counts what has come on a connection, and says when something has.
type counted struct {
	bytes int
	came  func()
}

func (r *counted) Connected(*loop.Conn) {}
func (r *counted) Data(_ *loop.Conn, b []byte) int {
	r.bytes += len(b)
	r.came()
	return len(b)
}
func (r *counted) EOF(*loop.Conn)           {}
func (r *counted) Drained(*loop.Conn)       {}
func (r *counted) Closed(*loop.Conn, error) {}

// filled is our end of a connection on which most bytes, or as many as the kernel takes, wait to be read, and their number.
func filled(t *testing.T, most int) (fd, n int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fds[1]) })
	if err := unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20); err != nil {
		t.Fatal(err)
	}
	for n < most {
		sent, err := unix.Write(fds[1], make([]byte, min(most-n, 16<<10)))
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n += sent
	}
	return fds[0], n
}

// TestAFullConnectionLetsOthersHaveTheirTurn: as long as somebody else has something to read it is read one buffer at a time.
func TestAFullConnectionLetsOthersHaveTheirTurn(t *testing.T) {
	const buffer = 128 << 10
	l := start(t)
	greedy, all := filled(t, 1<<20)
	modest, _ := filled(t, 1)
	if all < 2*buffer {
		t.Skipf("the kernel keeps no more than %d bytes", all)
	}
	done := make(chan struct{})
	before := 0 // bytes that were read before the other one's turn
	first := &counted{}
	first.came = func() {
		if first.bytes == all {
			close(done)
		}
	}
	second := &counted{came: func() { before = first.bytes }}
	l.Call(func() {
		for _, c := range []struct {
			fd int
			h  loop.Handler
		}{{greedy, first}, {modest, second}} {
			if _, err := l.Add(c.fd, uint64(c.fd), c.h); err != nil {
				t.Error(err)
			}
		}
	})
	<-done
	if second.bytes != 1 || before > buffer {
		t.Errorf("%d of %d bytes were read before the other one's, want no more than %d", before, all, buffer)
	}
}
