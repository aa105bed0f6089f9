package loop

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/address"
)

// acceptBurst is how many connections one event accepts before others get their turn.
const acceptBurst = 64

// acceptRest is the pause after an error that does not pass by itself: the descriptor stays ready, so that asking again at
// once would take a whole core and fill the log.
const acceptRest = 100 * time.Millisecond

// Accepting is a listening descriptor that a loop watches.
type Accepting struct {
	conn *Conn
	fail func(error)
	rest Timer // armed after an error, while the loop does not watch
}

// Accept watches a listening descriptor and calls got with every accepted one, which is non-blocking and has Nagle's
// algorithm off. got owns it. fail hears of errors that do not pass by themselves, such as too many open files.
func (l *Loop) Accept(fd int, got func(fd int), fail func(error)) (*Accepting, error) {
	c := &Conn{loop: l, fd: fd, want: unix.EPOLLIN}
	a := &Accepting{conn: c, fail: fail}
	a.rest.Owner = a
	c.accept = func() {
		for range acceptBurst {
			conn, err := acceptOne(fd)
			switch {
			case err == nil:
				got(conn)
			case errors.Is(err, unix.EAGAIN):
				return
			case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR):
			default:
				l.poller.remove(fd)
				l.Start(&a.rest, acceptRest)
				fail(fmt.Errorf("accept: %w", err))
				return
			}
		}
	}
	l.table.insert(c)
	if err := l.poller.add(fd, c.token, c.gen, unix.EPOLLIN); err != nil {
		l.table.remove(c)
		return nil, err
	}
	return a, nil
}

// Expire watches again after a rest.
func (a *Accepting) Expire() {
	c := a.conn
	if err := c.loop.poller.add(c.fd, c.token, c.gen, unix.EPOLLIN); err != nil {
		c.loop.Start(&a.rest, acceptRest)
		a.fail(err)
	}
}

// Stop ends accepting; the descriptor stays open and connections queue in the kernel.
func (a *Accepting) Stop() {
	if !a.conn.closed {
		a.conn.closed = true
		a.conn.loop.Cancel(&a.rest)
		a.conn.loop.poller.remove(a.conn.fd)
		a.conn.loop.table.remove(a.conn)
	}
}

func acceptOne(fd int) (int, error) {
	conn, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return 0, err
	}
	tune(conn)
	return conn, nil
}

// tune sets the options of every TCP connection. They are hints: a socket without them works.
func tune(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15)
}

// Add makes an accepted descriptor a connection of this loop. It owns fd from here on, also on an error.
func (l *Loop) Add(fd int, id uint64, h Handler) (*Conn, error) {
	c := &Conn{ID: id, Handler: h, loop: l, fd: fd, want: interest}
	return c, l.watchNew(c)
}

// Dial starts to connect. The handler hears Connected or Closed later, never during Dial.
func (l *Loop) Dial(addr netip.AddrPort, id uint64, h Handler) (*Conn, error) {
	family, sa := sockaddr(addr)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address.String(addr), os.NewSyscallError("socket", err))
	}
	c := &Conn{ID: id, Handler: h, loop: l, fd: fd, want: unix.EPOLLOUT, dialled: true, connecting: true}
	if family != unix.AF_UNIX {
		tune(fd)
	}
	err = unix.Connect(fd, sa)
	var refused unix.Errno
	switch {
	case err == nil, errors.Is(err, unix.EINPROGRESS):
	case family == unix.AF_UNIX && errors.As(err, &refused):
		c.refused = uint32(refused) // what a TCP endpoint says later; so does epoll of this socket
	default:
		_ = unix.Close(fd)
		return nil, fmt.Errorf("dial %s: %w", address.String(addr), os.NewSyscallError("connect", err))
	}
	return c, l.watchNew(c)
}

func (l *Loop) watchNew(c *Conn) error {
	l.table.insert(c)
	if err := l.poller.add(c.fd, c.token, c.gen, c.want); err != nil {
		l.table.remove(c)
		_ = unix.Close(c.fd)
		return err
	}
	return nil
}

func sockaddr(a netip.AddrPort) (int, unix.Sockaddr) {
	if name, ok := address.UnixName(a); ok {
		return unix.AF_UNIX, &unix.SockaddrUnix{Name: name}
	}
	if ip := a.Addr().Unmap(); ip.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
