package loop

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tokens of the loop's own descriptors; connections have tokens from 0 upward.
const (
	tokenWake  = -1
	tokenTimer = -2
)

// poller is the loop's epoll with an eventfd, by which others wake it, and a timerfd.
type poller struct {
	ep, wakeFD, timerFD int
	bell                int           // an epoll that has nothing but ep: the runtime's poller waits on this one
	rings               bool          // the bell, when ep has something
	armed               time.Duration // when the timerfd goes off; 0 when it is not armed
}

func (p *poller) open() (err error) {
	if p.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	if p.bell, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	if err = unix.SetNonblock(p.bell, true); err != nil {
		return fmt.Errorf("set epoll non-blocking: %w", err)
	}
	if err = unix.EpollCtl(p.bell, unix.EPOLL_CTL_ADD, p.ep, &unix.EpollEvent{}); err != nil {
		return fmt.Errorf("epoll add epoll: %w", err)
	}
	if p.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	if p.timerFD, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return fmt.Errorf("timerfd_create: %w", err)
	}
	if err = p.add(p.wakeFD, tokenWake, 0, unix.EPOLLIN); err != nil {
		return err
	}
	return p.add(p.timerFD, tokenTimer, 0, unix.EPOLLIN)
}

// close leaves p.bell to its os.File.
func (p *poller) close() {
	_ = unix.Close(p.ep)
	_ = unix.Close(p.wakeFD)
	_ = unix.Close(p.timerFD)
}

func (p *poller) add(fd int, token, gen int32, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: token, Pad: gen}
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return fmt.Errorf("epoll add fd %d: %w", fd, err)
	}
	return nil
}

func (p *poller) modify(fd int, token, gen int32, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: token, Pad: gen}
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_MOD, fd, &e); err != nil {
		return fmt.Errorf("epoll modify fd %d: %w", fd, err)
	}
	return nil
}

func (p *poller) remove(fd int) { _ = unix.EpollCtl(p.ep, unix.EPOLL_CTL_DEL, fd, nil) }

// wait polls without blocking. A raw system call is right here and only here: it returns at once, and telling the
// scheduler about it would cost more than the call.
func (p *poller) wait(events []unix.EpollEvent) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.ep),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("epoll_wait: %w", errno)
}

// ring makes the bell ring, or not, when something comes from now on.
func (p *poller) ring(on bool) error {
	e := unix.EpollEvent{}
	if on {
		e.Events = unix.EPOLLIN | unix.EPOLLET
	}
	if err := unix.EpollCtl(p.bell, unix.EPOLL_CTL_MOD, p.ep, &e); err != nil {
		return fmt.Errorf("epoll modify epoll: %w", err)
	}
	p.rings = on
	return nil
}

// listen turns the bell on and polls: what came before does not ring it.
func (p *poller) listen(events []unix.EpollEvent) (int, error) {
	if err := p.ring(true); err != nil {
		return 0, err
	}
	return p.wait(events)
}

// arm makes the timerfd go off at when, a time of the loop's clock that reads now. A timer that goes off too early is
// harmless, so an earlier one is left alone.
func (p *poller) arm(when, now time.Duration) {
	if when == 0 || (p.armed != 0 && p.armed <= when) {
		return
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(when-now), 1))}
	if unix.TimerfdSettime(p.timerFD, 0, &spec, nil) == nil {
		p.armed = when
	}
}

func (p *poller) drainTimer() {
	var b [8]byte
	_, _ = unix.Read(p.timerFD, b[:])
	p.armed = 0
}

func (p *poller) wake() {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], 1)
	_, _ = unix.Write(p.wakeFD, b[:]) // full means that the loop is awake already
}

func (p *poller) drainWake() {
	var b [8]byte
	_, _ = unix.Read(p.wakeFD, b[:])
}

// read and write are raw for the same reason as wait: the descriptors never block.
func read(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

func write(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
			unix.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}
