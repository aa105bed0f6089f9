// Package bolt reads SOFABolt frames, version 1, and patches them in place
// (https://github.com/sofastack/sofa-bolt, RpcCommandDecoder and RpcProtocol). All integers are big-endian.
//
// It does no I/O and allocates nothing: a Frame is a view into the caller's bytes.
package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Kind is the type byte of a frame.
type Kind uint8

// Kinds of a frame.
const (
	Response Kind = 0
	Request  Kind = 1
	Oneway   Kind = 2
)

// Command codes.
const (
	cmdHeartbeat = 0
	cmdRequest   = 1
	cmdResponse  = 2
	cmdGoAway    = 100
)

// Status of a response.
type Status uint16

// Statuses that a proxy answers with (ResponseStatus of the reference implementation).
const (
	StatusOK            Status = 0
	StatusError         Status = 1
	StatusServerBusy    Status = 4
	StatusCommunication Status = 5
	StatusNoProcessor   Status = 6
	StatusTimeout       Status = 7
	StatusClosed        Status = 0x10
)

// Offsets of version 1. Type, command, id and codec stand at the same place in requests and responses.
const (
	offProto   = 0
	offType    = 1
	offCmd     = 2
	offVer2    = 4
	offID      = 5
	offCodec   = 9
	offTimeout = 10 // request
	offStatus  = 10 // response

	requestHead  = 22
	responseHead = 20
)

// protoV1 is the first byte of a version 1 frame.
const protoV1 = 1

// MaxFrame is the largest frame that is forwarded, in bytes.
const MaxFrame = 8 << 20

// ErrShort says that the bytes end inside the frame. It is no fault.
var ErrShort = errors.New("frame is not complete")

// FormatError is what no peer may send.
type FormatError struct {
	Field  string
	Offset int // from the frame's first byte
	Value  uint64
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("bolt: %s at offset %d is %d, which no peer may send", e.Field, e.Offset, e.Value)
}

// Frame is a view into the caller's buffer, valid until that buffer changes. The zero value is no frame.
type Frame struct {
	raw       []byte
	headerAt  int
	contentAt int
}

// Next returns the first frame of b. It returns ErrShort when b ends inside the frame, and a *FormatError naming the
// field and its offset when no peer may send it.
func Next(b []byte) (Frame, error) {
	if len(b) < offCmd {
		if len(b) > 0 && b[offProto] != protoV1 {
			return Frame{}, &FormatError{"protocol", offProto, uint64(b[offProto])}
		}
		return Frame{}, ErrShort
	}
	if b[offProto] != protoV1 {
		return Frame{}, &FormatError{"protocol", offProto, uint64(b[offProto])}
	}
	kind := Kind(b[offType])
	if kind > Oneway {
		return Frame{}, &FormatError{"type", offType, uint64(kind)}
	}
	head := headLen(kind)
	if len(b) < head {
		return Frame{}, ErrShort
	}
	class := int(binary.BigEndian.Uint16(b[head-8:]))
	header := int(binary.BigEndian.Uint16(b[head-6:]))
	content := binary.BigEndian.Uint32(b[head-4:])
	if class > 0x7fff {
		return Frame{}, &FormatError{"class length", head - 8, uint64(class)}
	}
	if header > 0x7fff {
		return Frame{}, &FormatError{"header length", head - 6, uint64(header)}
	}
	if content > MaxFrame {
		return Frame{}, &FormatError{"content length", head - 4, uint64(content)}
	}
	end := head + class + header + int(content)
	if len(b) < end {
		return Frame{}, ErrShort
	}
	return Frame{raw: b[:end:end], headerAt: head + class, contentAt: head + class + header}, nil
}

func headLen(k Kind) int {
	if k == Response {
		return responseHead
	}
	return requestHead
}

// Need returns how many bytes the frame that b begins has in all, or 0 when b does not say yet.
func Need(b []byte) int {
	if len(b) < responseHead || b[offProto] != protoV1 || Kind(b[offType]) > Oneway {
		return 0
	}
	head := headLen(Kind(b[offType]))
	if len(b) < head {
		return 0
	}
	return head + int(binary.BigEndian.Uint16(b[head-8:])) + int(binary.BigEndian.Uint16(b[head-6:])) +
		int(min(binary.BigEndian.Uint32(b[head-4:]), MaxFrame))
}

// Bytes is the whole frame.
func (f Frame) Bytes() []byte { return f.raw }

// Kind of the frame.
func (f Frame) Kind() Kind { return Kind(f.raw[offType]) }

// ID pairs a response with its request on one connection. It wraps at 2^32.
func (f Frame) ID() uint32 { return binary.BigEndian.Uint32(f.raw[offID:]) }

// SetID rewrites the id in place.
func (f Frame) SetID(id uint32) { PutID(f.raw, id) }

// PutID rewrites the id of the frame that b begins.
func PutID(b []byte, id uint32) { binary.BigEndian.PutUint32(b[offID:], id) }

// Heartbeat says that the frame is a heartbeat or the answer to one.
func (f Frame) Heartbeat() bool { return f.command() == cmdHeartbeat }

// GoAway says that the peer takes no further requests on this connection.
func (f Frame) GoAway() bool { return f.command() == cmdGoAway }

func (f Frame) command() uint16 { return binary.BigEndian.Uint16(f.raw[offCmd:]) }

// Codec is the serialisation of the content; error replies repeat it.
func (f Frame) Codec() byte { return f.raw[offCodec] }

// Timeout of a request, 0 when it has none.
func (f Frame) Timeout() time.Duration {
	ms := int32(binary.BigEndian.Uint32(f.raw[offTimeout:]))
	return time.Duration(max(ms, 0)) * time.Millisecond
}

// Status of a response.
func (f Frame) Status() Status { return Status(binary.BigEndian.Uint16(f.raw[offStatus:])) }

// Header is the frame's header map, unparsed.
func (f Frame) Header() []byte { return f.raw[f.headerAt:f.contentAt] }
