// Package wire reads and writes Bolt v1 frames for the strict peers. It is written from the protocol's description
// alone and shares nothing with the product's codec, so that a mistake in one cannot hide in the other.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of the fixed part of a frame, and the largest frame that is accepted.
const (
	requestFixed  = 22
	responseFixed = 20
	// MaxFrame bounds what one frame may make a reader hold.
	MaxFrame = 8 << 20
)

// Kind is the frame's type byte.
type Kind uint8

// The three kinds of frame.
const (
	Response Kind = 0
	Request  Kind = 1
	Oneway   Kind = 2
)

// Command is the frame's command code.
type Command uint16

// The commands that the peers know.
const (
	Heartbeat Command = 0
	Call      Command = 1
	Answer    Command = 2
	Goaway    Command = 100
)

// Hessian2 is the codec byte that RPC frameworks send by default. The peers' content is opaque to everyone else.
const Hessian2 = 1

// VersionKey is the header key by which a server says its version in an answer.
const VersionKey = "peer_version"

// Frame is one Bolt v1 frame. Class, Header and Content of a parsed frame point into the buffer it came from.
type Frame struct {
	Kind    Kind
	Command Command
	ID      uint32
	Codec   uint8
	// Timeout in milliseconds, of requests; -1 is none.
	Timeout int32
	// Status of responses; 0 is success.
	Status  uint16
	Class   []byte
	Header  []byte
	Content []byte
}

// ErrShort says that the buffer ends before the frame does.
var ErrShort = errors.New("frame is not complete")

// Parse returns the first frame of b and its length. It returns ErrShort when more bytes are needed, and another error
// when no Bolt v1 peer may send these bytes.
func Parse(b []byte) (Frame, int, error) {
	if len(b) < responseFixed {
		return Frame{}, 0, ErrShort
	}
	if b[0] != 1 {
		return Frame{}, 0, fmt.Errorf("protocol byte is %d, not 1", b[0])
	}
	f := Frame{
		Kind:    Kind(b[1]),
		Command: Command(binary.BigEndian.Uint16(b[2:])),
		ID:      binary.BigEndian.Uint32(b[5:]),
		Codec:   b[9],
	}
	if b[4] != 1 {
		return Frame{}, 0, fmt.Errorf("command version is %d, not 1", b[4])
	}
	fixed := responseFixed
	switch f.Kind {
	case Response:
		f.Status = binary.BigEndian.Uint16(b[10:])
	case Request, Oneway:
		if len(b) < requestFixed {
			return Frame{}, 0, ErrShort
		}
		f.Timeout = int32(binary.BigEndian.Uint32(b[10:]))
		fixed = requestFixed
	default:
		return Frame{}, 0, fmt.Errorf("type byte is %d", b[1])
	}
	lengths := b[fixed-8 : fixed]
	class := int(binary.BigEndian.Uint16(lengths))
	header := int(binary.BigEndian.Uint16(lengths[2:]))
	content := int(binary.BigEndian.Uint32(lengths[4:]))
	size := fixed + class + header + content
	if size > MaxFrame {
		return Frame{}, 0, fmt.Errorf("frame of %d bytes is over the limit of %d", size, MaxFrame)
	}
	if len(b) < size {
		return Frame{}, 0, ErrShort
	}
	rest := b[fixed:size]
	f.Class, rest = rest[:class:class], rest[class:]
	f.Header, f.Content = rest[:header:header], rest[header:]
	return f, size, nil
}

// Append encodes f behind dst.
func Append(dst []byte, f Frame) []byte {
	dst = append(dst, 1, byte(f.Kind))
	dst = binary.BigEndian.AppendUint16(dst, uint16(f.Command))
	dst = append(dst, 1)
	dst = binary.BigEndian.AppendUint32(dst, f.ID)
	dst = append(dst, f.Codec)
	if f.Kind == Response {
		dst = binary.BigEndian.AppendUint16(dst, f.Status)
	} else {
		dst = binary.BigEndian.AppendUint32(dst, uint32(f.Timeout))
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(f.Class)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(f.Header)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(f.Content)))
	dst = append(dst, f.Class...)
	dst = append(dst, f.Header...)
	return append(dst, f.Content...)
}

// AppendPair encodes one key and value of a header map behind dst.
func AppendPair(dst []byte, key, value string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(key)))
	dst = append(dst, key...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	return append(dst, value...)
}

// Lookup returns the value of key in an encoded header map; ok is false when it is absent, null, or the map is broken
// before it.
func Lookup(header []byte, key string) (value string, ok bool) {
	for len(header) > 0 {
		k, rest, err := text(header)
		if err != nil {
			return "", false
		}
		v, rest, err := text(rest)
		if err != nil {
			return "", false
		}
		if k != nil && string(k) == key {
			return string(v), v != nil
		}
		header = rest
	}
	return "", false
}

// text reads one length-prefixed string; a length of -1 is null, returned as nil.
func text(b []byte) (value, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, ErrShort
	}
	n := int32(binary.BigEndian.Uint32(b))
	b = b[4:]
	if n == -1 {
		return nil, b, nil
	}
	if n < 0 || int(n) > len(b) {
		return nil, nil, ErrShort
	}
	return b[:n:n], b[n:], nil
}
