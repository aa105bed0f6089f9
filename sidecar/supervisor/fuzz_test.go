package supervisor

import (
	"bytes"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// pairOf is a pair of connected sockets: messages are written to the descriptor, and received from the connection.
func pairOf(t *testing.T) (int, *net.UnixConn) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(p[1]), "pair")
	defer func() { _ = file.Close() }()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return p[0], conn.(*net.UnixConn)
}

// FuzzReceive reads any packet with any number of descriptors: none is left open, and what is accepted is what was sent.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("Alistener/in"), uint8(1))
	f.Add([]byte("B"), uint8(0))
	f.Add(termBody(1000), uint8(2))
	f.Add(bytes.Repeat([]byte("A"), maxMessage+1), uint8(1))
	f.Add([]byte("A"), uint8(20))
	f.Fuzz(func(t *testing.T, b []byte, n uint8) {
		if len(b) == 0 {
			return // Sendmsg puts a byte into it
		}
		from, to := pairOf(t)
		defer func() { _, _ = unix.Close(from), to.Close() }()
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(pipe[0]) }()
		fds := make([]int, n%32)
		for i := range fds {
			fds[i] = pipe[1]
		}
		var oob []byte
		if len(fds) > 0 {
			oob = unix.UnixRights(fds...)
		}
		err := unix.Sendmsg(from, b, oob, nil, 0)
		_ = unix.Close(pipe[1])
		if err != nil {
			return // it is too large
		}
		m, err := Receive(to)
		if err == nil {
			if m.Kind != Kind(b[0]) || !bytes.Equal(m.Body, b[1:]) || (m.FD >= 0) != (len(fds) == 1) || len(b) > maxMessage {
				t.Errorf("%q with %d descriptors is received as %q", b, len(fds), m.Body)
			}
			if grace, ok := parseTerm(m.Body); ok && !bytes.Equal(termBody(grace), m.Body) {
				t.Errorf("%x is a term of %s", m.Body, grace)
			}
			if m.FD >= 0 {
				_ = unix.Close(m.FD)
			}
		}
		if n, err := unix.Read(pipe[0], make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("a descriptor is left open: %v", err)
		}
	})
}
