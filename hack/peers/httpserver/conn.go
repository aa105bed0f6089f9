package httpserver

import (
	"bytes"
	"errors"
	"net"
	"syscall"
)

// listener hands out connections whose end is counted.
type listener struct {
	net.Listener
	s *Server
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, s: l.s}, nil
}

// conn sees what the server's HTTP library does not tell: resets, and that it refused what it read.
type conn struct {
	net.Conn
	s *Server
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, syscall.ECONNRESET) {
		c.s.resets.Add(1)
	}
	return n, err
}

// refusal is how the library answers what is not HTTP; no handler here answers so.
var refusal = []byte("HTTP/1.1 400 ")

func (c *conn) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, refusal) {
		c.s.broken.Add(1)
	}
	return c.Conn.Write(b)
}
