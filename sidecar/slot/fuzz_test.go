package slot

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
)

// FuzzSpares hears what the other slot says, in any order: only listening sockets are kept, as many as there may be, and everything is
// closed in the end.
func FuzzSpares(f *testing.F) {
	f.Add([]byte("\x05Aln/a\x05Aln/b\x01E\x05Rln/a"))
	f.Add([]byte("\x08Astate/x\x05Alock\x01A\x02Aa\x02Aa\x01E\x01E"))
	f.Add([]byte("\x01Q\x03Aab"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		for said := 0; len(b) > 0 && said < 50; said++ {
			n := min(int(b[0]), len(b)-1)
			var oob []byte
			if n%3 > 0 { // two of three bring a descriptor
				oob = unix.UnixRights(pipe[1])
			}
			_ = unix.Sendmsg(p[0], b[1:1+n], oob, nil, 0)
			b = b[1+n:]
		}
		_, _ = unix.Close(pipe[1]), unix.Shutdown(p[0], unix.SHUT_WR)
		file := os.NewFile(uintptr(p[1]), "slot")
		conn, err := net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
		s := newSpares(logr.Discard())
		d := &desk{spares: s, settled: func() bool { return true }, log: logr.Discard()}
		d.receive(conn.(*net.UnixConn))
		for key, fd := range s.take(time.Minute) {
			if _ = unix.Close(fd); !listening(key) || len(key) > maxKey {
				t.Errorf("%q is kept", key)
			}
		}
		_ = unix.Close(p[0])
		if n, err := unix.Read(pipe[0], make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("a descriptor is left open: %v", err)
		}
		_ = unix.Close(pipe[0])
	})
}
