// Package dubboframe reads and writes Dubbo 2 frames with hessian2 bodies for the strict peers. It is written from the
// protocol's description alone and shares nothing with the product's codec, so that a mistake in one cannot hide in the
// other.
//
// A frame is a head of 16 bytes (magic, flags, status, id, length of the body) and the body.
package dubboframe

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Head is the length of a frame's fixed part; an id starts at byte IDAt of it.
const (
	Head = 16
	IDAt = 4
)

// MaxFrame bounds what one frame may make a reader hold.
const MaxFrame = 8 << 20

// The flags, the low five bits of which name the serialisation.
const (
	flagRequest = 0x80
	flagTwoWay  = 0x40
	flagEvent   = 0x20
	serial      = 0x1f
)

// OK is the status of an answer that is none of an error.
const OK = 20

const hessian2 = 2

// null is hessian's N: the body of a heartbeat.
const null = 'N'

// ErrShort says that the buffer ends before the frame does.
var ErrShort = errors.New("frame is not complete")

// Frame is one frame. The Body of a parsed frame points into the buffer it came from.
type Frame struct {
	// Request is false for an answer; TwoWay requests want one; an Event is a heartbeat.
	Request, TwoWay, Event bool
	// Status of answers.
	Status uint8
	ID     uint64
	Body   []byte
}

// Parse returns the first frame of b and its length. It returns ErrShort when more bytes are needed, and another error
// when these peers may not send these bytes.
func Parse(b []byte) (Frame, int, error) {
	if len(b) < Head {
		return Frame{}, 0, ErrShort
	}
	if b[0] != 0xda || b[1] != 0xbb {
		return Frame{}, 0, fmt.Errorf("magic is %x, not dabb", b[:2])
	}
	flags := b[2]
	if flags&serial != hessian2 {
		return Frame{}, 0, fmt.Errorf("serialisation is %d, not hessian2", flags&serial)
	}
	n := binary.BigEndian.Uint32(b[12:])
	if n > MaxFrame-Head {
		return Frame{}, 0, fmt.Errorf("frame of %d bytes is over the limit of %d", uint64(n)+Head, MaxFrame)
	}
	size := Head + int(n)
	if len(b) < size {
		return Frame{}, 0, ErrShort
	}
	return Frame{
		Request: flags&flagRequest != 0, TwoWay: flags&flagTwoWay != 0, Event: flags&flagEvent != 0,
		Status: b[3], ID: binary.BigEndian.Uint64(b[IDAt:]), Body: b[Head:size],
	}, size, nil
}

// Append encodes f behind dst.
func Append(dst []byte, f Frame) []byte {
	flags := byte(hessian2)
	for flag, on := range map[byte]bool{flagRequest: f.Request, flagTwoWay: f.TwoWay, flagEvent: f.Event} {
		if on {
			flags |= flag
		}
	}
	dst = append(dst, 0xda, 0xbb, flags, f.Status)
	dst = binary.BigEndian.AppendUint64(dst, f.ID)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(f.Body)))
	return append(dst, f.Body...)
}

// Heartbeat answers one.
func Heartbeat(id uint64) Frame { return Frame{Event: true, Status: OK, ID: id, Body: []byte{null}} }
