package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/hack/bench/epoll"
)

// inputSize is a connection's first read buffer: enough for what 32 requests in flight bring at once.
const inputSize = 64 << 10

// Echo answers every request of protocol p at addr with its own content of size bytes, until ctx ends or a peer breaks the
// protocol. certs is the folder of the certificates, for TLS.
func Echo(ctx context.Context, p Protocol, addr string, size int, certs string) error {
	s, err := newSides(p, size)
	if err != nil {
		return err
	}
	e := &echo{server: s.server, conns: map[int32]*answering{}}
	if p == TLS {
		if e.tls, err = serverTLS(certs); err != nil {
			return err
		}
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
	e.poller, e.listener = poller, listener
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
	server   func() server
	tls      *tls.Config // nil without TLS
	poller   *epoll.Poller
	listener int
	conns    map[int32]*answering
}

// answering is one connection of the server.
type answering struct {
	*epoll.Conn
	server server
}

func (e *echo) ready(ev unix.EpollEvent) error {
	if int(ev.Fd) == e.listener {
		return e.accept()
	}
	return e.turn(e.conns[ev.Fd], ev.Events&^unix.EPOLLOUT != 0)
}

// turn reads from a connection where there is input, answers, and writes.
func (e *echo) turn(c *answering, input bool) error {
	alive, used := true, 0
	if input {
		alive = c.Fill()
		for alive {
			n, out, err := c.server.Serve(c.In[used:c.Have], c.Out)
			if err != nil {
				return fmt.Errorf("request on descriptor %d: %w", c.FD, err)
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
	delete(e.conns, int32(c.FD))
	return unix.Close(c.FD)
}

func (e *echo) accept() error {
	for {
		fd, _, err := unix.Accept4(e.listener, unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a connection: %w", err)
		}
		c, err := e.greet(fd)
		if err != nil {
			_ = unix.Close(fd)
			continue // the client has gone, or does not shake hands
		}
		e.conns[int32(fd)] = c
		if err := e.poller.Add(fd); err != nil {
			return fmt.Errorf("watch a connection: %w", err)
		}
		// A handshake may have read a request already, and the poller does not tell of that.
		if err := e.turn(c, true); err != nil {
			return err
		}
	}
}

// greet makes a connection of a socket, with what a server says first in Out.
func (e *echo) greet(fd int) (*answering, error) {
	c := epoll.NewConn(fd, inputSize)
	if e.tls != nil {
		var err error
		if c, err = epoll.Secure(fd, inputSize, func(raw net.Conn) *tls.Conn { return tls.Server(raw, e.tls) }); err != nil {
			return nil, err
		}
	}
	a := &answering{Conn: c, server: e.server()}
	a.Out = a.server.Hello(a.Out)
	return a, epoll.Prepare(fd)
}
