package http2

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
)

func TestAServerReads(t *testing.T) {
	cases := map[string]struct {
		write func(s *script)
		said  []string
		out   []string // besides the acknowledgement of SETTINGS
	}{
		"a request without a body": {
			func(s *script) { s.headers(1, true, get...) },
			[]string{"1 message [:method: GET :scheme: http :authority: shop.demo :path: /a] end=true"}, nil,
		},
		"a body and trailers": {
			func(s *script) {
				s.headers(1, false, with(get, "content-length: 5")...)
				_ = s.WriteData(1, false, []byte("hel"))
				_ = s.WriteDataPadded(1, false, []byte("lo"), []byte{0, 0, 0})
				s.headers(1, true, "x-sum: 5")
			},
			[]string{
				"1 message [:method: GET :scheme: http :authority: shop.demo :path: /a content-length: 5] end=false",
				`1 data "hel" end=false`, `1 data "lo" end=false`, "1 message [x-sum: 5] end=true",
			}, nil,
		},
		"a block in pieces, with a priority and padding": {
			func(s *script) {
				block := append([]byte(nil), s.fields(get...)...)
				_ = s.WriteHeaders(http2.HeadersFrameParam{
					StreamID: 1, BlockFragment: block[:3], EndStream: true, PadLength: 7, Priority: http2.PriorityParam{StreamDep: 9, Weight: 3},
				})
				_ = s.WriteContinuation(1, false, block[3:4])
				_ = s.WriteContinuation(1, true, block[4:])
			},
			[]string{"1 message [:method: GET :scheme: http :authority: shop.demo :path: /a] end=true"}, nil,
		},
		"a ping, an unknown frame and a priority": {
			func(s *script) {
				_ = s.WritePing(false, [8]byte{'1', '2', '3', '4', '5', '6', '7', '8'})
				_ = s.WriteRawFrame(0x77, 0xff, 3, []byte("what?"))
				_ = s.WritePriority(3, http2.PriorityParam{StreamDep: 1})
			},
			nil, []string{"ping 12345678 ack=true"},
		},
		"a reset, and what was on its way": {
			func(s *script) {
				s.headers(1, false, get...)
				_ = s.WriteRSTStream(1, http2.ErrCodeCancel)
				_ = s.WriteWindowUpdate(1, 10)
				_ = s.WriteData(1, false, []byte("late"))
			},
			[]string{"1 message [:method: GET :scheme: http :authority: shop.demo :path: /a] end=false", "1 reset 8 local=false"},
			[]string{"reset 1 STREAM_CLOSED"},
		},
		"a body longer than it says": {
			func(s *script) {
				s.headers(1, false, with(get, "content-length: 2")...)
				_ = s.WriteData(1, false, []byte("hel"))
				_ = s.WriteData(1, true, []byte("lo"))
			},
			[]string{"1 message [:method: GET :scheme: http :authority: shop.demo :path: /a content-length: 2] end=false", "1 reset 1 local=true"},
			[]string{"reset 1 PROTOCOL_ERROR"},
		},
		"a body shorter than it says": {
			func(s *script) { s.headers(1, true, with(get, "content-length: 2")...) },
			nil, []string{"reset 1 PROTOCOL_ERROR"},
		},
		"an extended CONNECT, which was not offered, and a plain one behind it": { // RFC 8441, sections 3 and 4
			func(s *script) {
				s.headers(1, false, ":method: CONNECT", ":protocol: websocket", ":scheme: http", ":path: /chat", ":authority: shop.demo")
				_ = s.WriteData(1, false, []byte("frames"))
				s.headers(3, false, ":method: CONNECT", ":authority: shop.demo:80")
			},
			[]string{"3 message [:method: CONNECT :authority: shop.demo:80] end=false"},
			[]string{"reset 1 PROTOCOL_ERROR"},
		},
		"an offer of extended CONNECT by a peer": {
			func(s *script) {
				_ = s.WriteSettings(http2.Setting{ID: 8, Val: 1})
				s.headers(1, true, get...)
			},
			[]string{"1 message [:method: GET :scheme: http :authority: shop.demo :path: /a] end=true"}, []string{"settings ack=true"},
		},
		"trailers that do not end the stream": {
			func(s *script) {
				s.headers(1, false, get...)
				s.headers(1, false, "x-sum: 5")
			},
			[]string{"1 message [:method: GET :scheme: http :authority: shop.demo :path: /a] end=false", "1 reset 1 local=true"},
			[]string{"reset 1 PROTOCOL_ERROR"},
		},
		"more than its window": {
			func(s *script) {
				s.headers(1, false, get...)
				_ = s.WriteWindowUpdate(1, 1<<31-1)
			},
			[]string{"1 message [:method: GET :scheme: http :authority: shop.demo :path: /a] end=false", "1 reset 3 local=true"},
			[]string{"reset 1 FLOW_CONTROL_ERROR"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := newScript(true)
			tc.write(s)
			var c Conn
			c.Start(false, nil)
			turn := &Turn{}
			said, rest, err := run(&c, s.Bytes(), turn)
			if err != nil || len(rest) > 0 {
				t.Fatalf("%v, %d bytes left", err, len(rest))
			}
			if diff := cmp.Diff(tc.said, said); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(with([]string{"settings ack=true"}, tc.out...), frames(t, turn.Out)); diff != "" {
				t.Errorf("frames (-want +got):\n%s", diff)
			}
		})
	}
}

// TestExtendedConnectIsNotOffered: no client may send what an ENABLE_CONNECT_PROTOCOL would allow (RFC 8441, section 3).
func TestExtendedConnectIsNotOffered(t *testing.T) {
	var c Conn
	fr := http2.NewFramer(nil, bytes.NewReader(c.Start(false, nil)))
	f, err := fr.ReadFrame()
	settings, ok := f.(*http2.SettingsFrame)
	if err != nil || !ok {
		t.Fatalf("a server begins with %v, %v", f, err)
	}
	if v, ok := settings.Value(8); ok {
		t.Errorf("ENABLE_CONNECT_PROTOCOL is %d", v)
	}
}

func TestRequestsAreJudged(t *testing.T) {
	cases := map[string]struct {
		lines []string
		ok    bool
	}{
		"a plain one":                         {get, true},
		"te: trailers":                        {with(get, "te: trailers"), true},
		"cookies in crumbs":                   {with(get, "cookie: a=1", "cookie: b=2"), true},
		"OPTIONS of everything":               {[]string{":method: OPTIONS", ":scheme: http", ":path: *"}, true},
		"CONNECT":                             {[]string{":method: CONNECT", ":authority: a:1"}, true},
		"an empty value":                      {with(get, "x-empty: "), true},
		"bytes above 127":                     {with(get, "x-name: \xc3\xa9"), true},
		"CONNECT with a path":                 {[]string{":method: CONNECT", ":authority: a:1", ":path: /", ":scheme: http"}, false},
		"no method":                           {get[1:], false},
		"no path":                             {get[:3], false},
		"no scheme":                           {[]string{get[0], get[2], get[3]}, false},
		"an empty path":                       {with(get[:3], ":path: "), false},
		"a path that begins with a letter":    {with(get[:3], ":path: a"), false},
		"a fragment":                          {with(get[:3], ":path: /a#b"), false},
		"two methods":                         {with(get, ":method: GET"), false},
		"a status":                            {with(get, ":status: 200"), false},
		"an unknown pseudo-header field":      {with(get, ":protocol: websocket"), false},
		"a pseudo-header field behind others": {append([]string{"a: b"}, get...), false},
		"capitals in a name":                  {with(get, "X-Name: 1"), false},
		"a space in a name":                   {with(get, "x name: 1"), false},
		"a line break in a value":             {with(get, "x-name: 1\r\nx-other: 2"), false},
		"a zero in a value":                   {with(get, "x-name: 1\x00"), false},
		"a space in front of a value":         {with(get, "x-name:  1"), false},
		"connection":                          {with(get, "connection: close"), false},
		"transfer-encoding":                   {with(get, "transfer-encoding: chunked"), false},
		"upgrade":                             {with(get, "upgrade: h2c"), false},
		"te: gzip":                            {with(get, "te: gzip"), false},
		"two lengths":                         {with(get, "content-length: 0", "content-length: 0"), false},
		"a length that is none":               {with(get, "content-length: -1"), false},
		"a host that differs":                 {with(get, "host: other.demo"), false},
		"a user in the authority":             {[]string{get[0], get[1], ":authority: a@b", get[3]}, false},
	}
	for name, tc := range cases {
		s := newScript(true)
		s.headers(1, true, tc.lines...)
		s.headers(3, true, tc.lines...) // now from the table
		var c Conn
		c.Start(false, nil)
		turn := &Turn{}
		said, _, err := run(&c, s.Bytes(), turn)
		if want := map[bool]int{true: 2}[tc.ok]; err != nil || len(said) != want {
			t.Errorf("%s: %v, %v; want it taken: %t", name, said, err, tc.ok)
		}
	}
}

func TestAClientReads(t *testing.T) {
	cases := map[string]struct {
		write func(s *script)
		said  []string
	}{
		"an interim response, the final one, and trailers": {
			func(s *script) {
				s.headers(1, false, ":status: 103", "link: x")
				s.headers(1, false, ":status: 200")
				_ = s.WriteData(1, false, []byte("hi"))
				s.headers(1, true, "grpc-status: 0")
			},
			[]string{"1 message [:status: 103 link: x] end=false", "1 message [:status: 200] end=false", `1 data "hi" end=false`, "1 message [grpc-status: 0] end=true"},
		},
		"a length without a body, to a HEAD": {
			func(s *script) { s.headers(3, true, ":status: 200", "content-length: 9") },
			[]string{"3 message [:status: 200 content-length: 9] end=true"},
		},
		"a body to a HEAD": {
			func(s *script) {
				s.headers(3, false, ":status: 200")
				_ = s.WriteData(3, true, []byte("hi"))
			},
			[]string{"3 message [:status: 200] end=false", "3 reset 1 local=true"},
		},
		"data before a head": {func(s *script) { _ = s.WriteData(1, true, []byte("hi")) }, []string{"1 reset 1 local=true"}},
		"no status":          {func(s *script) { s.headers(1, true, "a: b") }, []string{"1 reset 1 local=true"}},
		"switching protocols": {
			func(s *script) { s.headers(1, false, ":status: 101") }, []string{"1 reset 1 local=true"},
		},
		"the server leaves": {func(s *script) { _ = s.WriteGoAway(1, http2.ErrCodeNo, nil) }, []string{"goaway 1"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var c Conn
			var f Fields
			c.Start(true, nil)
			for _, line := range get {
				name, value, _ := strings.Cut(line[1:], ": ")
				f.Add(":"+name, value)
			}
			c.AppendHeaders(nil, c.Open(), &f, true)
			f.Reset()
			f.Add(":method", "HEAD")
			c.AppendHeaders(nil, c.Open(), &f, true)
			s := newScript(false)
			tc.write(s)
			said, _, err := run(&c, s.Bytes(), &Turn{})
			if diff := cmp.Diff(tc.said, said); err != nil || diff != "" {
				t.Errorf("%v; events (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestWhatEndsAConnection(t *testing.T) {
	cases := map[string]struct {
		write func(s *script)
		code  Code
	}{
		"no preface":                     {func(s *script) { s.Reset(); s.WriteString("GET / HTTP/1.1\r\n") }, ProtocolError},
		"no settings":                    {func(s *script) { s.Truncate(len(Preface)); _ = s.WritePing(false, [8]byte{}) }, ProtocolError},
		"a frame that is too large":      {func(s *script) { _ = s.WriteRawFrame(0, 0, 1, make([]byte, maxFrame+1)) }, FrameSizeError},
		"an even stream":                 {func(s *script) { s.headers(2, true, get...) }, ProtocolError},
		"a stream below the last":        {func(s *script) { s.headers(5, true, get...); s.headers(3, true, get...) }, ProtocolError},
		"a block that is no HPACK":       {func(s *script) { _ = s.WriteRawFrame(1, 5, 1, []byte{0x80}) }, CompressionError},
		"a block that is interrupted":    {func(s *script) { _ = s.WriteRawFrame(1, 0, 1, nil); _ = s.WritePing(false, [8]byte{}) }, ProtocolError},
		"a continuation of nothing":      {func(s *script) { _ = s.WriteContinuation(1, true, nil) }, ProtocolError},
		"data on an idle stream":         {func(s *script) { _ = s.WriteData(1, true, nil) }, ProtocolError},
		"a reset of an idle stream":      {func(s *script) { _ = s.WriteRSTStream(1, 0) }, ProtocolError},
		"a window of an idle stream":     {func(s *script) { _ = s.WriteWindowUpdate(1, 1) }, ProtocolError},
		"a push":                         {func(s *script) { _ = s.WriteRawFrame(5, 4, 1, make([]byte, 4)) }, ProtocolError},
		"a window above the limit":       {func(s *script) { _ = s.WriteWindowUpdate(0, 1<<31-1) }, FlowControlError},
		"settings on a stream":           {func(s *script) { _ = s.WriteRawFrame(4, 0, 1, nil) }, ProtocolError},
		"settings of a strange length":   {func(s *script) { _ = s.WriteRawFrame(4, 0, 0, make([]byte, 5)) }, FrameSizeError},
		"an initial window too large":    {func(s *script) { _ = s.WriteSettings(http2.Setting{ID: 4, Val: 1 << 31}) }, FlowControlError},
		"a frame size below the least":   {func(s *script) { _ = s.WriteSettings(http2.Setting{ID: 5, Val: 1}) }, ProtocolError},
		"a ping of a strange length":     {func(s *script) { _ = s.WriteRawFrame(6, 0, 0, make([]byte, 7)) }, FrameSizeError},
		"more padding than there is":     {func(s *script) { s.headers(1, false, get...); _ = s.WriteRawFrame(0, 8, 1, []byte{9, 1}) }, ProtocolError},
		"data beyond everybody's window": {func(s *script) { flood(s) }, FlowControlError},
	}
	for name, tc := range cases {
		s := newScript(true)
		tc.write(s)
		var c Conn
		c.Start(false, nil)
		c.recvWindow = 3 * maxFrame
		_, _, err := run(&c, s.Bytes(), &Turn{})
		var end *Error
		if !errors.As(err, &end) || end.Code != tc.code {
			t.Errorf("%s: %v, want code %d", name, err, tc.code)
		}
	}
}

func flood(s *script) {
	s.headers(1, false, get...)
	for range 4 {
		_ = s.WriteData(1, false, make([]byte, maxFrame))
	}
}

// TestFlowControl sends as much as a peer allows, and gets the rest granted.
func TestFlowControl(t *testing.T) {
	var c Conn
	c.Start(true, nil)
	turn := &Turn{}
	s := newScript(false)
	_ = s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 2})
	if _, _, err := run(&c, s.Bytes(), turn); err != nil {
		t.Fatal(err)
	}
	a, b := c.Open(), c.Open()
	if c.Room() != 0 {
		t.Errorf("room for %d streams, want none", c.Room())
	}
	if n := c.Sendable(a); n != 10 {
		t.Errorf("%d bytes may be sent, want 10", n)
	}
	c.DataHeader(a, 10, false)
	s.Reset()
	_ = s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 4})
	_ = s.WriteWindowUpdate(b.ID, 100_000)
	if _, _, err := run(&c, s.Bytes(), turn); err != nil {
		t.Fatal(err)
	}
	if a.send != -6 || c.Sendable(a) != 0 || c.Sendable(b) != maxFrame {
		t.Errorf("windows %d and %d, sendable %d and %d; want -6 and 100004, 0 and %d", a.send, b.send, c.Sendable(a), c.Sendable(b), maxFrame)
	}
	for c.Sendable(b) > 0 {
		c.DataHeader(b, c.Sendable(b), false)
	}
	if !c.Full() {
		t.Errorf("%d bytes of the connection's window are left", c.sendWindow)
	}
}

// TestAByteBeyondAWindow: Triple takes initial windows for 64 KiB, and sends a byte more than they are. Nobody may send two.
func TestAByteBeyondAWindow(t *testing.T) {
	cases := map[string]struct {
		connection int64 // its window; 0 is the usual one
		size       int
		refused    string // the reset, or GOAWAY
	}{
		"the whole window of a stream":     {size: streamWindow},
		"a byte more":                      {size: streamWindow + 1},
		"two bytes more":                   {size: streamWindow + 2, refused: "reset 1 FLOW_CONTROL_ERROR"},
		"the whole window of a connection": {connection: maxFrame, size: maxFrame},
		"a byte more than that":            {connection: maxFrame - 1, size: maxFrame},
		"two bytes more than that":         {connection: maxFrame - 2, size: maxFrame, refused: "more DATA than the connection's window"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var c Conn
			c.Start(false, nil)
			if tc.connection > 0 {
				c.recvWindow = tc.connection
			}
			s := newScript(true)
			s.headers(1, false, get...)
			for left := tc.size; left > 0; left -= maxFrame {
				_ = s.WriteData(1, false, make([]byte, min(left, maxFrame)))
			}
			turn, got := &Turn{}, ""
			for b := s.Bytes(); len(b) > 0; { // nothing is granted again
				n, err := c.Take(b, turn)
				if err != nil {
					got = err.Error()
					break
				}
				b = b[n:]
			}
			for _, f := range frames(t, turn.Out) {
				if strings.HasPrefix(f, "reset") {
					got += f
				}
			}
			if (tc.refused == "") != (got == "") || !strings.Contains(got, tc.refused) {
				t.Errorf("%d bytes: %q, want %q", tc.size, got, tc.refused)
			}
		})
	}
}
