package proxy_test

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// answerAll turns every request of size bytes into a response of the same body, without allocating.
func answerAll(conn net.Conn, size int) {
	in := make([]byte, size)
	for {
		if _, err := io.ReadFull(conn, in); err != nil {
			return
		}
		// The response's head is two bytes shorter, and it needs no header map: send the class, header and content anew.
		out := in[2:] // so that the lengths are in their place already
		copy(out[5:10], in[5:10])
		out[0], out[1], out[2], out[3], out[4] = 1, 0, 0, 2, 1
		out[10], out[11] = 0, 0
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

func TestARequestAllocatesNothing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	request := frame(1, 77, echoService, make([]byte, 1000))
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go answerAll(conn, len(request))
		}
	}()
	addr := freePort(t)
	started(t, 1, snapshot(addr, &server{addr: ln.Addr().(*net.TCPAddr).AddrPort()}))
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	answer := make([]byte, len(request)-2)
	ask := func(n int) {
		for range n {
			if _, err := conn.Write(request); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, answer); err != nil {
				t.Fatal(err)
			}
			if answer[8] != 77 || answer[11] != 0 {
				t.Fatalf("the answer begins % x", answer[:20])
			}
		}
	}
	ask(200) // pools fill up
	var before, after runtime.MemStats
	const requests = 5000
	runtime.ReadMemStats(&before)
	ask(requests)
	runtime.ReadMemStats(&after)
	if per := float64(after.Mallocs-before.Mallocs) / requests; per > 0.01 {
		t.Errorf("%.3f allocations per request, want 0", per)
	}
}
