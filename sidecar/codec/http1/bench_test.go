package http1_test

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/axlemesh/axle/sidecar/codec/http1"
)

var (
	ordinaryRequest = []byte(crlf("GET /api/v1/orders/12345?expand=items HTTP/1.1\nHost: orders.shop.svc.cluster.local:8080\n" +
		"User-Agent: okhttp/4.12.0\nAccept: application/json\nAccept-Encoding: gzip\nConnection: keep-alive\n" +
		"X-Request-Id: 7f3c2a9e-5f6b-4b0e-9a7e-0d5a2f6f1c11\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n\n"))
	ordinaryResponse = []byte(crlf("HTTP/1.1 200 OK\nDate: Mon, 01 Jan 2024 00:00:00 GMT\nContent-Type: application/json\n" +
		"Content-Length: 128\nCache-Control: no-store\nServer: x\nVary: Accept-Encoding\n\n"))
	chunkedBody = []byte(strings.Repeat("400\r\n"+strings.Repeat("x", 1024)+"\r\n", 16) + "0\r\n\r\n")
)

// TestAllocations: reading, looking up and forwarding messages of ordinary size allocates nothing, and a large head only
// the first time.
func TestAllocations(t *testing.T) {
	var request http1.Request
	var response http1.Response
	large := []byte("GET / HTTP/1.1\r\n" + host + strings.Repeat("A: b\r\n", 200) + "\r\n")
	out := make([]byte, 0, 16<<10)
	forward := &http1.Forward{Via: "axle", For: "10.0.0.1"}
	chunked := decoded(t, ch).Body
	type step struct {
		name string
		do   func() error
	}
	for _, s := range []step{ // each may build on those before it
		{"a request", func() error { _, err := request.Decode(ordinaryRequest, http1.Limits{}); return err }},
		{"a look-up", func() error { request.Value("traceparent"); request.Listed("accept-encoding", "gzip"); return nil }},
		{"a request that is forwarded", func() error { out = request.AppendForward(out[:0], forward); return nil }},
		{"a response", func() error {
			_, err := response.Decode(ordinaryResponse, http1.Limits{}, request.Exchange())
			return err
		}},
		{"a response that is forwarded", func() error {
			out = response.AppendForward(out[:0], http1.Exchange{Minor: 1}, "axle")
			return nil
		}},
		{"a large request", func() error { _, err := request.Decode(large, http1.Limits{}); return err }},
		{"a large request that is forwarded", func() error { out = request.AppendForward(out[:0], forward); return nil }},
		{"a body", func() error { body := chunked; _, err := body.Take(chunkedBody); return err }},
		{"a state", func() error {
			out = chunked.AppendBinary(out[:0])
			_, _, err := http1.ParseBody(out)
			return err
		}},
		{"a reply", func() error { out = http1.AppendReply(out[:0], 503, 1, false); return nil }},
	} {
		if n := testing.AllocsPerRun(100, func() {
			if err := s.do(); err != nil {
				t.Fatal(s.name, err)
			}
		}); n != 0 {
			t.Errorf("%s allocates %.0f times", s.name, n)
		}
	}
}

func decoded(t testing.TB, head string) *http1.Request {
	t.Helper()
	var r http1.Request
	if _, err := r.Decode([]byte(head), http1.Limits{}); err != nil {
		t.Fatal(err)
	}
	return &r
}

func BenchmarkRequest(b *testing.B) {
	var r http1.Request
	b.ReportAllocs()
	b.SetBytes(int64(len(ordinaryRequest)))
	for b.Loop() {
		if _, err := r.Decode(ordinaryRequest, http1.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRequestNetHTTP(b *testing.B) {
	in, source := bufio.NewReader(nil), bytes.NewReader(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(ordinaryRequest)))
	for b.Loop() {
		source.Reset(ordinaryRequest)
		in.Reset(source)
		if _, err := http.ReadRequest(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkForwardRequest(b *testing.B) {
	r := decoded(b, string(ordinaryRequest))
	out := make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		out = r.AppendForward(out[:0], &http1.Forward{})
	}
}

func BenchmarkResponse(b *testing.B) {
	var r http1.Response
	out := make([]byte, 0, 4<<10)
	x := http1.Exchange{Minor: 1, KeepAlive: true}
	b.ReportAllocs()
	b.SetBytes(int64(len(ordinaryResponse)))
	for b.Loop() {
		if _, err := r.Decode(ordinaryResponse, http1.Limits{}, x); err != nil {
			b.Fatal(err)
		}
		out = r.AppendForward(out[:0], x, "")
	}
}

func BenchmarkChunkedBody(b *testing.B) {
	start := decoded(b, ch).Body
	b.ReportAllocs()
	b.SetBytes(int64(len(chunkedBody)))
	for b.Loop() {
		body := start
		if n, err := body.Take(chunkedBody); err != nil || n != len(chunkedBody) {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkDribble is a client that sends a head byte by byte.
func BenchmarkDribble(b *testing.B) {
	for b.Loop() {
		var r http1.Request
		for n := range len(ordinaryRequest) {
			if _, err := r.Decode(ordinaryRequest[:n], http1.Limits{}); err != http1.ErrShort { //nolint:errorlint // it is not wrapped
				b.Fatal(err)
			}
		}
	}
}
