// Package bolt reads SOFABolt frames, versions 1 and 2, patches them in place and writes the few that a proxy answers with
// (https://github.com/sofastack/sofa-bolt, RpcCommandDecoder, RpcCommandDecoderV2 and RpcProtocolV2). All integers are
// big-endian.
//
// Version 2 may end with a CRC32: when its second byte is 2 and bit 0 of this very frame's switch is set. A frame whose
// checksum is wrong is refused, because patching the id computes a new one, which must not hide what went wrong before.
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
	version   Version
}

// Next returns the first frame of b. It returns ErrShort when b ends inside the frame, and a *FormatError naming the
// field and its offset when no peer may send it.
func Next(b []byte) (Frame, error) {
	v, kind, err := start(b)
	if err != nil {
		return Frame{}, err
	}
	head := v.head(kind)
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
	end := head + class + header + int(content) + v.trailer()
	if len(b) < end {
		return Frame{}, ErrShort
	}
	if v == V2CRC && !sealed(b[:end]) {
		return Frame{}, &FormatError{"checksum", end - crcLen, uint64(binary.BigEndian.Uint32(b[end-crcLen:]))}
	}
	return Frame{raw: b[:end:end], headerAt: head + class, contentAt: head + class + header, version: v}, nil
}

// Seen returns the frame that b is, of which Next has returned the same view before.
func Seen(b []byte) Frame {
	v, kind, err := start(b)
	if err != nil {
		return Frame{}
	}
	head := v.head(kind)
	headerAt := head + int(binary.BigEndian.Uint16(b[head-8:]))
	return Frame{raw: b, headerAt: headerAt, contentAt: headerAt + int(binary.BigEndian.Uint16(b[head-6:])), version: v}
}

// Need returns how many bytes the frame that b begins has in all, or 0 when b does not say yet.
func Need(b []byte) int {
	v, kind, err := start(b)
	if err != nil {
		return 0
	}
	head := v.head(kind)
	return head + int(binary.BigEndian.Uint16(b[head-8:])) + int(binary.BigEndian.Uint16(b[head-6:])) +
		int(min(binary.BigEndian.Uint32(b[head-4:]), MaxFrame)) + v.trailer()
}

// Bytes is the whole frame.
func (f Frame) Bytes() []byte { return f.raw }

// Version is the frame's form.
func (f Frame) Version() Version { return f.version }

// Kind of the frame.
func (f Frame) Kind() Kind { return Kind(f.raw[offType+f.version.shift()]) }

// ID pairs a response with its request on one connection. It wraps at 2^32.
func (f Frame) ID() uint32 { return binary.BigEndian.Uint32(f.raw[offID+f.version.shift():]) }

// SetID rewrites the id in place, and the checksum of a frame that has one.
func (f Frame) SetID(id uint32) {
	binary.BigEndian.PutUint32(f.raw[offID+f.version.shift():], id)
	if f.version == V2CRC {
		seal(f.raw)
	}
}

// PutID is SetID for a copy of a frame, which b begins with and holds entirely.
func PutID(b []byte, id uint32) {
	if b[offProto] == protoV1 {
		binary.BigEndian.PutUint32(b[offID:], id)
		return
	}
	binary.BigEndian.PutUint32(b[offID+1:], id)
	if b[offVer1] == ver1CRC && b[offSwitch]&switchCRC != 0 {
		seal(b[:Need(b)])
	}
}

// Heartbeat says that the frame is a heartbeat or the answer to one.
func (f Frame) Heartbeat() bool { return f.command() == cmdHeartbeat }

// GoAway says that the peer takes no further requests on this connection.
func (f Frame) GoAway() bool { return f.command() == cmdGoAway }

func (f Frame) command() uint16 { return binary.BigEndian.Uint16(f.raw[offCmd+f.version.shift():]) }

// Codec is the serialisation of the content; error replies repeat it.
func (f Frame) Codec() byte { return f.raw[offCodec+f.version.shift()] }

// Timeout of a request, 0 when it has none.
func (f Frame) Timeout() time.Duration {
	ms := int32(binary.BigEndian.Uint32(f.raw[f.version.tail():]))
	return time.Duration(max(ms, 0)) * time.Millisecond
}

// Status of a response.
func (f Frame) Status() Status { return Status(binary.BigEndian.Uint16(f.raw[f.version.tail():])) }

// Header is the frame's header map, unparsed.
func (f Frame) Header() []byte { return f.raw[f.headerAt:f.contentAt] }
