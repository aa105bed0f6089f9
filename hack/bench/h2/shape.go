package h2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// Shape is what the requests of a run look like.
type Shape struct {
	// GRPC makes them unary calls: a message with a prefix, and trailers behind the answer's.
	GRPC bool
	// Authority and Service go into headers, to be routed by.
	Authority, Service string
	// Content is every message; its first eight bytes are another token each time.
	Content []byte
}

var errWrong = errors.New("not the answer that was asked for")

// prefix is how long the head of a gRPC message is: a flag and a length.
const prefix = 5

// lead is what comes before the content.
func (s Shape) lead() []byte {
	if !s.GRPC {
		return nil
	}
	return binary.BigEndian.AppendUint32([]byte{0}, uint32(len(s.Content)))
}

// size is the length of a message with its lead.
func (s Shape) size() int { return len(s.lead()) + len(s.Content) }

func fields(pairs ...string) []hpack.HeaderField {
	var all []hpack.HeaderField
	for i := 0; i+1 < len(pairs); i += 2 {
		all = append(all, hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return all
}

func (s Shape) request() []hpack.HeaderField {
	path := "/bench/echo"
	if s.GRPC {
		path = "/com.axlemesh.bench.Echo/Call"
	}
	f := fields(":method", "POST", ":scheme", "http", ":path", path, ":authority", s.Authority)
	if s.GRPC {
		return append(f, fields("content-type", "application/grpc", "user-agent", "axle-bench", "te", "trailers", "grpc-accept-encoding", "gzip",
			"x-request-id", "7f2c1c5e-6a3b-4d7e-9a51-0c1f2e3d4b5a", "x-service", s.Service)...)
	}
	return append(f, fields("user-agent", "axle-bench", "accept", "*/*", "content-type", "application/octet-stream",
		"x-request-id", "7f2c1c5e-6a3b-4d7e-9a51-0c1f2e3d4b5a", "x-service", s.Service, "content-length", strconv.Itoa(len(s.Content)))...)
}

// response is the answer's headers and, of gRPC, its trailers.
func (s Shape) response() [][]hpack.HeaderField {
	const date = "Sun, 22 Nov 2026 12:00:00 GMT"
	if s.GRPC {
		return [][]hpack.HeaderField{
			fields(":status", "200", "content-type", "application/grpc", "date", date),
			fields("grpc-status", "0", "grpc-message", ""),
		}
	}
	return [][]hpack.HeaderField{fields(":status", "200", "server", "axle-bench", "date", date,
		"content-type", "application/octet-stream", "content-length", strconv.Itoa(len(s.Content)))}
}

// check returns the token of a message.
func (s Shape) check(message []byte) (uint64, error) {
	if len(message) != s.size() {
		return 0, fmt.Errorf("a message of %d bytes, want %d: %w", len(message), s.size(), errWrong)
	}
	lead := s.lead()
	if !bytes.HasPrefix(message, lead) {
		return 0, fmt.Errorf("a message that begins with %x: %w", message[:prefix], errWrong)
	}
	content := message[len(lead):]
	if !bytes.Equal(content[8:], s.Content[8:]) {
		return 0, fmt.Errorf("a message with other content: %w", errWrong)
	}
	return binary.BigEndian.Uint64(content), nil
}

// appendData appends a DATA frame with the content and another token.
func (s Shape) appendData(dst []byte, flags uint8, stream uint32, token uint64) []byte {
	n := s.size()
	dst = append(dst, byte(n>>16), byte(n>>8), byte(n), data, flags)
	dst = binary.BigEndian.AppendUint32(dst, stream)
	if s.GRPC {
		dst = binary.BigEndian.AppendUint32(append(dst, 0), uint32(len(s.Content)))
	}
	dst = append(dst, s.Content...)
	binary.BigEndian.PutUint64(dst[len(dst)-len(s.Content):], token)
	return dst
}
