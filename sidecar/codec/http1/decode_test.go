package http1_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/http1"
)

// sessions are what clients and endpoints say, and how it is to be read. The other tests reuse their bytes.
var sessions = map[string]struct {
	responses bool
	asked     []http1.Exchange
	bytes     string
	want      []string
}{
	"one request at a time": {
		bytes: get + "\r\n" + "POST /b?q HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nhello\r\nHEAD * HTTP/1.1\r\n",
		want: []string{
			`request GET form 0 a.example "/" 1.1 exchange {Head:false Connect:false Upgrade:false KeepAlive:true Minor:1} continues false body 0`,
			`  Host: a.example`, `body "" content ""`,
			`request POST form 0 a.example "/b?q" 1.1 exchange {Head:false Connect:false Upgrade:false KeepAlive:true Minor:1} continues false body 1`,
			`  Host: a.example`, `  Content-Length: 5`, `body "hello" content "hello"`,
			`error 400 an asterisk for another method than OPTIONS at 105 (9112 3.2.4)`,
			`unread "\r\nHEAD * HTTP/1.1\r\n"`,
		},
	},
	"HTTP/1.0": {
		bytes: "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nPOST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
		want: []string{
			`request GET form 0  "/" 1.0 exchange {Head:false Connect:false Upgrade:false KeepAlive:true Minor:0} continues false body 0`,
			`  Connection: Keep-Alive`, `body "" content ""`,
			`request POST form 0  "/" 1.0 exchange {Head:false Connect:false Upgrade:false KeepAlive:false Minor:0} continues false body 1`,
			`  Expect: 100-continue`, `  Content-Length: 1`, `body "x" content "x"`, `unread ""`,
		},
	},
	"chunks with extensions and trailers": {
		bytes: ch + "5;a;b=c; d = \"e;\\\"\"\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1 2\t\r\nVia: 1.1 x\r\n\r\n" + get + "\r\n",
		want: []string{
			`request POST form 0 a.example "/" 1.1 exchange {Head:false Connect:false Upgrade:false KeepAlive:true Minor:1} continues false body 2`,
			`  Host: a.example`, `  Transfer-Encoding: chunked`,
			`body "5;a;b=c; d = \"e;\\\"\"\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1 2\t\r\nVia: 1.1 x\r\n\r\n" content "hello0123456789"`,
			`request GET form 0 a.example "/" 1.1 exchange {Head:false Connect:false Upgrade:false KeepAlive:true Minor:1} continues false body 0`,
			`  Host: a.example`, `body "" content ""`, `unread ""`,
		},
	},
	"an upload that waits to be asked for": {
		bytes: post + "Expect: 100-Continue\r\nConnection: close\r\nContent-Length: 3\r\n\r\nab",
		want: []string{
			`request POST form 0 a.example "/" 1.1 exchange {Head:false Connect:false Upgrade:false KeepAlive:false Minor:1} continues true body 1`,
			`  Host: a.example`, `  Expect: 100-Continue`, `  Connection: close`, `  Content-Length: 3`,
			`still body "ab" content "ab"`, `unread ""`,
		},
	},
	"a WebSocket": {
		bytes: get + "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
		want: []string{
			`request GET form 0 a.example "/" 1.1 exchange {Head:false Connect:false Upgrade:true KeepAlive:true Minor:1} continues false body 0`,
			`  Host: a.example`, `  Upgrade: websocket`, `  Connection: keep-alive, Upgrade`, `  Sec-WebSocket-Version: 13`,
			`body "" content ""`, `unread ""`,
		},
	},
	"an upgrade to HTTP/2, which is not offered": {
		bytes: get + "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
		want: []string{
			`request GET form 0 a.example "/" 1.1 exchange {Head:false Connect:false Upgrade:false KeepAlive:true Minor:1} continues false body 0`,
			`  Host: a.example`, `  Upgrade: h2c`, `  Connection: Upgrade, HTTP2-Settings`, `  HTTP2-Settings: AAMAAABk`,
			`body "" content ""`, `unread ""`,
		},
	},
	"a tunnel": {
		bytes: "CONNECT [::1]:443 HTTP/1.1\r\nHost: other\r\n\r\n\x16\x03\x01",
		want: []string{
			`request CONNECT form 2 [::1]:443 "" 1.1 exchange {Head:false Connect:true Upgrade:false KeepAlive:true Minor:1} continues false body 0`,
			`  Host: other`, `body "" content ""`, `unread "\x16\x03\x01"`,
		},
	},
	"as to a proxy": {
		bytes: "GET http://b.example:80/c?d HTTP/1.1\r\n" + host + "\r\nOPTIONS HTTP://b.example HTTP/1.1\r\n" + host + "\r\nOPTIONS * HTTP/1.1\r\n" + host + "\r\n",
		want: []string{
			`request GET form 1 b.example:80 "/c?d" 1.1 exchange {Head:false Connect:false Upgrade:false KeepAlive:true Minor:1} continues false body 0`,
			`  Host: a.example`, `body "" content ""`,
			`request OPTIONS form 1 b.example "" 1.1 exchange {Head:false Connect:false Upgrade:false KeepAlive:true Minor:1} continues false body 0`,
			`  Host: a.example`, `body "" content ""`,
			`request OPTIONS form 3 a.example "*" 1.1 exchange {Head:false Connect:false Upgrade:false KeepAlive:true Minor:1} continues false body 0`,
			`  Host: a.example`, `body "" content ""`, `unread ""`,
		},
	},
	"odd but allowed": {
		bytes: "\r\nM-SEARCH /{a}|\"b\" HTTP/1.9\r\nhOST:\r\nA:\t b \xff\t c \t\r\nEmpty: \r\nTransfer-Encoding:, ChunkeD ,\r\n\r\n0\r\n\r\n",
		want: []string{
			`request M-SEARCH form 0  "/{a}|\"b\"" 1.1 exchange {Head:false Connect:false Upgrade:false KeepAlive:true Minor:1} continues false body 2`,
			"  hOST: ", "  A: b \xff\t c", "  Empty: ", "  Transfer-Encoding: , ChunkeD ,",
			`body "0\r\n\r\n" content ""`, `unread ""`,
		},
	},
	"responses": {
		responses: true,
		asked:     []http1.Exchange{{Minor: 1}, {Minor: 1, Head: true}, {Minor: 1}, {Minor: 1}, {Minor: 1}, {Minor: 1}, {Minor: 1}},
		bytes: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" +
			"HTTP/1.1 200 \r\nContent-Length: 1000\r\n\r\n" + "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"HTTP/1.1 204\r\nContent-Length: 7\r\n\r\n" + "HTTP/1.1 999 Request denied\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" +
			"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nHTTP/1.0 200 OK\r\n\r\nuntil the end\r\n",
		want: []string{
			`response 1.1 100 "Continue" body 0 interim true reusable true`, `body "" content ""`,
			`response 1.1 103 "Early Hints" body 0 interim true reusable true`, `  Link: x`, `body "" content ""`,
			`response 1.1 200 "OK" body 1 interim false reusable true`, `  Content-Length: 2`, `body "ok" content "ok"`,
			`response 1.1 200 "" body 0 interim false reusable true`, `  Content-Length: 1000`, `body "" content ""`,
			`response 1.1 304 "Not Modified" body 0 interim false reusable true`, `  Transfer-Encoding: chunked`, `body "" content ""`,
			`response 1.1 204 "" body 0 interim false reusable true`, `  Content-Length: 7`, `body "" content ""`,
			`response 1.1 999 "Request denied" body 0 interim false reusable false`, `  Connection: close`, `  Content-Length: 0`, `body "" content ""`,
			`response 1.1 200 "OK" body 2 interim false reusable true`, `  Transfer-Encoding: chunked`, `body "1\r\nx\r\n0\r\n\r\n" content "x"`,
			`response 1.0 200 "OK" body 3 interim false reusable false`,
			`still body "until the end\r\n" content "until the end\r\n"`, `unread ""`,
		},
	},
	"a protocol is changed": {
		responses: true,
		asked:     []http1.Exchange{{Minor: 1, Upgrade: true}},
		bytes:     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello",
		want: []string{
			`response 1.1 101 "Switching Protocols" body 4 interim false reusable false`, `  Upgrade: websocket`, `  Connection: Upgrade`,
			`still body "\x81\x05hello" content "\x81\x05hello"`, `unread ""`,
		},
	},
	"a tunnel opens": {
		responses: true,
		asked:     []http1.Exchange{{Minor: 1, Connect: true}, {Minor: 1, Connect: true}},
		bytes:     "HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\n\x16\x03",
		want: []string{
			`response 1.1 407 "No" body 1 interim false reusable true`, `  Content-Length: 1`, `body "x" content "x"`,
			`response 1.1 200 "OK" body 4 interim false reusable false`, `  Content-Length: 5`, `  Transfer-Encoding: gzip`,
			`still body "\x16\x03" content "\x16\x03"`, `unread ""`,
		},
	},
}

func TestDecode(t *testing.T) {
	for name, tc := range sessions {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, whole(t, tc.responses, tc.asked, []byte(tc.bytes))); diff != "" {
				t.Errorf("session (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFreezeAtEveryByte moves each session to another process at each of its bytes, and once behind every byte.
func TestFreezeAtEveryByte(t *testing.T) {
	for name, tc := range sessions {
		t.Run(name, func(t *testing.T) {
			b := []byte(tc.bytes)
			always := &session{responses: tc.responses, asked: tc.asked}
			for at := range b {
				s := &session{responses: tc.responses, asked: tc.asked}
				s.feed(t, b[:at])
				s = s.frozen(t)
				s.feed(t, b[at:])
				if diff := cmp.Diff(tc.want, s.finish()); diff != "" {
					t.Fatalf("frozen before byte %d (-want +got):\n%s", at, diff)
				}
				always.feed(t, b[at:at+1])
				always = always.frozen(t)
			}
			if diff := cmp.Diff(tc.want, always.finish()); diff != "" {
				t.Errorf("frozen behind every byte (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnreadIsBounded feeds what never ends: what the codec leaves unread must not grow.
func TestUnreadIsBounded(t *testing.T) {
	for _, start := range []string{"", "GET /", get, get + "A: ", ch, ch + "5;", ch + "5;a=\"", ch + "0\r\n", ch + "0\r\nA: "} {
		for _, more := range []string{"a", " ", "0", "\t"} {
			s := &session{}
			s.feed(t, []byte(start))
			for n := 0; n < 70<<10 && !s.ended; n += 97 {
				for range 97 {
					s.unread = append(s.unread, more...)
				}
				s.feed(t, nil)
			}
			if !s.ended && len(s.unread) > 0 {
				t.Errorf("%q and then %q without end: %d bytes are unread", start, more, len(s.unread))
			}
		}
	}
}

// TestMore sends heads byte by byte to a Request that starts over each time: few of those times are needed.
func TestMore(t *testing.T) {
	cases := map[string]struct {
		head    string
		decodes int
		status  int
	}{
		"complete":                 {get + "A: b\r\n\r\n", 5, 0},
		"no HTTP":                  {"\x16\x03\x01", 1, 400},
		"a line feed too many":     {"GET / HTTP/1.1\n", 2, 400},
		"a line without end":       {"GET /" + strings.Repeat("a", 1<<16), 2, 414},
		"a field without end":      {get + "A: " + strings.Repeat("a", 1<<16), 5, 431},
		"as many lines as allowed": {get + strings.Repeat("A: b\r\n", 255) + "\r\n", 259, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var r http1.Request
			head := []byte(tc.head)
			decodes, seen := 0, 0
			for n := 1; n <= len(head); n++ {
				if !(http1.Limits{}).More(head[:n], seen) {
					continue
				}
				r.Reset()
				decodes++
				took, err := r.Decode(head[:n], http1.Limits{})
				if seen = n; errors.Is(err, http1.ErrShort) {
					continue
				}
				var format *http1.FormatError
				if errors.As(err, &format); tc.status == 0 && took != len(head) || tc.status != 0 && format.Status != tc.status {
					t.Errorf("took %d, %v", took, err)
				}
				if decodes != tc.decodes {
					t.Errorf("decoded %d times, want %d", decodes, tc.decodes)
				}
				return
			}
			t.Errorf("no verdict on %d bytes", len(head))
		})
	}
}

func TestStates(t *testing.T) {
	var good [][]byte
	for _, tc := range sessions {
		s := &session{responses: tc.responses, asked: tc.asked}
		for i := range len(tc.bytes) {
			s.feed(t, []byte(tc.bytes[i:i+1]))
			good = append(good, s.body.AppendBinary(nil))
		}
	}
	for _, b := range good {
		for n := range b {
			if s, _, err := http1.ParseBody(b[:n]); !errors.Is(err, http1.ErrState) {
				t.Fatalf("the first %d bytes of % x: %+v, %v", n, b, s, err)
			}
		}
	}
	for name, b := range map[string][]byte{
		"another version": {2, 0, 0, 0, 0}, "an unknown kind": {1, 5, 0, 0, 0}, "a step of no body": {1, 0, 1, 0, 0},
		"bytes of no body": {1, 0, 0, 1, 0}, "an unknown step": {1, 2, 5, 0, 0}, "a chunk without bytes": {1, 2, 1, 0, 0},
		"bytes outside a chunk": {1, 2, 0, 1, 0}, "too many trailers": {1, 2, 3, 0, 0xff, 0xff, 0x3},
		"too large": {1, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0},
	} {
		if s, _, err := http1.ParseBody(b); !errors.Is(err, http1.ErrState) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	for name, b := range map[string][]byte{"short": {1, 0}, "version": {2, 0, 0}, "flags": {1, 16, 0}, "minor": {1, 0, 2}} {
		if x, _, err := http1.ParseExchange(b); !errors.Is(err, http1.ErrState) {
			t.Errorf("%s: %+v, %v", name, x, err)
		}
	}
	for flags := range byte(16) {
		x, rest, err := http1.ParseExchange([]byte{1, flags, 1, 'r'})
		if b := x.AppendBinary(nil); err != nil || string(rest) != "r" || b[1] != flags {
			t.Errorf("flags %d came back as %d, rest %q, %v", flags, b[1], rest, err)
		}
	}
}

func TestLookup(t *testing.T) {
	var r http1.Request
	b := []byte(get + "A: 1\r\na: 2\r\nAccept: x, Y ,,z\r\naccept: w\r\n\r\n")
	if _, err := r.Decode(b, http1.Limits{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "1", "A": "1", "HOST": "a.example", "b": "-", "": "-"} {
		value, ok := r.Value(name)
		if !ok {
			value = []byte("-")
		}
		if string(value) != want {
			t.Errorf("%q is %q, want %q", name, value, want)
		}
	}
	for member, want := range map[string]bool{"x": true, "y": true, "z": true, "w": true, "": false, "xy": false} {
		if got := r.Listed("Accept", member); got != want {
			t.Errorf("Accept lists %q: %v", member, got)
		}
	}
}
