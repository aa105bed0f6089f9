package http1

// Kind says how a body ends.
type Kind uint8

// Kinds of a body (RFC 9112 section 6.3).
const (
	None    Kind = iota // there is none
	Length              // after a number of bytes
	Chunked             // with the last chunk and its trailers
	Close               // with the connection: an end without a FIN is no end
	Tunnel              // there is no message any more: bytes pass both ways until both sides have ended
)

// Limits on the framing of a chunked body, in bytes.
const (
	maxChunkLine = 4 << 10  // one line of size and extensions
	maxOverhead  = 16 << 10 // all extensions and trailers of one body
)

// Body is the framing of a body at one byte. It is plain data: a copy of it goes on where it stood. The zero value is no
// body.
type Body struct {
	kind  Kind
	step  step
	left  uint64 // bytes of the body, or of the chunk, that are still to come
	extra uint32 // bytes of extensions and trailers so far
}

// step is where in a chunked body we are.
type step uint8

const (
	stepSize    step = iota // before a line with a size
	stepData                // in a chunk
	stepDataEnd             // before the CRLF behind a chunk
	stepTrailer             // before a line of the trailer section
	stepDone
)

// Kind says how the body ends.
func (s *Body) Kind() Kind { return s.kind }

// Left is the number of bytes still to come of a body of known length.
func (s *Body) Left() (n uint64, ok bool) { return s.left, s.kind == Length || s.kind == None }

// Done says that the body is complete. One that ends with its connection never says so.
func (s *Body) Done() bool {
	switch s.kind {
	case None:
		return true
	case Length:
		return s.left == 0
	case Chunked:
		return s.step == stepDone
	}
	return false
}

// Take returns how many bytes at the start of b belong to the body and may be forwarded as they are. A line of chunked
// framing is taken only as a whole; the bytes of an incomplete one, at most a few thousand, stay with the caller. It
// returns a *FormatError when no peer may send what follows those n bytes; then the message cannot be completed.
func (s *Body) Take(b []byte) (n int, err error) {
	for {
		_, used, err := s.next(b[n:])
		n += used
		if used == 0 || err != nil {
			return n, shift(err, n)
		}
	}
}

// Payload takes a part of the body like Take, but at most one piece of its content: data is that piece without the
// framing, and n what was taken for it. It is called again until n is 0.
func (s *Body) Payload(b []byte) (data []byte, n int, err error) {
	for {
		isData, used, err := s.next(b[n:])
		n += used
		if isData {
			return b[n-used : n], n, nil
		}
		if used == 0 || err != nil {
			return nil, n, shift(err, n)
		}
	}
}

// shift makes the offset of an error one in the caller's bytes.
func shift(err error, by int) error {
	if format, ok := err.(*FormatError); ok { //nolint:errorlint // our own, not wrapped
		format.Offset += by
	}
	return err
}

// next takes one piece of content or of framing; n is 0 when b holds none.
func (s *Body) next(b []byte) (data bool, n int, err error) {
	if len(b) == 0 || s.Done() {
		return false, 0, nil
	}
	if s.kind != Chunked {
		n = len(b)
		if s.kind == Length {
			n = int(min(uint64(n), s.left))
			s.left -= uint64(n)
		}
		return true, n, nil
	}
	switch s.step {
	case stepSize:
		n, err = s.size(b)
	case stepData:
		n = int(min(uint64(len(b)), s.left))
		if s.left -= uint64(n); s.left == 0 {
			s.step = stepDataEnd
		}
		return true, n, nil
	case stepDataEnd:
		n, err = chunkEnd(b)
		if n > 0 {
			s.step = stepSize
		}
	default:
		n, err = s.trailer(b)
	}
	if err == ErrShort { //nolint:errorlint // our own, not wrapped
		return false, 0, nil
	}
	return false, n, err
}

// size takes the line before a chunk: chunk-size [ chunk-ext ] CRLF (RFC 9112 section 7.1).
func (s *Body) size(b []byte) (int, error) {
	window := b[:min(len(b), maxChunkLine)]
	size, digits, next, err := chunkLine(window)
	if err == ErrShort && len(b) >= maxChunkLine { //nolint:errorlint // our own, not wrapped
		err = bad(maxChunkLine, "a chunk line beyond the limit", "9112 7.1.1")
	}
	if err != nil {
		return 0, err
	}
	if s.extra += uint32(next - digits - 2); s.extra > maxOverhead {
		return 0, bad(digits, "chunk extensions beyond the limit", "9112 7.1.1")
	}
	s.left, s.step = size, stepData
	if size == 0 {
		s.step = stepTrailer
	}
	return next, nil
}

func chunkEnd(b []byte) (int, error) {
	if b[0] != '\r' || len(b) > 1 && b[1] != '\n' {
		return 0, bad(0, "no CRLF behind a chunk", "9112 7.1")
	}
	if len(b) == 1 {
		return 0, ErrShort
	}
	return 2, nil
}

// trailer takes a line of the trailer section (RFC 9112 section 7.1.2).
func (s *Body) trailer(b []byte) (int, error) {
	room := maxOverhead - int(s.extra)
	window := b[:min(len(b), room)]
	f, next, end, err := line(window, 0, false, false)
	if err == ErrShort && len(b) >= room { //nolint:errorlint // our own, not wrapped
		err = bad(room, "trailers beyond the limit", "9112 7.1.2")
	}
	if err != nil {
		return 0, err
	}
	if end {
		s.step = stepDone
		return next, nil
	}
	if f.id != idOther && f.id != idVia || credential(b[f.name:f.nameEnd]) {
		return 0, bad(0, "a trailer that must not be one", "9110 6.5.1")
	}
	s.extra += uint32(next)
	return next, nil
}

// credential says that a field authenticates or carries state: like what frames or routes, it must not come behind the
// body, where a recipient that merges trailers would find it (RFC 9110 section 6.5.1).
func credential(name []byte) bool {
	return fold(name, "authorization") || fold(name, "proxy-authorization") || fold(name, "cookie") ||
		fold(name, "set-cookie") || fold(name, "content-encoding") || fold(name, "content-type") || fold(name, "content-range")
}
