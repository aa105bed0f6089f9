// Package h2 is just enough of HTTP/2 (RFC 9113) for the load generator and its server: cleartext with prior knowledge,
// POST or a unary gRPC call, one size of content. It shares nothing with the product's codec, so that a mistake in one
// cannot hide in the other.
package h2

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Kinds of frames (RFC 9113, section 6).
const (
	data         = 0x0
	headers      = 0x1
	reset        = 0x3
	settings     = 0x4
	ping         = 0x6
	goaway       = 0x7
	windowUpdate = 0x8
	continuation = 0x9
)

// Flags of frames.
const (
	ack         = 0x1
	endStream   = 0x1
	endHeaders  = 0x4
	padded      = 0x8
	hasPriority = 0x20
)

// Settings that matter here (section 6.5.2).
const (
	tableSize     = 0x1
	enablePush    = 0x2
	maxStreams    = 0x3
	initialWindow = 0x4
)

const (
	frameHead = 9
	// maxFrame is what a peer may send without having been allowed more.
	maxFrame = 16 << 10
	// firstWindow is every window before anyone has said anything.
	firstWindow = 65535
	// wide is the window that is granted here; half of it used, it is granted again.
	wide = 1 << 30
	// streams that the server takes at once.
	streams = 1000
)

// preface is what a client says first.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

var errFrame = errors.New("no peer may send this frame")

// frame is a view into the bytes that it was read from.
type frame struct {
	kind, flags uint8
	stream      uint32
	payload     []byte
}

// next returns the first frame of b and its length, 0 when b ends inside it. Padding and priority are cut off.
func next(b []byte) (frame, int, error) {
	if len(b) < frameHead {
		return frame{}, 0, nil
	}
	size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	if size > maxFrame {
		return frame{}, 0, fmt.Errorf("%d bytes of payload: %w", size, errFrame)
	}
	if len(b) < frameHead+size {
		return frame{}, 0, nil
	}
	f := frame{kind: b[3], flags: b[4], stream: binary.BigEndian.Uint32(b[5:]) & 0x7fffffff, payload: b[frameHead : frameHead+size]}
	cut := 0
	if f.flags&padded != 0 && (f.kind == data || f.kind == headers) {
		if size == 0 {
			return frame{}, 0, fmt.Errorf("padding without its length: %w", errFrame)
		}
		cut = int(f.payload[0])
		f.payload = f.payload[1:]
	}
	if f.flags&hasPriority != 0 && f.kind == headers {
		if len(f.payload) < 5 {
			return frame{}, 0, fmt.Errorf("a priority of %d bytes: %w", len(f.payload), errFrame)
		}
		f.payload = f.payload[5:]
	}
	if cut > len(f.payload) {
		return frame{}, 0, fmt.Errorf("%d bytes of padding in %d: %w", cut, len(f.payload), errFrame)
	}
	f.payload = f.payload[:len(f.payload)-cut]
	return f, frameHead + size, nil
}

func appendFrame(dst []byte, kind, flags uint8, stream uint32, payload ...byte) []byte {
	n := len(payload)
	dst = append(dst, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	dst = binary.BigEndian.AppendUint32(dst, stream)
	return append(dst, payload...)
}

func appendSetting(dst []byte, id uint16, value uint32) []byte {
	dst = binary.BigEndian.AppendUint16(dst, id)
	return binary.BigEndian.AppendUint32(dst, value)
}

func appendWindow(dst []byte, stream, more uint32) []byte {
	return appendFrame(dst, windowUpdate, 0, stream, binary.BigEndian.AppendUint32(nil, more)...)
}
