package http2

import "fmt"

// Code is an error code of RST_STREAM and GOAWAY (RFC 9113 section 7).
type Code uint32

// Codes.
const (
	NoError          Code = 0x0
	ProtocolError    Code = 0x1
	InternalError    Code = 0x2
	FlowControlError Code = 0x3
	StreamClosed     Code = 0x5
	FrameSizeError   Code = 0x6
	RefusedStream    Code = 0x7
	Cancel           Code = 0x8
	CompressionError Code = 0x9
	EnhanceYourCalm  Code = 0xb
)

// Error is what ends a connection: nothing more can be read from it. The peer is told with [Conn.AppendGoAway].
type Error struct {
	Code    Code
	What    string // a constant text
	Section string // of RFC 9113, or of another RFC that it names
}

func (e *Error) Error() string {
	return fmt.Sprintf("http2: %s (RFC %s): code %d", e.What, e.Section, e.Code)
}

func fault(code Code, what, section string) *Error {
	return &Error{Code: code, What: what, Section: section}
}
