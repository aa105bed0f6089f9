// Package load is the load generator of hack/bench and the server that it is measured against. Both are one thread on
// epoll.
package load

import (
	"errors"
	"fmt"

	"github.com/axlemesh/axle/hack/bench/h2"
)

// Service is the routing key of every request, and Interface and Version what Dubbo makes it of.
const (
	Interface = "com.axlemesh.bench.Echo"
	Version   = "1.0"
	Service   = Interface + ":" + Version
)

// Host is what every HTTP request is for.
const Host = "echo.bench"

// Protocol names what the load speaks.
type Protocol string

// The protocols. GRPC is HTTP/2 with unary calls, TLS is HTTP/1.1 over TLS.
const (
	Bolt  Protocol = "bolt"
	Dubbo Protocol = "dubbo"
	HTTP  Protocol = "http1"
	HTTP2 Protocol = "h2"
	GRPC  Protocol = "grpc"
	TLS   Protocol = "tls"
)

// client makes the requests of one connection and checks the answers.
type client interface {
	// Hello appends what a client says first.
	Hello(dst []byte) []byte
	// Room says whether a request may be sent now.
	Room() bool
	// Request appends one. Its answer comes with the same slot and token.
	Request(dst []byte, slot uint32, token uint64) []byte
	// Answer takes the first message of b; dst gets what has to be said in return.
	Answer(b, dst []byte) (h2.Answer, []byte, error)
}

// server answers every request of one connection with its own content.
type server interface {
	// Hello appends what a server says first.
	Hello(dst []byte) []byte
	// Serve takes the first message of b and returns its length, 0 when b ends inside it; dst gets the answer.
	Serve(b, dst []byte) (n int, out []byte, err error)
}

// sides make the two ends of one connection.
type sides struct {
	client func() client
	server func() server
}

func newSides(p Protocol, size int) (sides, error) {
	if size < 8 || size > maxSize {
		return sides{}, fmt.Errorf("a payload of %d bytes: it has to be 8, for a token, to %d", size, maxSize)
	}
	switch p {
	case Bolt:
		f := newFrames(size)
		return sides{func() client { return f }, func() server { return f }}, nil
	case Dubbo:
		c := newCalls(size)
		return sides{func() client { return c }, func() server { return c }}, nil
	case HTTP, TLS:
		f := newPages(size)
		return sides{func() client { return f }, func() server { return f }}, nil
	case HTTP2, GRPC:
		s := h2.Shape{GRPC: p == GRPC, Authority: Host, Service: Service, Content: Filler(size)}
		return sides{func() client { return h2.NewClient(s) }, func() server { return h2.NewServer(s) }}, nil
	}
	return sides{}, fmt.Errorf("protocol %q is none of %v", p, []Protocol{Bolt, Dubbo, HTTP, HTTP2, GRPC, TLS})
}

// maxSize of a payload: it is one DATA frame of HTTP/2.
const maxSize = 8 << 10

var errWrong = errors.New("not the answer that was asked for")

// Filler is a payload of that size.
func Filler(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = fill(i)
	}
	return b
}

func fill(i int) byte { return byte('a' + i%26) }

// stateless is the part of a protocol whose messages stand alone.
type stateless struct{}

// Hello says nothing.
func (stateless) Hello(dst []byte) []byte { return dst }

// Room is always there.
func (stateless) Room() bool { return true }
