package handover

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errTruncated means that the kernel dropped descriptors, silently but for a flag.
var errTruncated = errors.New("descriptors were dropped on the way: too few may be open in this process")

// conn is one end of a handover connection: non-blocking, parked in the runtime's poller.
type conn struct {
	f   *os.File
	raw syscall.RawConn
}

// newConn takes fd over.
func newConn(fd int) (*conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("set handover socket non-blocking: %w", err), unix.Close(fd))
	}
	f := os.NewFile(uintptr(fd), "handover")
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("handover socket: %w", err), f.Close())
	}
	return &conn{f: f, raw: raw}, nil
}

func (c *conn) Close() error { return c.f.Close() }

// stopWriting ends a send that waits for room, and every later one that would.
func (c *conn) stopWriting() error { return c.f.SetWriteDeadline(time.Unix(1, 0)) }

// fence shuts the receiving direction: the kernel refuses what the peer sends from now on, and recv still returns what
// it had accepted before, then nil. Both happen under the same lock in the kernel, which is what makes it a fence.
func (c *conn) fence() error {
	var err error
	if cerr := c.raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_RD) }); cerr != nil {
		return cerr
	}
	return err
}

// send sends one packet, waiting for room until the write deadline. The lock (nil: none) is held while the kernel decides,
// and taken (nil: nothing) runs under it when the packet was taken; usable, under it too, may call the packet off.
// Only a nil error means that the packet was taken.
func (c *conn) send(b []byte, fds []int, mu sync.Locker, usable func() bool, taken func()) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	var err error
	// The attempt belongs inside the callback: the poller forgets a wake-up from before the call.
	werr := c.raw.Write(func(fd uintptr) bool {
		mu.Lock()
		defer mu.Unlock()
		if !usable() {
			err = errWithdrawn
			return true
		}
		for {
			err = unix.Sendmsg(int(fd), b, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if err == nil {
			taken()
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	return first(werr, err)
}

// first is the poller's error, when it has one: what the last attempt had said is then out of date.
func first(poller, call error) error {
	if poller != nil {
		return poller
	}
	return call
}

// errWithdrawn means that a packet was called off before it was sent.
var errWithdrawn = errors.New("withdrawn")

// recv reads one packet into buf and returns it with its descriptors, which are the caller's also when there is an
// error. An empty packet without an error means that nothing more will come.
func (c *conn) recv(buf []byte) ([]byte, []int, error) {
	oob := make([]byte, unix.CmsgSpace(4*253))
	var n, oobn, flags int
	var err error
	resets := 0
	rerr := c.raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, flags, _, err = unix.Recvmsg(int(fd), buf, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
			// A peer that dies with unread packets leaves ECONNRESET, and the kernel reports it before the packets
			// that the peer had sent. They count: one of them may be RESUMED.
			if errors.Is(err, unix.ECONNRESET) && resets < 3 {
				resets++
				continue
			}
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if err = first(rerr, err); err != nil {
		return nil, nil, err
	}
	fds, err := rights(oob[:oobn])
	switch {
	case err != nil:
		return nil, fds, err
	case flags&unix.MSG_CTRUNC != 0:
		return nil, fds, errTruncated
	case flags&unix.MSG_TRUNC != 0:
		return nil, fds, fmt.Errorf("%w: packet longer than %d bytes", ErrFormat, len(buf))
	}
	return buf[:n], fds, nil
}

// rights takes the descriptors out of a control message.
func rights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("%w: control message: %w", ErrFormat, err)
	}
	var fds []int
	for i := range cmsgs {
		got, err := unix.ParseUnixRights(&cmsgs[i])
		if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: a control message of another kind
			return fds, fmt.Errorf("%w: descriptors: %w", ErrFormat, err)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// closeAll closes descriptors that nobody wants.
func closeAll(fds []int) error {
	var errs []error
	for _, fd := range fds {
		if err := unix.Close(fd); err != nil {
			errs = append(errs, fmt.Errorf("close descriptor %d: %w", fd, err))
		}
	}
	return errors.Join(errs...)
}

// peerUID is the effective user of the process that connected or, on the candidate's side, that listened last.
func (c *conn) peerUID() (int, error) {
	uid := -1
	var err error
	cerr := c.raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	})
	if err = errors.Join(cerr, err); err != nil {
		return -1, fmt.Errorf("SO_PEERCRED of the handover socket: %w", err)
	}
	return uid, nil
}

// peerLife is a descriptor that becomes readable when the peer's process ends, or -1 where the kernel has none (before 6.5).
func (c *conn) peerLife() int {
	life := -1
	_ = c.raw.Control(func(fd uintptr) { // a failure means the same as an old kernel
		if v, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			life = v
		}
	})
	return life
}

// peerDead reports whether the process behind life has ended, waiting up to wait for it: a dying process closes its
// sockets a moment before it is dead.
func peerDead(life int, wait time.Duration) bool {
	if life < 0 {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(life), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(wait.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && n > 0
	}
}

// sockaddr reads an address: a leading @ makes it abstract.
func sockaddr(address string) unix.Sockaddr {
	return &unix.SockaddrUnix{Name: address} // x/sys turns the @ into a zero byte
}

// backlog of the handover socket: a second and a third caller wait here to be told that it is busy.
const backlog = 16

// Listen opens the socket on which a serving process waits for its successor: a path, or an abstract name with a leading
// "@". The descriptor belongs under the key "handover" among the listening sockets, and moves with them.
func Listen(address string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("listen for handovers on %q: %w", address, err)
	}
	if !strings.HasPrefix(address, "@") {
		if err := removeStale(address); err != nil {
			return -1, errors.Join(err, unix.Close(fd))
		}
	}
	err = unix.Bind(fd, sockaddr(address))
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("listen for handovers on %q: %w", address, err), unix.Close(fd))
	}
	return fd, nil
}

// removeStale removes a socket file that nobody listens on: the process that bound it was killed.
func removeStale(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("probe handover socket %q: %w", path, err)
	}
	err = unix.Connect(fd, sockaddr(path))
	if cerr := unix.Close(fd); cerr != nil {
		return fmt.Errorf("close probe of handover socket %q: %w", path, cerr)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove stale handover socket: %w", err)
	}
	return nil
}

// dial connects once.
func dial(address string) (*conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("dial handover socket %q: %w", address, err)
	}
	if err := unix.Connect(fd, sockaddr(address)); err != nil {
		return nil, errors.Join(fmt.Errorf("dial handover socket %q: %w", address, err), unix.Close(fd))
	}
	return newConn(fd)
}

// listener accepts on a duplicate of the caller's descriptor.
type listener struct{ c *conn }

// newListener duplicates fd. It listens on it once more: that stamps this process as the one that candidates see as their
// peer, also when an earlier generation had opened the socket.
func newListener(fd int) (*listener, error) {
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, fmt.Errorf("listen on handover descriptor %d: %w", fd, err)
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate handover descriptor %d: %w", fd, err)
	}
	c, err := newConn(dup)
	if err != nil {
		return nil, err
	}
	return &listener{c: c}, nil
}

// accept waits for the next caller; Close ends it with an error.
func (l *listener) accept() (*conn, error) {
	var fd int
	var err error
	rerr := l.c.raw.Read(func(ls uintptr) bool {
		fd, _, err = unix.Accept4(int(ls), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECONNABORTED)
	})
	if err = first(rerr, err); err != nil {
		return nil, fmt.Errorf("accept on the handover socket: %w", err)
	}
	return newConn(fd)
}

func (l *listener) Close() error { return l.c.Close() }
