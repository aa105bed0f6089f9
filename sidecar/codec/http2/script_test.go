package http2

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// script writes frames with somebody else's code, as a peer.
type script struct {
	bytes.Buffer
	*http2.Framer
	block bytes.Buffer
	hpack *hpack.Encoder
}

func newScript(client bool) *script {
	s := &script{}
	s.Framer = http2.NewFramer(&s.Buffer, nil)
	s.AllowIllegalWrites = true
	s.hpack = hpack.NewEncoder(&s.block)
	if client {
		s.WriteString(Preface)
	}
	_ = s.WriteSettings()
	return s
}

// fields encodes "name: value" lines.
func (s *script) fields(lines ...string) []byte {
	s.block.Reset()
	for _, line := range lines {
		at := strings.Index(line[1:], ": ") + 1
		_ = s.hpack.WriteField(hpack.HeaderField{Name: line[:at], Value: line[at+2:]})
	}
	return s.block.Bytes()
}

func (s *script) headers(id uint32, end bool, lines ...string) {
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: s.fields(lines...), EndStream: end, EndHeaders: true})
}

// get are the pseudo-header fields of a request.
var get = []string{":method: GET", ":scheme: http", ":authority: shop.demo", ":path: /a"}

func with(lines []string, more ...string) []string {
	return append(slices.Clip(lines), more...)
}

// run takes all of b and tells what happened, a line each. Data is given back at once.
func run(c *Conn, b []byte, t *Turn) (said []string, rest []byte, err error) {
	for len(b) > 0 {
		n, err := c.Take(b, t)
		if err != nil {
			return said, b, err
		}
		if n == 0 {
			break
		}
		b = b[n:]
		if line := tell(t); line != "" {
			said = append(said, line)
		}
		if t.Kind == Data {
			t.Out = c.AppendCredit(t.Out, t.Stream, len(t.Data))
		}
		if t.Stream != nil {
			c.Recycle(t.Stream)
		}
	}
	return said, b, nil
}

func tell(t *Turn) string {
	id := uint32(0)
	if t.Stream != nil {
		id = t.Stream.ID
	}
	switch t.Kind {
	case Headers, Trailers:
		return fmt.Sprintf("%d message %v end=%t", id, listed(&t.Fields), t.End)
	case Data:
		return fmt.Sprintf("%d data %q end=%t", id, t.Data, t.End)
	case Reset:
		return fmt.Sprintf("%d reset %d local=%t", id, t.Code, t.Local)
	case GoAway:
		return fmt.Sprintf("goaway %d", t.Last)
	}
	return ""
}

// frames tells what b holds, as somebody else reads it.
func frames(t *testing.T, b []byte) []string {
	t.Helper()
	fr := http2.NewFramer(nil, bytes.NewReader(b))
	fr.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	var all []string
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return all
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			all = append(all, fmt.Sprintf("reset %d %s", f.StreamID, f.ErrCode))
		case *http2.WindowUpdateFrame:
			all = append(all, fmt.Sprintf("window %d %d", f.StreamID, f.Increment))
		case *http2.PingFrame:
			all = append(all, fmt.Sprintf("ping %s ack=%t", f.Data[:], f.IsAck()))
		case *http2.SettingsFrame:
			all = append(all, fmt.Sprintf("settings ack=%t", f.IsAck()))
		case *http2.GoAwayFrame:
			all = append(all, fmt.Sprintf("goaway %d %s", f.LastStreamID, f.ErrCode))
		case *http2.MetaHeadersFrame:
			all = append(all, fmt.Sprintf("headers %d %v end=%t", f.StreamID, f.Fields, f.StreamEnded()))
		case *http2.DataFrame:
			all = append(all, fmt.Sprintf("data %d %q end=%t", f.StreamID, f.Data(), f.StreamEnded()))
		}
	}
}
