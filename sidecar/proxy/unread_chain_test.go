package proxy_test

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestAnAnswerThatIsReadSlowlyIsWholeBehindTwo: the sidecar in front is a slow reader, too, and takes nothing before its
// client has.
func TestAnAnswerThatIsReadSlowlyIsWholeBehindTwo(t *testing.T) {
	ln, near, far := listenTCP(t), freePort(t), freePort(t)
	behind, skipBehind := skipped(t, 1, httpSnapshot(far, ln.Addr().(*net.TCPAddr).AddrPort()))
	front, skipFront := skipped(t, 1, httpSnapshot(near, far))
	client := dialSmall(t, near)
	write(t, client, []byte("GET / HTTP/1.1\r\nHost: shop.demo\r\n\r\n"))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	const size, piece, pieces = 64 << 20, 256 << 10, 40
	go func() {
		_, _ = conn.Read(make([]byte, 4<<10))
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")
		_, _ = conn.Write(make([]byte, size))
	}()
	until(t, "it waits", func() bool { return waits(behind) && waits(front) })
	_ = client.SetReadDeadline(time.Now().Add(60 * time.Second))
	read := func(n int64) {
		if _, err := io.CopyN(io.Discard, client, n); err != nil {
			t.Fatal(err)
		}
	}
	for range pieces {
		read(piece)
		time.Sleep(5 * time.Millisecond) // until the kernel knows
		for range 2 {
			skipFront(15 * time.Second)
			skipBehind(15 * time.Second)
		}
		if n, m := front.Stats().Slow, behind.Stats().Slow; n+m != 0 {
			t.Fatalf("slow = %d and %d", n, m)
		}
	}
	read(size - pieces*piece)
}
