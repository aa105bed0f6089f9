package http1

import (
	"encoding/binary"
	"math/bits"
)

// class is what a byte may be part of.
type class uint8

const (
	classToken  class = 1 << iota // tchar, RFC 9110 section 5.6.2
	classTarget                   // a request target, see isTarget
	className                     // a registered name or IPv4 address, RFC 3986 section 3.2.2
	classDigit
	classHex
	classText // a quoted string without its quotes and backslashes, RFC 9110 section 5.6.4
)

var classes = makeClasses()

func makeClasses() (t [256]class) {
	mark := func(chars string, c class) {
		for i := range len(chars) {
			t[chars[i]] |= c
		}
	}
	for c := byte('a'); c <= 'z'; c++ {
		mark(string([]byte{c, c - 'a' + 'A'}), classToken|className)
	}
	mark("0123456789", classToken|className|classDigit|classHex)
	mark("abcdefABCDEF", classHex)
	mark("!#$%&'*+-.^_`|~", classToken)
	mark("-._~%!$&'()*+,;=", className)
	for c := range 256 {
		// Printable ASCII without "#": a fragment is never sent. Characters that a URI must not contain but clients do send
		// ("{", "|", quotes) pass; what is not ASCII has no one meaning.
		if c > ' ' && c < 0x7f && c != '#' {
			t[c] |= classTarget
		}
		if c == '\t' || c >= ' ' && c != 0x7f && c != '"' && c != '\\' {
			t[c] |= classText
		}
	}
	return t
}

func is(b byte, c class) bool { return classes[b]&c != 0 }

// span returns the index of the first byte of b, from i on, that is not of class c.
func span(b []byte, i int, c class) int {
	for i < len(b) && classes[b[i]]&c != 0 {
		i++
	}
	return i
}

// control returns the index of the first control character of b from i on, or len(b). It looks at eight bytes at a time:
// each of the two sums marks, at and above the first byte that matches, the top bit.
func control(b []byte, i int) int {
	const (
		ones = 0x0101010101010101
		tops = 0x80 * ones
	)
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		del := x ^ 0x7f*ones
		if m := ((x-0x20*ones)&^x | (del-ones)&^del) & tops; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for i < len(b) && b[i] >= 0x20 && b[i] != 0x7f {
		i++
	}
	return i
}

// blank says that c is optional whitespace (OWS, RFC 9110 section 5.6.3).
func blank(c byte) bool { return c == ' ' || c == '\t' }

// trim removes optional whitespace on both sides.
func trim(b []byte) []byte {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// fold says that b is lower, which has no upper-case letters, whatever the case of b's letters.
func fold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range len(lower) {
		c := b[i]
		if c-'A' < 26 {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// foldAny is fold for a name whose case is unknown too.
func foldAny[S []byte | string](b []byte, name S) bool {
	if len(b) != len(name) {
		return false
	}
	for i := range b {
		c, d := b[i], name[i]
		if c-'A' < 26 {
			c += 'a' - 'A'
		}
		if d-'A' < 26 {
			d += 'a' - 'A'
		}
		if c != d {
			return false
		}
	}
	return true
}

// member returns the first element of a comma-separated list and what follows it. Empty elements are skipped (RFC 9110
// section 5.6.1.2); ok is false at the end.
func member(list []byte) (element, rest []byte, ok bool) {
	for len(list) > 0 {
		end := 0
		for end < len(list) && list[end] != ',' {
			end++
		}
		element = trim(list[:end])
		rest = list[min(end+1, len(list)):]
		if len(element) > 0 {
			return element, rest, true
		}
		list = rest
	}
	return nil, nil, false
}

// decimal reads 1*DIGIT. ok is false when there is anything else or the number has more than 63 bits.
func decimal(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || span(b, 0, classDigit) != len(b) {
		return 0, false
	}
	for _, c := range b {
		if n > (1<<63-1-uint64(c-'0'))/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}
