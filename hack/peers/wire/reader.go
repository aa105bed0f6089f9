package wire

import (
	"errors"
	"fmt"
	"io"
)

// Reader cuts a byte stream into frames. A frame is valid until the next call of Next.
type Reader struct {
	src        io.Reader
	buf        []byte
	start, end int
}

// NewReader reads frames from src.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, 4<<10)}
}

// Next returns the next frame. It returns io.EOF at a clean end, io.ErrUnexpectedEOF when the stream ends inside a frame,
// and the source's own error otherwise.
func (r *Reader) Next() (Frame, error) {
	for {
		f, n, err := Parse(r.buf[r.start:r.end])
		if err == nil {
			r.start += n
			return f, nil
		}
		if !errors.Is(err, ErrShort) {
			return Frame{}, fmt.Errorf("parse frame: %w", err)
		}
		if err := r.fill(); err != nil {
			return Frame{}, err
		}
	}
}

// Buffered says whether bytes have been read that no frame was made of yet.
func (r *Reader) Buffered() bool { return r.start < r.end }

func (r *Reader) fill() error {
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	if r.end == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil
	}
	if errors.Is(err, io.EOF) && r.end > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}
