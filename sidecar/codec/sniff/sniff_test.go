package sniff

import (
	"slices"
	"testing"
)

func TestNext(t *testing.T) {
	cases := map[string]struct {
		bytes string
		want  Protocol
		after int // bytes that tell
	}{
		"Bolt v1":                 {"\x01\x01\x00\x01", Bolt, 2},
		"Bolt v1, a oneway":       {"\x01\x02\x00\x01", Bolt, 2},
		"Bolt v2":                 {"\x02\x01\x01\x00", Bolt, 3},
		"Bolt v2 with a checksum": {"\x02\x02\x01\x00", Bolt, 3},
		"Bolt of no type":         {"\x01\x03", Other, 2},
		"Bolt v2 of no version":   {"\x02\x03", Other, 2},
		"Dubbo":                   {"\xda\xbb\xc2\x00", Dubbo, 2},
		"almost Dubbo":            {"\xda\xbc", Other, 2},
		"TLS":                     {"\x16\x03\x01", TLS, 2},
		"SSL 2":                   {"\x80\x2e\x01", Other, 1},
		"HTTP/2":                  {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00", HTTP2, 24},
		"almost HTTP/2":           {"PRI * HTTP/2.1", Other, 14},
		"GET":                     {"GET / HTTP/1.1\r\n", HTTP1, 4},
		"PUT":                     {"PUT / HTTP/1.1\r\n", HTTP1, 4},
		"PATCH":                   {"PATCH / HTTP/1.1\r\n", HTTP1, 6},
		"another method":          {"PROPFIND / HTTP/1.1\r\n", Other, 3},
		"a lower-case method":     {"get / HTTP/1.1\r\n", Other, 1},
		"Redis":                   {"*1\r\n$4\r\nPING\r\n", Other, 1},
		"POP, almost POST":        {"POP", Other, 3},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for n := range len(tc.bytes) + 1 {
				got, ok := Next([]byte(tc.bytes[:n]))
				want := tc.want
				if n < tc.after {
					want = Other
				}
				if got != want || ok != (n >= tc.after) {
					t.Fatalf("after %d bytes: %d, %v; want %d, %v", n, got, ok, want, n >= tc.after)
				}
			}
		})
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	f.Add([]byte("\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := Next(b)
		if !ok && (got != Other || len(b) >= len(preface)) {
			t.Errorf("%d, %v after %d bytes", got, ok, len(b))
		}
		if more, sure := Next(append(slices.Clip(b), 'x')); ok && (more != got || !sure) {
			t.Errorf("%d, and with one byte more %d", got, more)
		}
	})
}
