package sockets

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// backlog is as large as can be asked for; the kernel clamps it to net.core.somaxconn.
const backlog = 65535

// target is a parsed address to listen on.
type target struct {
	kind int // unix.SOCK_STREAM or unix.SOCK_SEQPACKET
	tcp  netip.AddrPort
	path string // of a Unix socket; with a leading @ when it is abstract
}

func parse(network, addr string) (target, error) {
	switch network {
	case "tcp":
		ap, err := netip.ParseAddrPort(addr)
		if err != nil {
			return target{}, err
		}
		if ap.Addr().Zone() != "" {
			return target{}, errors.New("an address with a zone is not supported")
		}
		return target{kind: unix.SOCK_STREAM, tcp: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())}, nil
	case "unix", "unixpacket":
		if addr == "" || addr == "@" {
			return target{}, errors.New("a Unix socket needs a name")
		}
		kind := unix.SOCK_STREAM
		if network == "unixpacket" {
			kind = unix.SOCK_SEQPACKET
		}
		return target{kind: kind, path: addr}, nil
	default:
		return target{}, fmt.Errorf("unknown network %q", network)
	}
}

// sockaddr returns the address and its family.
func (t target) sockaddr() (unix.Sockaddr, int) {
	switch {
	case t.path != "":
		return &unix.SockaddrUnix{Name: t.path}, unix.AF_UNIX
	case t.tcp.Addr().Is4():
		return &unix.SockaddrInet4{Addr: t.tcp.Addr().As4(), Port: int(t.tcp.Port())}, unix.AF_INET
	default:
		return &unix.SockaddrInet6{Addr: t.tcp.Addr().As16(), Port: int(t.tcp.Port())}, unix.AF_INET6
	}
}

// servedBy says whether fd already listens there.
func (t target) servedBy(fd int) bool {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != t.kind {
		return false
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	if u, ok := sa.(*unix.SockaddrUnix); ok {
		return u.Name == t.path
	}
	have, ok := inet(sa)
	return ok && t.path == "" && have.Addr() == t.tcp.Addr() && (t.tcp.Port() == 0 || have.Port() == t.tcp.Port())
}

// bind opens a listening descriptor.
func bind(t target) (int, error) {
	sa, family := t.sockaddr()
	fd, err := unix.Socket(family, t.kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	err = options(fd, family, t)
	if err == nil {
		err = t.bindTo(fd, sa)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (t target) bindTo(fd int, sa unix.Sockaddr) error {
	err := unix.Bind(fd, sa)
	file := t.path != "" && !strings.HasPrefix(t.path, "@")
	if errors.Is(err, unix.EADDRINUSE) && file && t.stale(sa) {
		if err = os.Remove(t.path); err == nil {
			err = unix.Bind(fd, sa)
		}
	}
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if file {
		// Before listen nobody can connect, so there is no moment with wider permissions.
		if err := os.Chmod(t.path, 0o600); err != nil {
			return err
		}
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// options are those that accepted connections inherit, too.
func options(fd, family int, t target) error {
	if t.path != "" {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("set SO_REUSEADDR: %w", err)
	}
	// Linux hands TCP_NODELAY on to what is accepted, which saves a call for each connection.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("set TCP_NODELAY: %w", err)
	}
	if family == unix.AF_INET6 && t.tcp.Addr().IsUnspecified() {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return fmt.Errorf("clear IPV6_V6ONLY: %w", err)
		}
	}
	return nil
}

// stale says whether the path is a socket that nobody listens on.
func (t target) stale(sa unix.Sockaddr) bool {
	info, err := os.Lstat(t.path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	fd, err := unix.Socket(unix.AF_UNIX, t.kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return errors.Is(unix.Connect(fd, sa), unix.ECONNREFUSED)
}

// prepare checks a descriptor that came from elsewhere.
func prepare(fd int) error {
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if on == 0 {
		return fmt.Errorf("descriptor %d does not listen", fd)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("descriptor %d: %w", fd, err)
	}
	return nil
}

func inet(sa unix.Sockaddr) (netip.AddrPort, bool) {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)), true
	}
	return netip.AddrPort{}, false
}

// localName returns the address of fd for people.
func localName(fd int) string {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "?"
	}
	if u, ok := sa.(*unix.SockaddrUnix); ok {
		return u.Name
	}
	if ap, ok := inet(sa); ok {
		return ap.String()
	}
	return "?"
}
