// Package epoll is just enough of Linux's epoll for the load generator and its echo server: one thread, no goroutine
// switches, so that the two cost about as little as C programs would and leave the machine to what is measured.
//
// Its system calls bypass the Go scheduler on purpose. That starves every other goroutine of the process, so it is right
// for a process that has none and wrong anywhere else.
package epoll

import (
	"fmt"
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller waits for sockets. Make it with New.
type Poller struct {
	fd     int
	events [256]unix.EpollEvent
}

// New returns an empty poller.
func New() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	return &Poller{fd: fd}, nil
}

// Add watches fd for input.
func (p *Poller) Add(fd int) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// Remove watches fd no more.
func (p *Poller) Remove(fd int) {
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) // it fails where fd is not watched, and then it is not
}

// Output adds or removes the interest in writing.
func (p *Poller) Output(fd int, on bool) error {
	ev := uint32(unix.EPOLLIN)
	if on {
		ev |= unix.EPOLLOUT
	}
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: ev, Fd: int32(fd)})
}

// Wait returns the sockets that are ready, waiting for at most d; a negative d waits for ever. The result is valid until
// the next call.
func (p *Poller) Wait(d time.Duration) []unix.EpollEvent {
	var limit *unix.Timespec
	if d >= 0 {
		ts := unix.NsecToTimespec(int64(d))
		limit = &ts
	}
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])),
		uintptr(len(p.events)), uintptr(unsafe.Pointer(limit)), 0, 0)
	if e != 0 {
		return nil
	}
	return p.events[:n]
}

// Conn is a non-blocking connection with its buffers. In[:Have] are bytes that were read and not used yet; what is appended
// to Out goes with the next Flush.
//
// Of a secured connection, In and Out are plain text.
type Conn struct {
	FD      int
	In      []byte
	Have    int
	Out     []byte
	secure  *secure // nil without TLS
	blocked bool
}

// NewConn wraps a non-blocking socket; in is the size of its read buffer, which grows when a frame does not fit.
func NewConn(fd, in int) *Conn { return &Conn{FD: fd, In: make([]byte, in)} }

// Fill reads once; false means that the connection has ended.
func (c *Conn) Fill() bool {
	if c.secure != nil {
		return c.secure.fill(c)
	}
	c.grow()
	n, alive := read(c.FD, c.In[c.Have:])
	c.Have += n
	return alive
}

// grow makes room for at least one byte more.
func (c *Conn) grow() {
	if c.Have == len(c.In) {
		c.In = append(c.In, make([]byte, len(c.In))...)
	}
}

// read returns how many bytes it has put into b, which may be none, and false when the connection has ended.
func read(fd int, b []byte) (int, bool) {
	n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if e != 0 {
		return 0, e == unix.EAGAIN || e == unix.EINTR
	}
	return int(n), n > 0
}

// Used drops the first n bytes of In.
func (c *Conn) Used(n int) {
	if n > 0 {
		c.Have = copy(c.In, c.In[n:c.Have])
	}
}

// Flush writes Out as far as the socket takes it; false means that the connection has ended.
func (c *Conn) Flush(p *Poller) bool {
	out := &c.Out
	if c.secure != nil {
		if !c.secure.seal(c) {
			return false
		}
		out = &c.secure.sealed
	}
	for len(*out) > 0 {
		n, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(c.FD), uintptr(unsafe.Pointer(&(*out)[0])), uintptr(len(*out)))
		switch {
		case e == unix.EINTR:
		case e == unix.EAGAIN:
			if c.blocked {
				return true
			}
			c.blocked = true
			return p.Output(c.FD, true) == nil
		case e != 0:
			return false
		default:
			*out = (*out)[:copy(*out, (*out)[n:])]
		}
	}
	if c.blocked {
		c.blocked = false
		return p.Output(c.FD, false) == nil
	}
	return true
}

// Dial connects to a loopback address, from any local address when from is empty. The socket blocks; Prepare ends that.
func Dial(from, addr string) (int, error) {
	sa, err := address(addr)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("dial %s: %w", addr, err)
	}
	if from != "" {
		err = bind(fd, from)
	}
	if err == nil {
		err = unix.Connect(fd, sa)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("dial %s: %w", addr, err)
	}
	return fd, nil
}

// bind chooses the local address and leaves the port to connect, which may use one of another destination again.
func bind(fd int, from string) error {
	sa, err := address(from + ":0")
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
	}
	return unix.Bind(fd, sa)
}

// Prepare makes a connected socket non-blocking and prompt.
func Prepare(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("set TCP_NODELAY: %w", err)
	}
	return unix.SetNonblock(fd, true)
}

// Listen opens a non-blocking listening socket.
func Listen(addr string) (int, error) {
	sa, err := address(addr)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("listen on %s: %w", addr, err)
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
		if err = unix.Bind(fd, sa); err == nil {
			err = unix.Listen(fd, 4096)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return fd, nil
}

func address(addr string) (unix.Sockaddr, error) {
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}
	if !a.IP.IsLoopback() {
		return nil, fmt.Errorf("address %q is not loopback: load stays on this machine", addr)
	}
	return &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}, nil
}
