package http2

import "testing"

// BenchmarkHeads is what the heads of a call of gRPC and its trailers cost on their way: each is read, judged and written, and
// all but the first time everything is in the tables.
func BenchmarkHeads(b *testing.B) {
	s := newScript(true)
	heads := [][]string{
		{
			":method: POST", ":scheme: http", ":path: /shop.Cart/Add", ":authority: shop.demo", "content-type: application/grpc", "te: trailers",
			"user-agent: grpc-go/1.70.0", "grpc-accept-encoding: gzip", "x-request-id: 7f2c1c5e-6a3b-4d7e-9a51-0c1f2e3d4b5a",
		},
		{":status: 200", "content-type: application/grpc", "date: Sun, 22 Nov 2026 12:00:00 GMT"},
		{"grpc-status: 0", "grpc-message: "},
	}
	d, e := decoder{table{max: tableSize}}, encoder{table: table{max: tableSize}}
	var f Fields
	checks := []func(*Fields) bool{(*Fields).checkRequest, (*Fields).checkResponse, (*Fields).checkTrailers}
	var blocks [3][]byte
	out := make([]byte, 0, 1<<10)
	pass := func() {
		for i, block := range blocks {
			f.Reset()
			if err := d.decode(block, &f); err != nil || !checks[i](&f) {
				b.Fatalf("head %d: error %v, or it is refused", i, err)
			}
			out = e.append(out[:0], &f)
		}
	}
	for range 2 {
		for i := range heads {
			blocks[i] = append([]byte(nil), s.fields(heads[i]...)...)
		}
		pass()
	}
	b.ReportAllocs()
	for b.Loop() {
		pass()
	}
}
