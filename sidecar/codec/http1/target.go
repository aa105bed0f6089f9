package http1

import "bytes"

// Form of a request target (RFC 9112 section 3.2).
type Form uint8

// Forms of a request target.
const (
	Origin    Form = iota // a path
	Absolute              // a URI, as a client sends it to a proxy
	Authority             // host:port of a CONNECT
	Asterisk              // "*" of an OPTIONS
)

// Target is what a request is for.
type Target struct {
	Form   Form
	Scheme []byte // of the absolute form
	// Authority is host and port: the target's own, else the Host field's; the target's decides when they differ (RFC 9112
	// section 3.2.2). It may be empty.
	Authority []byte
	// Path is path and query as the target has them. It is empty, or begins with "?", when an absolute form has no path.
	Path []byte

	hostDiffers bool // the Host field has to be written anew

	from, to, methodFrom, methodTo int // while the head is not complete
}

// parseTarget reads b, which consists of target characters and begins at the head's offset at.
func parseTarget(b, method []byte, at int) (Target, error) {
	switch {
	case string(method) == "CONNECT":
		port, ok := splitAuthority(b)
		if !ok || len(port) == 0 {
			return Target{}, bad(at, "a CONNECT without host and port", "9112 3.2.3")
		}
		return Target{Form: Authority, Authority: b}, nil
	case b[0] == '/':
		return Target{Form: Origin, Path: b}, nil
	case len(b) == 1 && b[0] == '*':
		if string(method) != "OPTIONS" {
			return Target{}, bad(at, "an asterisk for another method than OPTIONS", "9112 3.2.4")
		}
		return Target{Form: Asterisk, Path: b}, nil
	}
	return parseAbsolute(b, at)
}

func parseAbsolute(b []byte, at int) (Target, error) {
	colon := bytes.IndexByte(b, ':')
	if colon < 0 || !fold(b[:colon], "http") && !fold(b[:colon], "https") {
		return Target{}, bad(at, "a target that is neither a path nor a URI of http", "9112 3.2.2")
	}
	rest := b[colon+1:]
	if len(rest) < 2 || rest[0] != '/' || rest[1] != '/' {
		return Target{}, bad(at+colon, "a URI without an authority", "9110 4.2.1")
	}
	rest = rest[2:]
	end := 0
	for end < len(rest) && rest[end] != '/' && rest[end] != '?' {
		end++
	}
	if _, ok := splitAuthority(rest[:end]); !ok {
		return Target{}, bad(at+colon+3, "a URI whose authority is no host and port", "9110 4.2")
	}
	return Target{Form: Absolute, Scheme: b[:colon], Authority: rest[:end], Path: rest[end:]}, nil
}

// splitAuthority reads uri-host [ ":" port ] (RFC 3986 section 3.2 without user information, which RFC 9110 section 4.2.4
// calls an error). The host must not be empty; the port may be.
func splitAuthority(b []byte) (port []byte, ok bool) {
	end := 0
	if len(b) > 0 && b[0] == '[' {
		if end = bytes.IndexByte(b, ']') + 1; end == 0 || !literal(b[1:end-1]) {
			return nil, false
		}
	} else if end = span(b, 0, className); end == 0 || !escaped(b[:end]) {
		return nil, false
	}
	if end == len(b) {
		return nil, true
	}
	port = b[end+1:]
	if b[end] != ':' || len(port) > 5 || span(port, 0, classDigit) != len(port) {
		return nil, false
	}
	n := 0
	for _, c := range port {
		n = n*10 + int(c-'0')
	}
	return port, n < 1<<16
}

// escaped says that every "%" of b is followed by two hexadecimal digits.
func escaped(b []byte) bool {
	for i, c := range b {
		if c == '%' && (i+2 >= len(b) || !is(b[i+1], classHex) || !is(b[i+2], classHex)) {
			return false
		}
	}
	return true
}

// literal says that b may stand in brackets: an IPv6 address, without a zone, or an address of a later version of IP.
func literal(b []byte) bool {
	if len(b) == 0 || b[0] != 'v' && b[0] != 'V' {
		return ipv6(b)
	}
	dot := span(b, 1, classHex)
	if dot == 1 || dot >= len(b)-1 || b[dot] != '.' {
		return false
	}
	for _, c := range b[dot+1:] {
		if c != ':' && !is(c, className) || c == '%' {
			return false
		}
	}
	return true
}

// ipv6 checks an IPv6 address (RFC 3986 section 3.2.2). netip would do, but wants a string.
func ipv6(b []byte) bool {
	groups, gap, i := 0, false, 0
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, i = true, 2
	}
	for i < len(b) || !gap {
		end := span(b, i, classHex)
		if end < len(b) && b[end] == '.' {
			if !ipv4(b[i:]) {
				return false
			}
			groups += 2
			break
		}
		if end == i || end-i > 4 {
			return false
		}
		groups++
		if end == len(b) {
			break
		}
		if b[end] != ':' || end+1 == len(b) {
			return false
		}
		i = end + 1
		if b[i] == ':' {
			if gap {
				return false
			}
			gap, i = true, i+1
		}
	}
	return groups == 8 && !gap || groups < 8 && gap
}

// ipv4 checks four numbers below 256 without leading zeros.
func ipv4(b []byte) bool {
	for octet := range 4 {
		end := span(b, 0, classDigit)
		n, ok := decimal(b[:end])
		if !ok || n > 255 || end > 1 && b[0] == '0' {
			return false
		}
		b = b[end:]
		if octet == 3 {
			break
		}
		if len(b) == 0 || b[0] != '.' {
			return false
		}
		b = b[1:]
	}
	return len(b) == 0
}
