package h2

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

func shape(grpc bool) Shape {
	return Shape{GRPC: grpc, Authority: "echo.bench", Service: "s:1", Content: bytes.Repeat([]byte("abcdefgh"), 16)}
}

// talk carries bytes between a client and a server, a few at a time, until neither says anything, and returns the answers.
func talk(t *testing.T, c *Client, s *Server, up []byte, step int) []Answer {
	t.Helper()
	var answers []Answer
	var toServer, toClient, down []byte
	for len(up) > 0 || len(down) > 0 {
		n := min(step, len(up))
		toServer, up = append(toServer, up[:n]...), up[n:]
		n = min(step, len(down))
		toClient, down = append(toClient, down[:n]...), down[n:]
		for {
			n, out, err := s.Serve(toServer, down)
			if err != nil {
				t.Fatal(err)
			}
			if down = out; n == 0 {
				break
			}
			toServer = toServer[n:]
		}
		for {
			a, out, err := c.Answer(toClient, up)
			if err != nil {
				t.Fatal(err)
			}
			if up = out; a.N == 0 {
				break
			}
			if a.Done {
				answers = append(answers, a)
			}
			toClient = toClient[a.N:]
		}
	}
	return answers
}

func TestAClientAndAServerUnderstandEachOther(t *testing.T) {
	for name, grpc := range map[string]bool{"a POST": false, "a unary call": true} {
		for _, step := range []int{7, 1 << 20} {
			t.Run(name, func(t *testing.T) {
				c, s := NewClient(shape(grpc)), NewServer(shape(grpc))
				if c.Room() {
					t.Error("there is room before the server has said anything")
				}
				talk(t, c, s, c.Hello(nil), step)
				toClient := s.Hello(nil)
				var up []byte
				for len(toClient) > 0 {
					a, out, err := c.Answer(toClient, up)
					if err != nil || a.N == 0 {
						t.Fatalf("%d bytes, %v", a.N, err)
					}
					toClient, up = toClient[a.N:], out
				}
				if !c.Room() {
					t.Fatal("there is no room")
				}
				for round := range 3 {
					for slot := range uint32(20) {
						up = c.Request(up, slot, uint64(round+1)<<32|uint64(slot))
					}
					got := talk(t, c, s, up, step)
					if up = nil; len(got) != 20 {
						t.Fatalf("%d answers", len(got))
					}
					for i, a := range got {
						if a.Slot != uint32(i) || a.Token != uint64(round+1)<<32|uint64(i) {
							t.Errorf("answer %d is %+v", i, a)
						}
					}
				}
			})
		}
	}
}

func TestAServerWaitsForTheWindow(t *testing.T) {
	c, s := NewClient(shape(false)), NewServer(shape(false))
	for _, b := range [][]byte{[]byte(preface), appendFrame(nil, settings, 0, 0)} {
		if _, _, err := s.Serve(b, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Answer(appendFrame(nil, settings, 0, 0), nil); err != nil {
		t.Fatal(err)
	}
	s.window = 200 // of which an answer takes 128
	request := c.Request(c.Request(nil, 0, 1), 1, 2)
	var out []byte
	for len(request) > 0 {
		var n int
		var err error
		if n, out, err = s.Serve(request, out); err != nil || n == 0 {
			t.Fatal(n, err)
		}
		request = request[n:]
	}
	first := len(out)
	if len(s.held) != 1 {
		t.Errorf("%d answers are held, want 1", len(s.held))
	}
	if _, out, _ = s.Serve(appendWindow(nil, 0, 100), out); len(s.held) != 0 || len(out) == first {
		t.Errorf("%d answers are held after the window has grown", len(s.held))
	}
}

func TestNextCutsPaddingAndPriority(t *testing.T) {
	b := appendFrame(nil, headers, padded|hasPriority, 3, append([]byte{2, 0, 0, 0, 0, 9}, "block\x00\x00"...)...)
	f, n, err := next(append(b, "more"...))
	if err != nil || n != len(b) || string(f.payload) != "block" || f.stream != 3 {
		t.Errorf("%+v, %d of %d bytes, %v", f, n, len(b), err)
	}
	for i := range b {
		if _, n, err := next(b[:i]); n != 0 || err != nil {
			t.Fatalf("%d bytes: %d, %v", i, n, err)
		}
	}
	for name, bad := range map[string][]byte{
		"a large frame":         {1, 0, 0, data, 0, 0, 0, 0, 1},
		"no room for padding":   appendFrame(nil, data, padded, 1),
		"more padding than all": appendFrame(nil, data, padded, 1, 9, 1),
		"no room for priority":  appendFrame(nil, headers, hasPriority, 1, 1, 2),
	} {
		if _, _, err := next(bad); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// block encodes headers for a peer that has seen none.
func block(t *testing.T, pairs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for _, f := range fields(pairs...) {
		if err := enc.WriteField(f); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestAClientRefusesWhatIsWrong(t *testing.T) {
	content := func(token uint64) []byte {
		s := shape(true)
		return s.appendData(nil, 0, 1, token)
	}
	ok := func(t *testing.T) []byte {
		return appendFrame(nil, headers, endHeaders, 1, block(t, ":status", "200")...)
	}
	cases := map[string]struct {
		frames func(t *testing.T) []byte
		want   string
	}{
		"an error status": {func(t *testing.T) []byte {
			return appendFrame(nil, headers, endHeaders|endStream, 1, block(t, ":status", "503")...)
		}, `status "503"`},
		"an error of gRPC": {func(t *testing.T) []byte {
			b := append(ok(t), content(7)...)
			return appendFrame(b, headers, endHeaders|endStream, 1, block(t, "grpc-status", "14")...)
		}, `gRPC status "14"`},
		"no trailers": {func(t *testing.T) []byte {
			return appendFrame(ok(t), data, endStream, 1, content(7)[frameHead:]...)
		}, "the end of stream 1"},
		"a short message": {func(t *testing.T) []byte {
			b := appendFrame(ok(t), data, 0, 1, content(7)[frameHead:frameHead+20]...)
			return appendFrame(b, headers, endHeaders|endStream, 1, block(t, "grpc-status", "0")...)
		}, "20 bytes"},
		"a reset":  {func(*testing.T) []byte { return appendFrame(nil, reset, 0, 1, 0, 0, 0, 8) }, "kind 3"},
		"a goaway": {func(*testing.T) []byte { return appendFrame(nil, goaway, 0, 0, make([]byte, 8)...) }, "kind 7"},
		"a stranger": {func(t *testing.T) []byte {
			return appendFrame(nil, headers, endHeaders, 5, block(t, ":status", "200")...)
		}, "nobody has asked"},
		"no headers":      {func(*testing.T) []byte { return content(7) }, "no headers"},
		"mixed up blocks": {func(*testing.T) []byte { return appendFrame(nil, continuation, endHeaders, 1) }, "mixed up"},
		"a broken block":  {func(*testing.T) []byte { return appendFrame(nil, headers, endHeaders, 1, 0xff, 0xff, 0xff) }, "header block"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := NewClient(shape(true))
			if _, _, err := c.Answer(appendFrame(nil, settings, 0, 0), nil); err != nil {
				t.Fatal(err)
			}
			c.Request(nil, 0, 7)
			b := tc.frames(t)
			var err error
			for len(b) > 0 && err == nil {
				var a Answer
				if a, _, err = c.Answer(b, nil); err == nil && (a.N == 0 || a.Done) {
					t.Fatalf("answer %+v", a)
				}
				b = b[a.N:]
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one about %q", err, tc.want)
			}
		})
	}
}

func TestAServerRefusesWhatIsWrong(t *testing.T) {
	head := func(t *testing.T, pairs ...string) []byte {
		return appendFrame([]byte(preface), headers, endHeaders, 1, block(t, pairs...)...)
	}
	cases := map[string]struct {
		in   func(t *testing.T) []byte
		want string
	}{
		"HTTP/1.1":       {func(*testing.T) []byte { return []byte("GET / HTTP/1.1\r\n\r\n......") }, "begins with"},
		"another method": {func(t *testing.T) []byte { return head(t, ":method", "GET") }, "headers"},
		"no trailers":    {func(t *testing.T) []byte { return head(t, ":method", "POST", "content-type", "application/grpc") }, "headers"},
		"a short message": {func(t *testing.T) []byte {
			return appendFrame(head(t, ":method", "POST", "te", "trailers", "content-type", "application/grpc"), data, endStream, 1, 0)
		}, "1 bytes"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s, b := NewServer(shape(true)), tc.in(t)
			var err error
			for n := 1; err == nil && n > 0; b = b[n:] {
				n, _, err = s.Serve(b, nil)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one about %q", err, tc.want)
			}
		})
	}
}

func TestWindowsAreGrantedAgain(t *testing.T) {
	p := newPeer()
	p.taken = wide/2 - 10
	if out := p.took(9, nil); out != nil {
		t.Errorf("granted early: %x", out)
	}
	f, _, err := next(p.took(1, nil))
	if err != nil || f.kind != windowUpdate || binary.BigEndian.Uint32(f.payload) != wide/2 {
		t.Errorf("%+v, %v", f, err)
	}
}
