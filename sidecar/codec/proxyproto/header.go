// Package proxyproto reads the header of the PROXY protocol, versions 1 and 2, which a load balancer writes in front of a
// connection's bytes to say who its client is (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
)

// MaxHeader bounds a header in bytes. Version 1 has at most 107 (section 2.1); of version 2 more could be announced, but what
// does not fit into one packet no sender may count on (section 2.2).
const MaxHeader = 1 << 10

// Sizes from section 2.
const (
	maxText    = 107
	fixed      = 16 // of a version 2 header: signature, version and command, family, length
	lengthAt   = 14
	lengthIPv4 = 12
	lengthIPv6 = 36
)

// signature begins a header of version 2 (section 2.2).
var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

var textStart = []byte("PROXY")

// ErrShort says that the bytes end inside the header.
var ErrShort = errors.New("proxy protocol: header is not complete")

// A FormatError says what no sender may write.
type FormatError struct{ What string }

func (e *FormatError) Error() string { return "proxy protocol: " + e.What }

func malformed(format string, args ...any) error {
	return &FormatError{What: fmt.Sprintf(format, args...)}
}

// Header is what the sender says of a connection. The zero value is that of a connection which the sender opened for itself,
// such as a health check, or whose addresses it does not know.
type Header struct{ Source, Destination netip.AddrPort }

// Next reads the header at the start of b and returns its length in bytes. It returns ErrShort while more bytes are needed, and
// a *FormatError for what is no header.
func Next(b []byte) (Header, int, error) {
	switch {
	case starts(b, signature):
		return binaryHeader(b)
	case starts(b, textStart):
		return textHeader(b)
	}
	return Header{}, 0, malformed("the connection begins with %q, which is no header", b[:min(len(b), len(signature))])
}

// starts says that b begins with start, or may do so once it is longer.
func starts(b, start []byte) bool {
	n := min(len(b), len(start))
	return bytes.Equal(b[:n], start[:n])
}

// textHeader reads version 1: PROXY TCP4 SOURCE DESTINATION PORT PORT CR LF (section 2.1).
func textHeader(b []byte) (Header, int, error) {
	end := bytes.Index(b[:min(len(b), maxText)], []byte("\r\n"))
	if end < 0 {
		if len(b) >= maxText {
			return Header{}, 0, malformed("the line has no end within %d bytes", maxText)
		}
		return Header{}, 0, ErrShort
	}
	line, n := string(b[:end]), end+2
	fields := bytes.Split(b[:end], []byte{' '})
	if string(fields[0]) != string(textStart) || len(fields) < 2 {
		return Header{}, 0, malformed("line %q", line)
	}
	family := string(fields[1])
	switch {
	case family == "UNKNOWN":
		return Header{}, n, nil
	case family != "TCP4" && family != "TCP6":
		return Header{}, 0, malformed("line %q: family %q is none of TCP4, TCP6 and UNKNOWN", line, family)
	case len(fields) != 6:
		return Header{}, 0, malformed("line %q: %d fields, not 6", line, len(fields))
	}
	source, err := textAddr(string(fields[2]), string(fields[4]), family == "TCP4")
	if err != nil {
		return Header{}, 0, malformed("line %q: source: %v", line, err)
	}
	destination, err := textAddr(string(fields[3]), string(fields[5]), family == "TCP4")
	if err != nil {
		return Header{}, 0, malformed("line %q: destination: %v", line, err)
	}
	return Header{source, destination}, n, nil
}

func textAddr(host, port string, four bool) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if addr.Is4() != four || addr.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%q is not of the line's family", host)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port != strconv.FormatUint(number, 10) {
		return netip.AddrPort{}, fmt.Errorf("%q is no port", port)
	}
	return netip.AddrPortFrom(addr, uint16(number)), nil
}

// Commands and families of version 2 (section 2.2).
const (
	commandLocal = 0x0
	commandProxy = 0x1
	tcp4         = 0x11
	tcp6         = 0x21
)

func binaryHeader(b []byte) (Header, int, error) {
	if len(b) < fixed {
		return Header{}, 0, ErrShort
	}
	if version := b[12] >> 4; version != 2 {
		return Header{}, 0, malformed("version %d", version)
	}
	n := fixed + int(binary.BigEndian.Uint16(b[lengthAt:]))
	if n > MaxHeader {
		return Header{}, 0, malformed("a header of %d bytes is over the limit of %d", n, MaxHeader)
	}
	if len(b) < n {
		return Header{}, 0, ErrShort
	}
	command, body := b[12]&0xf, b[fixed:n]
	switch {
	case command == commandLocal:
		return Header{}, n, nil
	case command != commandProxy:
		return Header{}, 0, malformed("command %d is neither LOCAL nor PROXY", command)
	case b[13] == tcp4:
		return addresses[[4]byte](body, n, lengthIPv4, netip.AddrFrom4)
	case b[13] == tcp6:
		return addresses[[16]byte](body, n, lengthIPv6, netip.AddrFrom16)
	}
	return Header{}, n, nil // a family that is not TCP: the receiver uses the connection's own addresses
}

// addresses reads two addresses and two ports, of length bytes, from the body of a header of n bytes; what follows them
// (section 2.2.1) is not looked at.
func addresses[A [4]byte | [16]byte](body []byte, n, length int, addr func(A) netip.Addr) (Header, int, error) {
	if len(body) < length {
		return Header{}, 0, malformed("%d bytes of addresses, not %d", len(body), length)
	}
	var source, destination A
	size := (length - 4) / 2
	sourceAt, destinationAt := body[:size], body[size:2*size]
	ports := body[2*size:]
	source, destination = A(sourceAt), A(destinationAt)
	return Header{
		Source:      netip.AddrPortFrom(addr(source), binary.BigEndian.Uint16(ports)),
		Destination: netip.AddrPortFrom(addr(destination), binary.BigEndian.Uint16(ports[2:])),
	}, n, nil
}
