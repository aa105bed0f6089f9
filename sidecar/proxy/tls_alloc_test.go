package proxy_test

import (
	"crypto/tls"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// secureConn is a connection to an engine with TLS on both sides, and by now it has everything it needs.
func secureConn(tb testing.TB, version uint16, answer []byte) net.Conn {
	tb.Helper()
	a := newAuthority(tb)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", a.server(version))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go answerAll(conn, len(ruledRequest))
		}
	}()
	addr := freePort(tb)
	s := snapshot(addr, &server{addr: ln.Addr().(*net.TCPAddr).AddrPort()})
	s.Clusters["echo"].ConnectTimeout = 10 * time.Second
	e, _ := newEngine(tb, 1, 1)
	tb.Cleanup(e.Stop)
	if err := e.Apply(secure(s, a)); err != nil {
		tb.Fatal(err)
	}
	e.Serve()
	conn, err := tls.Dial("tcp", addr.String(), a.client(version))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	exchange(tb, conn, ruledRequest, answer, 200)
	if secured := len(e.Conns()); secured != 2 || e.Conns()[0].TLS == "" || e.Stats().Requests[config.Outbound] != 200 {
		tb.Fatalf("%d connections", secured)
	}
	return conn
}

func TestARequestUnderTLSAllocatesNothing(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			answer := make([]byte, len(ruledRequest)-2)
			conn := secureConn(t, version, answer)
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			var before, after runtime.MemStats
			const requests = 5000
			runtime.ReadMemStats(&before)
			exchange(t, conn, ruledRequest, answer, requests)
			runtime.ReadMemStats(&after)
			// crypto/tls allocates once for each read, at both peers; under the race detector its pools forget much besides.
			const peers, forgotten = 2, 3
			if per := float64(after.Mallocs-before.Mallocs)/requests - peers; per > 0.05 && (!raceDetector || per > forgotten) {
				t.Errorf("%.3f allocations per request, want 0", per)
			}
		})
	}
}

// BenchmarkRequestUnderTLS is one request after the other, peers and kernel included.
func BenchmarkRequestUnderTLS(b *testing.B) {
	for name, version := range versions {
		b.Run(name, func(b *testing.B) {
			answer := make([]byte, len(ruledRequest)-2)
			conn := secureConn(b, version, answer)
			b.ReportAllocs()
			b.ResetTimer()
			exchange(b, conn, ruledRequest, answer, b.N)
		})
	}
}
