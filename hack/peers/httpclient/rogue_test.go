package httpclient

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/axlemesh/axle/hack/peers/httpserver"
	"github.com/axlemesh/axle/hack/peers/wire"
)

// rogue answers as a strict server does, and once for each time that it is armed as a bad proxy would make it look.
type rogue struct {
	ln    net.Listener
	armed atomic.Bool
	deed  func(c net.Conn, right []byte, id wire.Identity, sum uint32)
}

// page is a whole response with that status and body.
func page(status int, body []byte, field string) []byte {
	b := fmt.Appendf(nil, "HTTP/1.1 %d X\r\n%s: rogue\r\n%sContent-Length: %d\r\n\r\n", status, httpserver.ServerField, field, len(body))
	return append(b, body...)
}

func reply(id wire.Identity, sum uint32) []byte {
	return wire.AppendReplyContent(nil, wire.Reply{Identity: id, RequestSum: sum, Server: "rogue"}, []byte("payload"))
}

func startRogue(t *testing.T, deed func(net.Conn, []byte, wire.Identity, uint32)) *rogue {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rogue{ln: ln, deed: deed}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); work.Wait() })
	return r
}

func (r *rogue) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		id, sum, err := wire.ParseRequestContent(body)
		if err != nil {
			return
		}
		right := page(200, reply(id, sum), "")
		if r.armed.CompareAndSwap(true, false) {
			r.deed(c, right, id, sum)
			continue
		}
		if _, err := c.Write(right); err != nil {
			return
		}
	}
}

func send(c net.Conn, b ...[]byte) {
	for _, b := range b {
		_, _ = c.Write(b)
	}
}

// What a bad proxy does to one answer.
var (
	forward = func(c net.Conn, right []byte, _ wire.Identity, _ uint32) { send(c, right) }
	drop    = func(net.Conn, []byte, wire.Identity, uint32) {}
	double  = func(c net.Conn, right []byte, _ wire.Identity, _ uint32) { send(c, right, right) }
	corrupt = func(c net.Conn, right []byte, _ wire.Identity, _ uint32) {
		right[len(right)-6] ^= 1
		send(c, right)
	}
	refuse = func(c net.Conn, _ []byte, _ wire.Identity, _ uint32) { send(c, page(503, nil, "")) }
	mixUp  = func(c net.Conn, _ []byte, id wire.Identity, sum uint32) {
		id.Seq++
		send(c, page(200, reply(id, sum), ""))
	}
	invent = func(c net.Conn, right []byte, id wire.Identity, sum uint32) {
		id.Seq += 1 << 20
		send(c, right, page(200, reply(id, sum), ""))
	}
	babble = func(c net.Conn, _ []byte, _ wire.Identity, _ uint32) { send(c, []byte("SSH-2.0\r\n\r\n")) }
	cut    = func(c net.Conn, right []byte, _ wire.Identity, _ uint32) {
		send(c, right[:len(right)-3])
		_ = c.Close()
	}
	reset = func(c net.Conn, _ []byte, _ wire.Identity, _ uint32) {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	hangUp = func(c net.Conn, right []byte, _ wire.Identity, _ uint32) {
		send(c, right)
		_ = c.Close()
	}
	takeLeave = func(c net.Conn, _ []byte, id wire.Identity, sum uint32) {
		send(c, page(200, reply(id, sum), "Connection: close\r\n"))
		_ = c.Close()
	}
)
