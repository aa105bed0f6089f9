package proxy_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// TestTheMostThatMoves has as many connections of HTTP/2 with requests as one batch takes, and nearly as heavy ones: one more makes
// the handover to an older sidecar be given up, and without it all of them move; with one that takes parts they move with many more.
func TestTheMostThatMoves(t *testing.T) {
	const most, bytes = 4096, 7 << 20 // of a batch
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 4*most || raceDetector {
		t.Skipf("it takes %d descriptors, of which there are %d, and no race detector; %v", 4*most, files.Cur, err)
	}
	ws, to := waiting(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	now := first(t, 1, s)
	e := now.Engine
	ask := func(n, padding int) {
		ws.ask(t, addr, n, padding)
		until(t, "the requests are sent", func() bool { return e.Stats().Waiting == uint64(len(ws.conns)) })
	}
	const sample, alike = 50, 4000
	ask(sample, 0)
	ask(alike-sample, bytes*94/100/most-e.WeightHTTP2()/sample)
	rest := most + 1 - http2Conns(e) // and perhaps one more to the server
	ask(rest, (bytes-e.WeightHTTP2())/rest-2*bytes/most)
	over := http2Conns(e) - most
	if weight := e.WeightHTTP2(); over < 1 || weight > bytes || weight < bytes*96/100 {
		t.Fatalf("%d connections more than %d, of %d bytes; want at least one, and nearly %d", over, most, weight, bytes)
	}
	next, given, _ := handOver(t, now, 1, s, 0)
	if given.OK || !strings.Contains(given.Reason, "HTTP/2 connections have requests") {
		t.Fatalf("the handover ended so: %+v", given)
	}
	next.Stop()
	for range over {
		last := len(ws.conns) - 1
		_ = ws.conns[last].Close()
		ws.conns = ws.conns[:last]
	}
	until(t, "they have left", func() bool { return http2Conns(e) == most })
	t.Logf("%d connections of %d bytes move, of at most %d", http2Conns(e), e.WeightHTTP2(), handover.MaxBatchState)
	now = hopAs(t, now, 1, s, 0)
	if moved := now.Stats().Moved; moved != most {
		t.Errorf("%d connections have moved, want %d", moved, most)
	}
	e = now.Engine
	ask(1000, 100)
	now = hop(t, now, 1, s)
	defer now.Stop()
	if moved := now.Stats().Moved; moved < most+1000 {
		t.Errorf("%d connections have moved, want at least %d", moved, most+1000)
	}
	ws.answered(t)
}

// http2Conns is how many connections of HTTP/2 an engine has.
func http2Conns(e *proxy.Engine) (n int) {
	for _, c := range e.Conns() {
		if c.Protocol == "http2" {
			n++
		}
	}
	return n
}
