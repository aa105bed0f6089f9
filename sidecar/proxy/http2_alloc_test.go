package proxy_test

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/axlemesh/axle/sidecar/config"
)

// answerEach2 answers every request that has ended, without allocating.
func answerEach2(conn net.Conn, answer []byte) {
	defer func() { _ = conn.Close() }()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	greet := newHTTP2Script()
	_ = greet.WriteSettings()
	_ = greet.WriteWindowUpdate(0, 1<<30)
	if _, err := conn.Write(greet.Bytes()); err != nil {
		return
	}
	in, out := make([]byte, 256<<10), make([]byte, 0, 256<<10)
	have := 0
	for {
		n, err := conn.Read(in[have:])
		if err != nil {
			return
		}
		have += n
		at := 0
		for have-at >= 9 {
			size := 9 + int(binary.BigEndian.Uint32(in[at:])>>8)
			if have-at < size {
				break
			}
			if kind := in[at+3]; kind <= 1 && in[at+4]&1 == 1 {
				from := len(out)
				for out = append(out, answer...); from < len(out); from += 9 + int(binary.BigEndian.Uint32(out[from:])>>8) {
					copy(out[from+5:], in[at+5:at+9])
				}
			}
			at += size
		}
		have = copy(in, in[at:have])
		if _, err := conn.Write(out); err != nil {
			return
		}
		out = out[:0]
	}
}

// TestAnHTTP2RequestAllocatesNothing counts the system calls, too: what streams of one connection send goes together.
func TestAnHTTP2RequestAllocatesNothing(t *testing.T) {
	plan := planned // limits, retries whose requests are kept, header changes, another host and path
	plan.Split, plan.Sticky, plan.Cluster, plan.Fault = nil, "", "shop", nil
	for name, route := range map[string]config.Route{"plain": {Cluster: "shop"}, "by a route with a plan": plan} {
		t.Run(name, func(t *testing.T) { http2AllocatesNothing(t, route) })
	}
}

func http2AllocatesNothing(t *testing.T, route config.Route) {
	t.Helper()
	body := []byte(strings.Repeat("0123456789", 100))
	for name, trailers := range map[string]bool{"a body at the end": false, "trailers at the end": true} {
		once := newHTTP2Script() // without a dynamic table: each time the same bytes
		once.hpack.SetMaxDynamicTableSize(0)
		once.headers(1, false, 0, ":status= 200", "content-type= application/grpc", "server= test")
		_ = once.WriteData(1, !trailers, body)
		if trailers {
			once.headers(1, true, 0, "grpc-status= 0", "grpc-message= ")
		}
		t.Run(name, func(t *testing.T) { http2Costs(t, body, once.Bytes(), route) })
	}
}

// http2Costs has requests with a body, which the route takes, answered so.
func http2Costs(t *testing.T, body, answer []byte, route config.Route) {
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
			go answerEach2(conn, answer)
		}
	}()
	addr := freePort(t)
	s := http2Snapshot(addr, ln.Addr().(*net.TCPAddr).AddrPort())
	s.Hosts["shop.demo"].Routes[0] = route
	e := started(t, 1, s)
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	hello := newHTTP2Script()
	hello.WriteString(http2.ClientPreface)
	_ = hello.WriteSettings()
	_ = hello.WriteWindowUpdate(0, 1<<30)
	if _, err := conn.Write(hello.Bytes()); err != nil {
		t.Fatal(err)
	}
	request := newHTTP2Script()
	request.hpack.SetMaxDynamicTableSize(0)
	request.headers(1, false, 0, ":method= POST", ":scheme= http", ":authority= shop.demo", ":path= /a.b.C/Say", "content-type= application/grpc", "te= trailers")
	_ = request.WriteData(1, true, body)
	const streams = 32
	id := uint32(1)
	batch := make([]byte, 0, streams*request.Len())
	in := make([]byte, 64<<10)
	ask := func(n int) {
		for range n {
			batch = batch[:0]
			for range streams {
				from := len(batch)
				batch = append(batch, request.Bytes()...)
				second := from + 9 + int(binary.BigEndian.Uint32(batch[from:])>>8)
				binary.BigEndian.PutUint32(batch[from+5:], id)
				binary.BigEndian.PutUint32(batch[second+5:], id)
				id += 2
			}
			if _, err := conn.Write(batch); err != nil {
				t.Fatal(err)
			}
			for ended := 0; ended < streams; {
				ended += readEnds(t, conn, in)
			}
		}
	}
	ask(30) // pools fill up
	var before, after runtime.MemStats
	const rounds = 100
	counted := e.Stats()
	runtime.ReadMemStats(&before)
	ask(rounds)
	runtime.ReadMemStats(&after)
	calls := e.Stats()
	per := float64(after.Mallocs-before.Mallocs) / rounds / streams
	reads, writes := float64(calls.Reads-counted.Reads)/rounds/streams, float64(calls.Writes-counted.Writes)/rounds/streams
	t.Logf("%.3f allocations, %.3f reads and %.3f writes per request", per, reads, writes)
	if per > 0.02 {
		t.Errorf("%.3f allocations per request, want 0", per)
	}
	if reads > 0.25 || writes > 0.25 {
		t.Errorf("%.2f reads and %.2f writes per request, want few", reads, writes)
	}
}

// readEnds reads one frame and says how many streams it ends.
func readEnds(t *testing.T, conn net.Conn, in []byte) int {
	t.Helper()
	if _, err := io.ReadFull(conn, in[:9]); err != nil {
		t.Fatal(err)
	}
	size := int(binary.BigEndian.Uint32(in) >> 8)
	kind, flags := in[3], in[4]
	if _, err := io.ReadFull(conn, in[:size]); err != nil {
		t.Fatal(err)
	}
	switch {
	case kind == 3 || kind == 7:
		t.Fatalf("a reset: %x", in[:size])
	case kind <= 1 && flags&1 == 1:
		return 1
	}
	return 0
}
