package http2

import "encoding/binary"

// Preface is what a client sends first (RFC 9113 section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frameHeader is the length of what is in front of a frame's payload: length (24 bits), type, flags, stream (31 bits).
const frameHeader = 9

// maxFrame is the largest payload that is taken and sent: the default of SETTINGS_MAX_FRAME_SIZE, below which no peer's is.
const maxFrame = 16 << 10

// Types of frames (RFC 9113 section 6).
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameReset        = 0x3
	frameSettings     = 0x4
	framePush         = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindow       = 0x8
	frameContinuation = 0x9
)

// Flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// frame is a complete frame; its payload is a view.
type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

// nextFrame reads the frame that b begins with; n is 0 when it is not complete.
func nextFrame(b []byte) (f frame, n int, err error) {
	if len(b) < frameHeader {
		return f, 0, nil
	}
	length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	if length > maxFrame {
		return f, 0, fault(FrameSizeError, "a frame that is too large", "9113 4.2")
	}
	if n = frameHeader + length; len(b) < n {
		return f, 0, nil
	}
	f.kind, f.flags = b[3], b[4]
	f.stream = binary.BigEndian.Uint32(b[5:]) & (1<<31 - 1)
	f.payload = b[frameHeader:n:n]
	return f, n, nil
}

// content is the payload of a DATA or HEADERS frame without its padding.
func (f *frame) content() ([]byte, error) {
	p := f.payload
	if f.flags&flagPadded == 0 {
		return p, nil
	}
	if len(p) == 0 {
		return nil, fault(FrameSizeError, "a padded frame without the length of its padding", "9113 6.1")
	}
	pad := int(p[0])
	if p = p[1:]; pad > len(p) {
		return nil, fault(ProtocolError, "more padding than payload", "9113 6.1")
	}
	return p[:len(p)-pad], nil
}

func putFrameHeader(b []byte, n int, kind, flags byte, stream uint32) {
	b[0], b[1], b[2], b[3], b[4] = byte(n>>16), byte(n>>8), byte(n), kind, flags
	binary.BigEndian.PutUint32(b[5:], stream)
}

func appendFrameHeader(dst []byte, n int, kind, flags byte, stream uint32) []byte {
	var h [frameHeader]byte
	putFrameHeader(h[:], n, kind, flags, stream)
	return append(dst, h[:]...)
}

func appendReset(dst []byte, stream uint32, code Code) []byte {
	dst = appendFrameHeader(dst, 4, frameReset, 0, stream)
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

func appendWindow(dst []byte, stream uint32, n int) []byte {
	dst = appendFrameHeader(dst, 4, frameWindow, 0, stream)
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}
