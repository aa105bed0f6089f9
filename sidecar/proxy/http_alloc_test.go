package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// answerEach answers whenever what has come ends with end, without allocating. One request is in flight at a time.
func answerEach(conn net.Conn, end, answer []byte) {
	defer func() { _ = conn.Close() }()
	in := make([]byte, 64<<10)
	have := 0
	for {
		n, err := conn.Read(in[have:])
		if err != nil {
			return
		}
		if have += n; !bytes.HasSuffix(in[:have], end) {
			continue
		}
		have = 0
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// TestAnHTTPRequestAllocatesNothing counts the system calls, too: head and body go together.
func TestAnHTTPRequestAllocatesNothing(t *testing.T) {
	const fields = "Host: shop.demo:8080\r\nUser-Agent: test\r\nAccept: */*\r\nX-Request-Id: 7f2c1c5e-6a3b-4d7e\r\n"
	body := strings.Repeat("0123456789", 100) + "END!"
	whole := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	chunked := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	const ok = "HTTP/1.1 200 OK\r\nServer: test\r\n"
	cases := map[string]struct{ request, end, answer string }{
		"without a body":       {"GET /a?b=c HTTP/1.1\r\n" + fields + "\r\n", "\r\n\r\n", ok + whole},
		"with a body":          {"POST /a HTTP/1.1\r\n" + fields + whole, "END!", ok + whole},
		"in chunks":            {"POST /a HTTP/1.1\r\n" + fields + chunked, "0\r\n\r\n", ok + chunked},
		"in the absolute form": {"PUT http://shop.demo/a HTTP/1.1\r\n" + fields + whole, "END!", ok + whole},
		"no content":           {"DELETE /a HTTP/1.1\r\n" + fields + "\r\n", "\r\n\r\n", "HTTP/1.1 204 No Content\r\nServer: test\r\n\r\n"},
	}
	plan := planned
	plan.Split, plan.Sticky, plan.Cluster, plan.Fault = nil, "", "shop", &config.Fault{Aborted: config.Fraction{Denominator: 2}, Status: 503}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { allocatesNothing(t, tc.request, tc.end, tc.answer, config.Route{Cluster: "shop"}) })
		t.Run(name+", by a route with a plan", func(t *testing.T) { allocatesNothing(t, tc.request, tc.end, tc.answer, plan) })
	}
}

func allocatesNothing(t *testing.T, text, end, want string, route config.Route) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go answerEach(conn, []byte(end), []byte(want))
		}
	}()
	addr := freePort(t)
	s := httpSnapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort())
	s.Hosts["shop.demo"].Routes[0] = route
	e := started(t, 1, s)
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	request, answer := []byte(text), make([]byte, len(want))
	ask := func(n int) {
		for range n {
			if _, err := conn.Write(request); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, answer); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask(200) // pools fill up
	var before, after runtime.MemStats
	requests := 2000
	if logTo != nil {
		requests = 10_000 // a writer that is late has the loop make entries, 2048 at most, 64 at once
	}
	counted := e.Stats()
	runtime.ReadMemStats(&before)
	ask(requests)
	runtime.ReadMemStats(&after)
	calls := e.Stats()
	if per := float64(after.Mallocs-before.Mallocs) / float64(requests); per > 0.01 {
		t.Errorf("%.3f allocations per request, want 0", per)
	}
	reads, writes := float64(calls.Reads-counted.Reads)/float64(requests), float64(calls.Writes-counted.Writes)/float64(requests)
	if reads > 2.01 || writes > 2.01 {
		t.Errorf("%.2f reads and %.2f writes per request, want one of each on either side", reads, writes)
	}
	if string(answer) != want {
		t.Errorf("answer %q, want %q", answer, want)
	}
}
