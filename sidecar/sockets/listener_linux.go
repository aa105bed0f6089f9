package sockets

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Listener returns a net.Listener over a duplicate of the descriptor of key, for net/http and its like. Closing it
// leaves the socket itself listening in the set.
//
// net.FileListener would do, but it makes the description that other processes share blocking for a moment.
func (s *Set) Listener(key string) (net.Listener, error) {
	fd, err := s.Dup(key)
	if err != nil {
		return nil, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("name of %s: %w", key, err)
	}
	f := os.NewFile(uintptr(fd), key) // non-blocking already, so it joins the runtime's poller
	return &listener{f: f, addr: netAddr(sa)}, nil
}

// listener accepts through the runtime's poller.
type listener struct {
	f    *os.File
	addr net.Addr
}

// Accept waits for the next connection.
func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.f.SyscallConn()
	if err != nil {
		return nil, l.fault(net.ErrClosed)
	}
	nfd := -1
	var failure error
	// Without deadlines, Read itself fails only because the listener was closed.
	closed := raw.Read(func(fd uintptr) bool {
		nfd, _, failure = unix.Accept4(int(fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		for errors.Is(failure, unix.EINTR) || errors.Is(failure, unix.ECONNABORTED) {
			nfd, _, failure = unix.Accept4(int(fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		}
		// Another generation may have taken the connection first.
		return !errors.Is(failure, unix.EAGAIN)
	})
	if closed != nil {
		return nil, l.fault(net.ErrClosed)
	}
	if failure != nil {
		return nil, l.fault(failure)
	}
	f := os.NewFile(uintptr(nfd), "conn")
	defer func() { _ = f.Close() }()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, l.fault(err)
	}
	return c, nil
}

func (l *listener) fault(err error) error {
	return &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: err}
}

// Close ends Accept.
func (l *listener) Close() error { return l.f.Close() }

// Addr returns where it listens.
func (l *listener) Addr() net.Addr { return l.addr }

func netAddr(sa unix.Sockaddr) net.Addr {
	if u, ok := sa.(*unix.SockaddrUnix); ok {
		return &net.UnixAddr{Name: u.Name, Net: "unixpacket"}
	}
	ap, _ := inet(sa)
	return net.TCPAddrFromAddrPort(ap)
}
