package http2

import "errors"

// maxBlock bounds a header block, and so what CONTINUATION frames can pile up.
const maxBlock = 64 << 10

// head is a header block that is being read.
type head struct {
	open   bool // CONTINUATION has to come
	end    bool // END_STREAM
	self   bool // the stream depends on itself
	stream uint32
}

// headers takes the beginning of a header block.
func (c *Conn) headers(f *frame, t *Turn) error {
	if f.stream == 0 || !c.client && f.stream%2 == 0 {
		return fault(ProtocolError, "HEADERS on no stream, or on one that the peer may not open", "9113 5.1.1")
	}
	if c.client && c.idle(f.stream) {
		return fault(ProtocolError, "a response to nothing", "9113 5.1")
	}
	content, err := f.content()
	if err != nil {
		return err
	}
	c.head = head{stream: f.stream, end: f.flags&flagEndStream != 0}
	if f.flags&flagPriority != 0 {
		if len(content) < 5 {
			return fault(FrameSizeError, "HEADERS too short for its priority", "9113 6.2")
		}
		c.head.self = dependsOn(content) == f.stream
		content = content[5:]
	}
	if f.flags&flagEndHeaders != 0 {
		return c.blockOf(content, t)
	}
	c.head.open = true
	c.block = append(c.block[:0], content...)
	return nil
}

// continuation takes the next piece of a header block.
func (c *Conn) continuation(f *frame, t *Turn) error {
	if !c.head.open {
		return fault(ProtocolError, "CONTINUATION outside a header block", "9113 6.10")
	}
	if err := c.spend(costEmpty); err != nil {
		return err
	}
	if len(c.block)+len(f.payload) > maxBlock {
		return fault(EnhanceYourCalm, "a header block beyond the limit", "9113 10.5.1")
	}
	c.block = append(c.block, f.payload...)
	if f.flags&flagEndHeaders == 0 {
		return nil
	}
	c.head.open = false
	err := c.blockOf(c.block, t)
	if c.block = c.block[:0]; cap(c.block) > maxFrame {
		c.block = nil
	}
	return err
}

// blockOf takes a complete header block. It is decoded whatever becomes of its stream: the next one builds on it.
func (c *Conn) blockOf(b []byte, t *Turn) error {
	t.Fields.Reset()
	if err := c.decoder.decode(b, &t.Fields); err != nil {
		code := CompressionError
		if errors.Is(err, errBomb) {
			code = EnhanceYourCalm
		}
		return fault(code, err.Error(), "9113 4.3")
	}
	if err := c.spend(expansion(len(b), t.Fields.size)); err != nil {
		return err
	}
	if c.head.self {
		if s := c.Stream(c.head.stream); s != nil {
			return c.refuse(s, ProtocolError, t)
		}
	}
	s := c.Stream(c.head.stream)
	switch {
	case s == nil && !c.client && c.head.stream > c.lastPeer:
		return c.request(t)
	case s == nil:
		return c.headersBehindEnd()
	case s.remoteEnd:
		return c.refuse(s, StreamClosed, t)
	case s.headed:
		return c.trailers(s, t)
	}
	return c.response(s, t)
}

// headersBehindEnd judges a header block for a stream that is closed. One that was never opened was skipped, and the peer may
// not go back (RFC 9113 section 5.1.1).
func (c *Conn) headersBehindEnd() error {
	known, resetByUs := c.recall(c.head.stream)
	switch {
	case resetByUs:
		return c.spend(costSmall)
	case known:
		return fault(StreamClosed, "HEADERS on a stream that is closed", "9113 5.1")
	}
	return fault(ProtocolError, "HEADERS on a stream below the last", "9113 5.1.1")
}

func (c *Conn) request(t *Turn) error {
	c.lastPeer = c.head.stream
	if c.leaving || len(c.streams) >= maxStreams {
		t.Out = appendReset(t.Out, c.head.stream, RefusedStream)
		c.remember(c.head.stream, true)
		return c.spend(costPing)
	}
	if t.Fields.over {
		if err := c.spend(costSettings); err != nil {
			return err
		}
	}
	s := c.newStream(c.head.stream)
	s.headed = true
	if c.head.self || !t.Fields.over && !c.validRequest(s, &t.Fields) {
		return c.refuseUnseen(s, t)
	}
	t.Kind, t.Stream, t.End = Headers, s, c.head.end
	if c.head.end {
		c.endRemote(s)
	}
	return nil
}

// refuseUnseen resets a stream that the owner has not heard of.
func (c *Conn) refuseUnseen(s *Stream, t *Turn) error {
	if err := c.refuse(s, ProtocolError, t); err != nil {
		return err
	}
	t.Kind, t.Stream = Nothing, nil
	c.Recycle(s)
	return nil
}

func (c *Conn) validRequest(s *Stream, f *Fields) bool {
	return f.checkRequest() && s.count(f, c.head.end)
}

func (c *Conn) response(s *Stream, t *Turn) error {
	f := &t.Fields
	if f.over || !f.checkResponse() {
		return c.refuse(s, ProtocolError, t)
	}
	status := f.Status()
	if interim := status < 200; interim {
		if c.head.end || status == 101 {
			return c.refuse(s, ProtocolError, t)
		}
	} else {
		s.headed = true
		if status == 204 || status == 304 {
			s.bodiless = true
		}
		if !s.count(f, c.head.end) {
			return c.refuse(s, ProtocolError, t)
		}
	}
	t.Kind, t.Stream, t.End = Headers, s, c.head.end
	if c.head.end {
		c.endRemote(s)
	}
	return nil
}

func (c *Conn) trailers(s *Stream, t *Turn) error {
	if !c.head.end || t.Fields.over || !t.Fields.checkTrailers() || s.counted && s.left > 0 {
		return c.refuse(s, ProtocolError, t)
	}
	t.Kind, t.Stream, t.End = Trailers, s, true
	c.endRemote(s)
	return nil
}

// count takes Content-Length; false when that is no number, or the message ends without the body that it promises.
func (s *Stream) count(f *Fields, end bool) bool {
	if s.bodiless {
		s.counted, s.left = true, 0 // nothing may come
		return f.known[idContentLength] == 0 || decimal(f.value(idContentLength)) >= 0
	}
	if f.known[idContentLength] == 0 {
		return true
	}
	s.counted, s.left = true, decimal(f.value(idContentLength))
	return s.left >= 0 && (!end || s.left == 0)
}

// decimal reads digits; -1 when there is anything else, or too many.
func decimal(b []byte) int64 {
	if len(b) == 0 || len(b) > 18 {
		return -1
	}
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
