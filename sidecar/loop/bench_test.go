package loop_test

import (
	"io"
	"net"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/loop"
)

// bounce sends everything back, and stops reading while much waits, as a proxy does.
type bounce struct{ limit int }

func (bounce) Connected(*loop.Conn) {}
func (b bounce) Data(c *loop.Conn, in []byte) int {
	c.Write(in)
	if c.Unsent() > b.limit {
		c.Pause()
		c.TellDrained()
	}
	return len(in)
}
func (bounce) EOF(c *loop.Conn)         { c.Close(nil) }
func (bounce) Drained(c *loop.Conn)     { c.Resume() }
func (bounce) Closed(*loop.Conn, error) {}

// BenchmarkEcho sends messages to a loop and takes them back. cpu-ns/op is all that this process and the kernel on its behalf
// used: both sides are in it.
func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10, 1 << 20} {
		b.Run(strconv.Itoa(size>>10)+"k", func(b *testing.B) {
			l := start(b)
			addr := listen(b, l, func() loop.Handler { return bounce{256 << 10} })
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			out, in := make([]byte, size), make([]byte, size)
			b.SetBytes(int64(size))
			before := used(b)
			for b.Loop() {
				sent := make(chan error, 1)
				go func() { _, err := conn.Write(out); sent <- err }()
				if _, err := io.ReadFull(conn, in); err != nil {
					b.Fatal(err)
				}
				if err := <-sent; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(used(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// used is the CPU time of this process so far, in nanoseconds.
func used(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
