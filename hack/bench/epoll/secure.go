package epoll

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// handshakeTime bounds each read and write of a handshake.
const handshakeTime = 5

// secure is a TLS connection whose records go through memory: one read and one write a turn, as without TLS.
type secure struct {
	tls *tls.Conn
	// raw is what was read from the socket; raw[at:have] is not decrypted yet.
	raw      []byte
	at, have int
	// sealed is what goes to the socket.
	sealed []byte
	fd     int
	// open is true when the handshake is over.
	open bool
}

// Secure shakes hands on a socket that blocks, and wraps it; in is the size of both read buffers. side is [tls.Client] or
// [tls.Server] with its configuration. The caller prepares the socket then, and closes it after an error.
func Secure(fd, in int, side func(net.Conn) *tls.Conn) (*Conn, error) {
	limit := unix.Timeval{Sec: handshakeTime}
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &limit); err != nil {
			return nil, fmt.Errorf("bound a TLS handshake: %w", err)
		}
	}
	s := &secure{raw: make([]byte, in), fd: fd}
	s.tls = side(record{s})
	if err := s.tls.Handshake(); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	s.open = true
	c := NewConn(fd, in)
	c.secure = s
	return c, nil
}

// State says what the handshake has agreed on; ok is false without TLS.
func (c *Conn) State() (state tls.ConnectionState, ok bool) {
	if c.secure == nil {
		return state, false
	}
	return c.secure.tls.ConnectionState(), true
}

// fill reads once and decrypts every record that is complete.
func (s *secure) fill(c *Conn) bool {
	if s.at == s.have {
		s.at, s.have = 0, 0
	}
	alive := true
	if s.have < len(s.raw) {
		var n int
		n, alive = read(s.fd, s.raw[s.have:])
		s.have += n
	}
	for {
		c.grow()
		n, err := s.tls.Read(c.In[c.Have:])
		c.Have += n
		if errors.Is(err, errWait) {
			return alive
		}
		if err != nil {
			return false
		}
	}
}

// seal encrypts all of Out.
func (s *secure) seal(c *Conn) bool {
	if len(c.Out) == 0 {
		return true
	}
	_, err := s.tls.Write(c.Out)
	c.Out = c.Out[:0]
	return err == nil
}

// wait is the error that crypto/tls forgets: it is temporary.
type wait struct{}

var errWait error = wait{}

func (wait) Error() string   { return "nothing to read yet" }
func (wait) Timeout() bool   { return true }
func (wait) Temporary() bool { return true }

// record is the net.Conn below TLS: the socket itself until the handshake is over, memory then.
type record struct{ s *secure }

// Read implements net.Conn.
func (r record) Read(b []byte) (int, error) {
	s := r.s
	if s.at < s.have {
		n := copy(b, s.raw[s.at:s.have])
		s.at += n
		return n, nil
	}
	if s.open {
		return 0, errWait
	}
	n, err := unix.Read(s.fd, b)
	if err == nil && n == 0 {
		return 0, net.ErrClosed
	}
	return max(n, 0), err
}

// Write implements net.Conn.
func (r record) Write(b []byte) (int, error) {
	if r.s.open {
		r.s.sealed = append(r.s.sealed, b...)
		return len(b), nil
	}
	for done := 0; done < len(b); {
		n, err := unix.Write(r.s.fd, b[done:])
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(b), nil
}

// Close implements net.Conn; the socket has an owner.
func (record) Close() error { return nil }

// LocalAddr implements net.Conn.
func (record) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr implements net.Conn.
func (record) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// SetDeadline implements net.Conn; the socket's own limits hold.
func (record) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (record) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (record) SetWriteDeadline(time.Time) error { return nil }
