// Package dubbo reads the frames of Dubbo 2, patches their ids in place, finds in a request's body what routes it, and writes
// the few frames that a proxy answers with (https://cn.dubbo.apache.org/en/overview/reference/protocols/tcp/ and Apache Dubbo's
// ExchangeCodec and DubboCodec). All integers are big-endian:
//
//	0  u16 magic 0xdabb
//	2  u8  flags: 0x80 request, 0x40 wants an answer, 0x20 event, low five bits the serialisation of the body
//	3  u8  status of a response
//	4  u64 id
//	12 u32 length of the body
//
// It does no I/O and allocates nothing: a Frame is a view into the caller's bytes.
package dubbo

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Kind of a frame.
type Kind uint8

// Kinds of a frame. Events have one, too.
const (
	Response Kind = iota
	Request
	Oneway
)

// Status of a response.
type Status uint8

// Statuses that a proxy answers with (Response of the reference implementation).
const (
	StatusOK              Status = 20
	StatusServerTimeout   Status = 31
	StatusChannelInactive Status = 35
	StatusBadRequest      Status = 40
	StatusServiceNotFound Status = 60
	StatusServerError     Status = 80
	StatusExhausted       Status = 100 // SERVER_THREADPOOL_EXHAUSTED_ERROR: it has no room for the request
)

// MaxFrame is the largest body that is forwarded, in bytes; it is the reference implementation's default, too.
const MaxFrame = 8 << 20

// maxEvent bounds the body of an event, which is a null or one letter.
const maxEvent = 1 << 10

// FirstByte of every frame.
const FirstByte = magic0

const (
	magic0 = 0xda
	magic1 = 0xbb

	flagRequest = 0x80
	flagTwoWay  = 0x40
	flagEvent   = 0x20
	maskCodec   = 0x1f

	offFlags  = 2
	offStatus = 3
	offID     = 4
	offLength = 12
	headLen   = 16
)

// Hessian2 is the serialisation that requests can be routed by.
const Hessian2 = 2

// ErrShort says that the bytes end inside the frame. It is no fault.
var ErrShort = errors.New("frame is not complete")

// FormatError is what no peer may send.
type FormatError struct {
	Field  string
	Offset int // from the frame's first byte, or from the body's in the body
	Value  uint64
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("dubbo: %s at offset %d is %d, which no peer may send", e.Field, e.Offset, e.Value)
}

// Frame is a view into the caller's buffer, valid until that buffer changes. The zero value is no frame.
type Frame struct{ raw []byte }

// Next returns the first frame of b. It returns ErrShort when b ends inside the frame, and a *FormatError naming the
// field and its offset when no peer may send it.
func Next(b []byte) (Frame, error) {
	if len(b) > 0 && b[0] != magic0 {
		return Frame{}, &FormatError{"magic", 0, uint64(b[0])}
	}
	if len(b) > 1 && b[1] != magic1 {
		return Frame{}, &FormatError{"magic", 1, uint64(b[1])}
	}
	if len(b) < headLen {
		return Frame{}, ErrShort
	}
	n := binary.BigEndian.Uint32(b[offLength:])
	if n > MaxFrame {
		return Frame{}, &FormatError{"length", offLength, uint64(n)}
	}
	if b[offFlags]&flagEvent != 0 && n > maxEvent {
		return Frame{}, &FormatError{"length of an event", offLength, uint64(n)}
	}
	end := headLen + int(n)
	if len(b) < end {
		return Frame{}, ErrShort
	}
	return Frame{b[:end:end]}, nil
}

// Seen returns the frame that a Frame's Bytes are.
func Seen(b []byte) Frame { return Frame{b} }

// Bytes is the whole frame.
func (f Frame) Bytes() []byte { return f.raw }

// Kind of the frame.
func (f Frame) Kind() Kind {
	switch f.raw[offFlags] & (flagRequest | flagTwoWay) {
	case flagRequest | flagTwoWay:
		return Request
	case flagRequest:
		return Oneway
	}
	return Response
}

// Event says that the frame belongs to the connection, not to an application: a heartbeat, its answer, or news.
func (f Frame) Event() bool { return f.raw[offFlags]&flagEvent != 0 }

// ReadOnly says that the peer takes no further requests on this connection. The news is the letter R, written by hessian2
// or as JSON.
func (f Frame) ReadOnly() bool {
	if !f.Event() || f.Kind() == Response {
		return false
	}
	body := f.body()
	return string(body) == "\x01R" || len(body) >= 3 && string(body[:3]) == `"R"`
}

// ID pairs a response with its request on one connection.
func (f Frame) ID() uint64 { return binary.BigEndian.Uint64(f.raw[offID:]) }

// SetID rewrites the id in place.
func (f Frame) SetID(id uint64) { PutID(f.raw, id) }

// PutID is SetID for a copy of a frame, which b begins with.
func PutID(b []byte, id uint64) { binary.BigEndian.PutUint64(b[offID:], id) }

// Serialization of the body.
func (f Frame) Serialization() byte { return f.raw[offFlags] & maskCodec }

// Status of a response.
func (f Frame) Status() Status { return Status(f.raw[offStatus]) }

func (f Frame) body() []byte { return f.raw[headLen:] }
