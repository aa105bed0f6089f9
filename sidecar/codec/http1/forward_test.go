package http1_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/http1"
)

// crlf writes a head with line ends as people read them.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestForwardRequest(t *testing.T) {
	cases := map[string]struct {
		forward  http1.Forward
		in, want string
	}{
		"nothing to change": {
			in:   "GET /a?b HTTP/1.1\nHost: a\nX:  y \nCookie: c\n\n",
			want: "GET /a?b HTTP/1.1\nHost: a\nX:  y \nCookie: c\n\n",
		},
		"fields for this connection": {
			in:   "GET / HTTP/1.1\nA: 1\nConnection: keep-alive, X-Hop\nHost: a\nKeep-Alive: 5\nProxy-Connection: keep-alive\nx-hop: 2\nTE: gzip\nB: 3\n\n",
			want: "GET / HTTP/1.1\nA: 1\nHost: a\nB: 3\n\n",
		},
		"what frames and routes cannot be made to vanish": {
			in:   "POST / HTTP/1.1\nHost: a\nContent-Length: 5\nConnection: content-length, host, x\nX: y\n\n",
			want: "POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\n",
		},
		"chunks": {
			in:   "POST / HTTP/1.1\nHost: a\nTransfer-Encoding:,CHUNKED\nTrailer: x\nConnection: transfer-encoding\n\n",
			want: "POST / HTTP/1.1\nHost: a\nTrailer: x\nTransfer-Encoding: chunked\n\n",
		},
		"trailers are welcome": {
			in:   "GET / HTTP/1.1\nHost: a\nTE: gzip, Trailers\nConnection: TE\n\n",
			want: "GET / HTTP/1.1\nHost: a\nTE: trailers\nConnection: te\n\n",
		},
		"an upgrade": {
			in:   "GET / HTTP/1.1\nHost: a\nConnection: Upgrade, TE\nUpgrade: websocket\nTE: trailers\n\n",
			want: "GET / HTTP/1.1\nHost: a\nUpgrade: websocket\nTE: trailers\nConnection: te, upgrade\n\n",
		},
		"an upgrade only": {
			in:   "GET / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\n\n",
			want: "GET / HTTP/1.1\nHost: a\nUpgrade: websocket\nConnection: upgrade\n\n",
		},
		"an upgrade that nobody may follow": {
			in:   "GET / HTTP/1.1\nHost: a\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: A\n\n",
			want: "GET / HTTP/1.1\nHost: a\n\n",
		},
		"an upgrade that nobody may follow among others": {
			in:   "GET / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket, h2c\n\n",
			want: "GET / HTTP/1.1\nHost: a\n\n",
		},
		"an upgrade in HTTP/1.0, which has none": {
			in:   "GET / HTTP/1.0\nHost: a\nConnection: Upgrade\nUpgrade: websocket\n\n",
			want: "GET / HTTP/1.1\nHost: a\n\n",
		},
		"HTTP/1.0": {
			forward: http1.Forward{Host: "default"},
			in:      "POST / HTTP/1.0\nContent-Length: 1\nExpect: 100-continue\nConnection: keep-alive\n\n",
			want:    "POST / HTTP/1.1\nHost: default\nContent-Length: 1\n\n",
		},
		"to be asked for": {
			in:   "POST / HTTP/1.1\nHost: a\nContent-Length: 1\nExpect: 100-continue\n\n",
			want: "POST / HTTP/1.1\nHost: a\nContent-Length: 1\nExpect: 100-continue\n\n",
		},
		"a URI": {
			in:   "GET http://b:1/c?d HTTP/1.1\nX: y\nHost: a\nZ: z\n\n",
			want: "GET /c?d HTTP/1.1\nHost: b:1\nX: y\nZ: z\n\n",
		},
		"a URI whose host is the Host": {
			in:   "GET http://a/c HTTP/1.1\nX: y\nHost: a\n\n",
			want: "GET /c HTTP/1.1\nX: y\nHost: a\n\n",
		},
		"a URI without a path":               {in: "GET http://a HTTP/1.1\nHost: a\n\n", want: "GET / HTTP/1.1\nHost: a\n\n"},
		"a URI with a query only":            {in: "GET http://a?b HTTP/1.1\nHost: a\n\n", want: "GET /?b HTTP/1.1\nHost: a\n\n"},
		"a URI without a path for OPTIONS":   {in: "OPTIONS http://a HTTP/1.1\nHost: a\n\n", want: "OPTIONS * HTTP/1.1\nHost: a\n\n"},
		"an asterisk":                        {in: "OPTIONS * HTTP/1.1\nHost: a\n\n", want: "OPTIONS * HTTP/1.1\nHost: a\n\n"},
		"a tunnel through another proxy":     {in: "CONNECT b:443 HTTP/1.1\nHost: a\n\n", want: "CONNECT b:443 HTTP/1.1\nHost: b:443\n\n"},
		"one hop less":                       {in: "TRACE / HTTP/1.1\nHost: a\nMax-Forwards: 10\n\n", want: "TRACE / HTTP/1.1\nHost: a\nMax-Forwards: 9\n\n"},
		"hops of a method that counts none":  {in: "GET / HTTP/1.1\nHost: a\nMax-Forwards: 10\n\n", want: "GET / HTTP/1.1\nHost: a\nMax-Forwards: 10\n\n"},
		"an empty line before the request":   {in: "\nGET / HTTP/1.1\nHost: a\n\n", want: "GET / HTTP/1.1\nHost: a\n\n"},
		"the last field is for this hop":     {in: "GET / HTTP/1.1\nHost: a\nTE:\n\n", want: "GET / HTTP/1.1\nHost: a\n\n"},
		"every field is for this connection": {in: "GET / HTTP/1.0\nTE:\nConnection: close\n\n", want: "GET / HTTP/1.1\nHost: \n\n"},
		"who was here": {
			forward: http1.Forward{Via: "axle", For: "10.0.0.1"},
			in:      "GET / HTTP/1.1\nVia: 1.0 x\nX-Forwarded-For: 1.1.1.1\nHost: a\nX-Forwarded-For: 2.2.2.2\n\n",
			want:    "GET / HTTP/1.1\nVia: 1.0 x\nHost: a\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.1\nVia: 1.1 axle\n\n",
		},
		"the first to be here": {
			forward: http1.Forward{Via: "axle", For: "10.0.0.1"},
			in:      "GET / HTTP/1.0\nHost: a\n\n",
			want:    "GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 10.0.0.1\nVia: 1.0 axle\n\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var r http1.Request
			if _, err := r.Decode([]byte(crlf(tc.in)), http1.Limits{}); err != nil {
				t.Fatal(err)
			}
			got := r.AppendForward([]byte("before"), &tc.forward)
			if diff := cmp.Diff("before"+crlf(tc.want), string(got)); diff != "" {
				t.Errorf("head (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMaxForwards(t *testing.T) {
	for head, want := range map[string]struct {
		n  uint64
		ok bool
	}{
		"TRACE / HTTP/1.1\nHost: a\nMax-Forwards: 0\n\n":   {0, true},
		"OPTIONS * HTTP/1.1\nHost: a\nMax-Forwards: 3\n\n": {3, true},
		"OPTIONS * HTTP/1.1\nHost: a\nMax-Forwards: x\n\n": {0, false},
		"OPTIONS * HTTP/1.1\nHost: a\n\n":                  {0, false},
		"GET / HTTP/1.1\nHost: a\nMax-Forwards: 0\n\n":     {0, false},
	} {
		var r http1.Request
		if _, err := r.Decode([]byte(crlf(head)), http1.Limits{}); err != nil {
			t.Fatal(err)
		}
		if n, ok := r.MaxForwards(); n != want.n || ok != want.ok {
			t.Errorf("%q: %d %v, want %+v", head, n, ok, want)
		}
	}
}

func TestForwardResponse(t *testing.T) {
	alive := http1.Exchange{Minor: 1, KeepAlive: true}
	cases := map[string]struct {
		x        http1.Exchange
		via      string
		in, want string
		delivery http1.Delivery
	}{
		"nothing to change": {
			x:    alive,
			in:   "HTTP/1.1 200 OK\nContent-Length: 5\nX: y\n\n",
			want: "HTTP/1.1 200 OK\nContent-Length: 5\nX: y\n\n",
		},
		"fields for this connection": {
			x: alive, via: "axle",
			in:   "HTTP/1.1 200 OK\nConnection: close, x\nContent-Length: 5\nX: y\nKeep-Alive: 1\nUpgrade: h2c\n\n",
			want: "HTTP/1.1 200 OK\nContent-Length: 5\nVia: 1.1 axle\n\n",
		},
		"whitespace before a colon goes": {
			x:    alive,
			in:   "HTTP/1.1 200\nContent-Length \t: 5\nX: y\nZ :\n\n",
			want: "HTTP/1.1 200 \nContent-Length: 5\nX: y\nZ: \n\n",
		},
		"chunks": {
			x:    alive,
			in:   "HTTP/1.1 200 OK\nTransfer-Encoding: Chunked\nTrailer: x\n\n",
			want: "HTTP/1.1 200 OK\nTrailer: x\nTransfer-Encoding: chunked\n\n",
		},
		"chunks for HTTP/1.0": {
			x:        http1.Exchange{KeepAlive: true},
			in:       "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n",
			want:     "HTTP/1.1 200 OK\nConnection: close\n\n",
			delivery: http1.Delivery{Decode: true, Close: true},
		},
		"HTTP/1.0 stays": {
			x:    http1.Exchange{KeepAlive: true},
			in:   "HTTP/1.1 200 OK\nContent-Length: 1\n\n",
			want: "HTTP/1.1 200 OK\nContent-Length: 1\nConnection: keep-alive\n\n",
		},
		"HTTP/1.0 does not know interim responses": {
			x:        http1.Exchange{KeepAlive: true},
			in:       "HTTP/1.1 100 Continue\n\n",
			want:     "HTTP/1.1 100 Continue\n\n",
			delivery: http1.Delivery{Drop: true},
		},
		"an interim response closes nothing": {
			x:    http1.Exchange{Minor: 1},
			in:   "HTTP/1.1 103 Early Hints\nLink: a\nContent-Length: 1\n\n",
			want: "HTTP/1.1 103 Early Hints\nLink: a\n\n",
		},
		"the client leaves": {
			x:        http1.Exchange{Minor: 1},
			in:       "HTTP/1.1 200 OK\nContent-Length: 1\n\n",
			want:     "HTTP/1.1 200 OK\nContent-Length: 1\nConnection: close\n\n",
			delivery: http1.Delivery{Close: true},
		},
		"until the end": {
			x:        alive,
			in:       "HTTP/1.0 200 OK\n\n",
			want:     "HTTP/1.1 200 OK\nConnection: close\n\n",
			delivery: http1.Delivery{Close: true},
		},
		"the endpoint leaves, the client does not": {
			x:    alive,
			in:   "HTTP/1.0 200 OK\nContent-Length: 1\n\n",
			want: "HTTP/1.1 200 OK\nContent-Length: 1\n\n",
		},
		"HEAD": {
			x:    http1.Exchange{Minor: 1, KeepAlive: true, Head: true},
			in:   "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n",
			want: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n",
		},
		"304": {
			x:    alive,
			in:   "HTTP/1.1 304 Not Modified\nContent-Length: 100\n\n",
			want: "HTTP/1.1 304 Not Modified\nContent-Length: 100\n\n",
		},
		"204 has no length": {
			x:    alive,
			in:   "HTTP/1.1 204 No Content\nContent-Length: 100\nX: y\n\n",
			want: "HTTP/1.1 204 No Content\nX: y\n\n",
		},
		"a change of protocol": {
			x:    http1.Exchange{Minor: 1, KeepAlive: true, Upgrade: true},
			in:   "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: upgrade\nContent-Length: 1\n\n",
			want: "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: upgrade\n\n",
		},
		"an upgrade is required": {
			x:        http1.Exchange{Minor: 1},
			in:       "HTTP/1.1 426 Upgrade Required\nUpgrade: x/2\nConnection: upgrade\nContent-Length: 0\n\n",
			want:     "HTTP/1.1 426 Upgrade Required\nUpgrade: x/2\nContent-Length: 0\nConnection: upgrade, close\n\n",
			delivery: http1.Delivery{Close: true},
		},
		"a tunnel": {
			x:    http1.Exchange{Minor: 1, Connect: true},
			in:   "HTTP/1.1 200 OK\nContent-Length: 1\nTransfer-Encoding: chunked\n\n",
			want: "HTTP/1.1 200 OK\n\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var r http1.Response
			if _, err := r.Decode([]byte(crlf(tc.in)), http1.Limits{}, tc.x); err != nil {
				t.Fatal(err)
			}
			got := r.AppendForward([]byte("before"), tc.x, tc.via)
			if diff := cmp.Diff("before"+crlf(tc.want), string(got)); diff != "" {
				t.Errorf("head (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.delivery, r.Delivery(tc.x)); diff != "" {
				t.Errorf("delivery (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReplies(t *testing.T) {
	alive := http1.Exchange{Minor: 1, KeepAlive: true}
	for want, got := range map[string][]byte{
		"HTTP/1.1 503 Service Unavailable\nContent-Length: 0\n\n":                http1.AppendReply(nil, 503, 1, false),
		"HTTP/1.1 400 Bad Request\nContent-Length: 0\nConnection: close\n\n":     http1.AppendReply(nil, 400, 1, true),
		"HTTP/1.1 404 Not Found\nContent-Length: 0\nConnection: keep-alive\n\n":  http1.AppendReply(nil, 404, 0, false),
		"HTTP/1.1 504 Gateway Timeout\nContent-Length: 0\nConnection: close\n\n": http1.AppendReply(nil, 504, 0, true),
		"HTTP/1.1 599 \nContent-Length: 0\n\n":                                   http1.AppendReply(nil, 599, 1, false),
		"HTTP/1.1 200 OK\n\n":                                                    http1.AppendTunnel(nil),
		http1.Continue:                                                           []byte(http1.Continue),
	} {
		if crlf(strings.ReplaceAll(want, "\r", "")) != string(got) {
			t.Errorf("got %q, want %q", got, want)
		}
		var r http1.Response
		if n, err := r.Decode(got, http1.Limits{}, alive); err != nil || n != len(got) {
			t.Errorf("%q is read as %d bytes, %v", got, n, err)
		}
	}
}
