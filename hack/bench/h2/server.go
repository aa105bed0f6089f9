package h2

import (
	"fmt"
	"strings"
)

// Server is the server's end of one connection: it answers every request with its own content. Make it with NewServer.
type Server struct {
	Shape
	peer
	blocks  blocks
	ready   bool // blocks are there
	greeted bool // the preface has come
	asking  map[uint32][]byte
	free    [][]byte
	// held are answers that wait for the connection's window.
	held []answer
}

type answer struct {
	stream uint32
	token  uint64
}

// NewServer returns a server before its first byte.
func NewServer(s Shape) *Server {
	return &Server{Shape: s, peer: newPeer(), asking: map[uint32][]byte{}}
}

// Hello appends what a server says first.
func (s *Server) Hello(dst []byte) []byte { return appendHello(dst) }

// Serve takes the first frame of b and returns its length, 0 when b ends inside it; dst gets what has to be said.
func (s *Server) Serve(b, dst []byte) (int, []byte, error) {
	if !s.greeted {
		n := min(len(b), len(preface))
		if string(b[:n]) != preface[:n] {
			return 0, dst, fmt.Errorf("a client that begins with %q: %w", b[:n], errWrong)
		}
		if n < len(preface) {
			return 0, dst, nil
		}
		s.greeted = true
		return n, dst, nil
	}
	f, n, err := next(b)
	if n == 0 || err != nil {
		return 0, dst, err
	}
	switch f.kind {
	case data:
		dst = s.took(n-frameHead, dst)
		got, ok := s.asking[f.stream]
		if !ok {
			return n, dst, nil // the client has given up that request
		}
		if got = append(got, f.payload...); len(got) > s.size() {
			return n, dst, fmt.Errorf("%d bytes of content: %w", len(got), errWrong)
		}
		s.asking[f.stream] = got
		if f.flags&endStream != 0 {
			dst, err = s.answer(f.stream, dst)
		}
	case headers, continuation:
		dst, err = s.head(f, dst)
	case reset:
		delete(s.asking, f.stream)
	default:
		if dst, err = s.connection(f, dst); err == nil {
			dst = s.release(dst)
		}
	}
	return n, dst, err
}

// head checks a request's headers.
func (s *Server) head(f frame, dst []byte) ([]byte, error) {
	begin, done, err := s.header(f)
	if err != nil || !done {
		return dst, err
	}
	if _, ok := s.asking[begin.stream]; !ok {
		if s.fields.method != "POST" || s.GRPC && (s.fields.te != "trailers" || !strings.HasPrefix(s.fields.contentType, "application/grpc")) {
			return dst, fmt.Errorf("a request with the headers %+v: %w", *s.fields, errWrong)
		}
		var buffer []byte
		if n := len(s.free); n > 0 {
			buffer, s.free = s.free[n-1], s.free[:n-1]
		}
		s.asking[begin.stream] = buffer[:0]
	}
	if begin.flags&endStream != 0 {
		return s.answer(begin.stream, dst)
	}
	return dst, nil
}

// answer checks a request that is complete and answers it.
func (s *Server) answer(stream uint32, dst []byte) ([]byte, error) {
	got := s.asking[stream]
	token, err := s.check(got)
	if err != nil {
		return dst, fmt.Errorf("stream %d: %w", stream, err)
	}
	delete(s.asking, stream)
	s.free = append(s.free, got)
	if !s.ready {
		if s.each < int64(s.size()) {
			return dst, fmt.Errorf("a window of %d bytes for each stream is too small here", s.each)
		}
		if s.blocks, err = encode(s.table, s.response()...); err != nil {
			return dst, err
		}
		s.ready = true
	}
	s.held = append(s.held, answer{stream, token})
	return s.release(dst), nil
}

// release sends the answers that the window has room for.
func (s *Server) release(dst []byte) []byte {
	done := 0
	for _, a := range s.held {
		if s.window < int64(s.size()) {
			break
		}
		done++
		s.window -= int64(s.size())
		b := s.blocks.take()
		dst = appendFrame(dst, headers, endHeaders, a.stream, b[0]...)
		if len(b) == 1 {
			dst = s.appendData(dst, endStream, a.stream, a.token)
			continue
		}
		dst = s.appendData(dst, 0, a.stream, a.token)
		dst = appendFrame(dst, headers, endHeaders|endStream, a.stream, b[1]...)
	}
	s.held = s.held[:copy(s.held, s.held[done:])]
	return dst
}
