package proxy_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// TestTheEndOfAPairWithoutItsClientMoves: what is left of a pair is the endpoint's connection, which has not taken all yet. Its end
// is counted where that is.
func TestTheEndOfAPairWithoutItsClientMoves(t *testing.T) {
	ln, addr := listenTCP(t), freePort(t)
	s := tcpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort())
	from := started(t, 1, s)
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = client.SetDeadline(time.Now().Add(20 * time.Second))
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_ = conn.(*net.TCPConn).CloseWrite()
	if _, err := io.ReadAll(client); err != nil {
		t.Fatal(err)
	}
	size := 0
	for full := 0; full < 3; { // the kernel holds no more for the endpoint, and that is no moment before a write
		if full == 0 {
			write(t, client, bytes.Repeat([]byte("a"), 32<<10))
			size += 32 << 10
		}
		time.Sleep(2 * time.Millisecond)
		full++
		for _, c := range from.Conns() {
			if c.Kind == "upstream" && c.Unsent == 0 {
				full = 0
			}
		}
	}
	_ = client.Close()
	until(t, "the client's side is closed", func() bool {
		for _, c := range from.Conns() {
			if c.Kind == "downstream" && c.Connected {
				return false
			}
		}
		return true
	})
	to, _ := newEngine(t, 2, 1)
	defer to.Stop()
	give(t, from, to)
	from.Stop()
	if got, err := io.ReadAll(conn); err != nil || len(got) != size {
		t.Errorf("the endpoint read %d bytes, %v; want %d", len(got), err, size)
	}
	until(t, "the pair is gone", func() bool { return to.Stats().Downstream[config.Inbound] == 0 })
	ended := uint64(0)
	for name, c := range to.Stats().Series {
		if name.Protocol == proxy.SpokenTCP {
			ended += c.Ended()
		}
	}
	if ended != 1 {
		t.Errorf("%d connections have ended, want 1", ended)
	}
}
