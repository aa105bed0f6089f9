// Package sniff tells a connection's protocol by its first bytes, for listeners that serve several.
package sniff

import "bytes"

// Protocol is what a connection begins with.
type Protocol uint8

// The protocols that can be told apart. Other is what none of the rest begins with.
const (
	Other Protocol = iota
	Bolt
	Dubbo
	HTTP1
	HTTP2
	TLS
)

// preface begins a client's HTTP/2 connection (RFC 9113 section 3.4).
var preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

// methods begin a request of HTTP/1 (RFC 9110 section 9, RFC 5789), with the space that ends them.
var methods = [...]string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH "}

// Next tells the protocol of a connection that begins with b; ok is false while more bytes are needed, which are at most 24.
func Next(b []byte) (p Protocol, ok bool) {
	if len(b) == 0 {
		return Other, false
	}
	switch b[0] {
	case 1, 2:
		return bolt(b)
	case 0xda: // https://dubbo.apache.org/en/overview/reference/protocols/tcp/
		return start(b, []byte{0xda, 0xbb}, Dubbo)
	case 0x16: // a handshake record; its version's first byte (RFC 8446 section 5.1)
		return start(b, []byte{0x16, 3}, TLS)
	}
	if p, ok := start(b, preface, HTTP2); p == HTTP2 || !ok {
		return p, ok
	}
	known := true
	for _, m := range methods {
		p, ok := start(b, []byte(m), HTTP1)
		if p == HTTP1 {
			return HTTP1, true
		}
		known = known && ok
	}
	return Other, known
}

// start says that b begins with want, or that it has not come far enough to tell.
func start(b, want []byte, p Protocol) (Protocol, bool) {
	n := min(len(b), len(want))
	if !bytes.Equal(b[:n], want[:n]) {
		return Other, true
	}
	if n < len(want) {
		return Other, false
	}
	return p, true
}

// bolt looks at the protocol's version and the type of the command (https://github.com/sofastack/sofa-bolt,
// RpcCommandDecoder and RpcCommandDecoderV2): proto 1, type; or proto 2, version 1 or 2, type.
func bolt(b []byte) (Protocol, bool) {
	at := int(b[0])
	if at == 2 && len(b) > 1 && b[1] != 1 && b[1] != 2 {
		return Other, true
	}
	if len(b) <= at {
		return Other, false
	}
	if b[at] > 2 { // response, request, oneway
		return Other, true
	}
	return Bolt, true
}
