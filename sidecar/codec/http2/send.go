package http2

import "encoding/binary"

// AppendHeaders appends a message's head or its trailers; end says that nothing follows. It is one frame and as many
// CONTINUATIONs as it takes.
func (c *Conn) AppendHeaders(dst []byte, s *Stream, f *Fields, end bool) []byte {
	flags := byte(0)
	if end {
		flags = flagEndStream
	}
	at := len(dst)
	dst = c.encoder.append(appendFrameHeader(dst, 0, frameHeaders, flags, s.ID), f)
	if n := len(dst) - at - frameHeader; n <= maxFrame {
		putFrameHeader(dst[at:], n, frameHeaders, flags|flagEndHeaders, s.ID)
	} else {
		dst = splitHeaders(dst, at, flags, s.ID)
	}
	if c.client && string(f.Method()) == "HEAD" {
		s.bodiless = true
	}
	if end {
		c.endLocal(s)
	}
	return dst
}

// splitHeaders makes frames of a block that is too long for one.
func splitHeaders(dst []byte, at int, flags byte, stream uint32) []byte {
	block := append([]byte(nil), dst[at+frameHeader:]...)
	dst = dst[:at]
	for kind := byte(frameHeaders); len(block) > 0; kind, flags = frameContinuation, 0 {
		n := min(len(block), maxFrame)
		if n == len(block) {
			flags |= flagEndHeaders
		}
		dst = append(appendFrameHeader(dst, n, kind, flags, stream), block[:n]...)
		block = block[n:]
	}
	return dst
}

// Sendable is how many bytes of data the peer allows on s now: at most what one frame holds.
func (c *Conn) Sendable(s *Stream) int {
	return int(max(min(s.send, c.sendWindow, maxFrame), 0))
}

// Full says that the connection's window keeps everything back, whatever a stream's own says.
func (c *Conn) Full() bool { return c.sendWindow <= 0 }

// DataHeader is what comes in front of n bytes of data, which the windows must have room for: see [Conn.Sendable].
func (c *Conn) DataHeader(s *Stream, n int, end bool) (h [frameHeader]byte) {
	flags := byte(0)
	if end {
		flags = flagEndStream
	}
	putFrameHeader(h[:], n, frameData, flags, s.ID)
	if n > 0 {
		c.earn()
	}
	s.send -= int64(n)
	c.sendWindow -= int64(n)
	if end {
		c.endLocal(s)
	}
	return h
}

// AppendCredit notes that n bytes of a stream's data have gone on, and grants them again when that is worth a frame.
func (c *Conn) AppendCredit(dst []byte, s *Stream, n int) []byte {
	s.owed += int64(n)
	if s.RemoteEnded() || s.owed < streamWindow/4 && s.recv > 0 {
		return dst
	}
	if s.owed == 0 {
		return dst
	}
	dst = appendWindow(dst, s.ID, int(s.owed))
	s.recv += s.owed
	s.owed = 0
	return dst
}

// AppendReset ends a stream on both sides.
func (c *Conn) AppendReset(dst []byte, s *Stream, code Code) []byte {
	if s.closed {
		return dst
	}
	c.close(s, true)
	return appendReset(dst, s.ID, code)
}

// AppendGoAway tells the peer that no further streams are taken; those that are open go on unless the code is an error.
func (c *Conn) AppendGoAway(dst []byte, code Code) []byte {
	c.leaving = true
	dst = appendFrameHeader(dst, 8, frameGoAway, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, c.lastPeer)
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}
