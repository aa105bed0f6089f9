package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/hack/bench/epoll"
)

// inputSize is a connection's first read buffer: enough for what 32 requests in flight bring at once.
const inputSize = 64 << 10

// Echo answers every request of protocol p at addr with its own content of size bytes, until ctx ends or a peer breaks the
// protocol.
func Echo(ctx context.Context, p Protocol, addr string, size int) error {
	m, err := newMessages(p, size)
	if err != nil {
		return err
	}
	listener, err := epoll.Listen(addr)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(listener) }()
	poller, err := epoll.New()
	if err != nil {
		return err
	}
	if err := poller.Add(listener); err != nil {
		return fmt.Errorf("watch %s: %w", addr, err)
	}
	e := &echo{messages: m, poller: poller, listener: listener, conns: map[int32]*epoll.Conn{}}
	for ctx.Err() == nil {
		for _, ev := range poller.Wait(time.Second) {
			if err := e.ready(ev); err != nil {
				return err
			}
		}
	}
	return nil
}

type echo struct {
	messages
	poller   *epoll.Poller
	listener int
	conns    map[int32]*epoll.Conn
}

func (e *echo) ready(ev unix.EpollEvent) error {
	if int(ev.Fd) == e.listener {
		return e.accept()
	}
	c := e.conns[ev.Fd]
	alive, used := true, 0
	if ev.Events&^unix.EPOLLOUT != 0 {
		alive = c.Fill()
		for alive {
			n, out, err := e.serve(c.In[used:c.Have], c.Out)
			if err != nil {
				return fmt.Errorf("request on descriptor %d: %w", ev.Fd, err)
			}
			if n == 0 {
				break
			}
			used += n
			c.Out = out
		}
		c.Used(used)
	}
	if alive && c.Flush(e.poller) {
		return nil
	}
	delete(e.conns, ev.Fd)
	return unix.Close(c.FD)
}

func (e *echo) accept() error {
	for {
		fd, _, err := unix.Accept4(e.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a connection: %w", err)
		}
		if err := epoll.Prepare(fd); err != nil {
			return err
		}
		e.conns[int32(fd)] = epoll.NewConn(fd, inputSize)
		if err := e.poller.Add(fd); err != nil {
			return fmt.Errorf("watch a connection: %w", err)
		}
	}
}
