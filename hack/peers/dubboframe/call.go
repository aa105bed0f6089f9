package dubboframe

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// release is the Dubbo release that these peers say they are.
const release = "2.0.2"

// Call is the body of a request with one argument of at most MaxArgument bytes.
type Call struct {
	Path, Version, Method string
	Argument              []byte
}

// MaxArgument is what one chunk of hessian's bytes holds; these peers need no more.
const MaxArgument = 1<<16 - 1

// bytesType is Java's name for the type of the argument.
const bytesType = "[B"

// Codes of hessian2 that appear here, and how long what they begin may be. A string's length counts UTF-16 units, which
// are as many as bytes here: every string is ASCII.
const (
	shortString  = 0x20  // lengths below are the code itself
	middleString = 0x30  // the code and one byte have the length
	middleMax    = 0x400 // of strings and of bytes
	longString   = 'S'
	shortBytes   = 0x20 // the code of no bytes
	shortMax     = 0x10
	middleBytes  = 0x34
	longBytes    = 'B'
	anyMap       = 'H'
	mapEnd       = 'Z'
	// value is hessian's int 1: a plain value follows.
	value = 0x91
)

var errBody = errors.New("no body of these peers")

// AppendCall appends the body of a request: who is called, the argument, and the attachments.
func AppendCall(dst []byte, c Call) []byte {
	for _, s := range []string{release, c.Path, c.Version, c.Method, bytesType} {
		dst = appendString(dst, s)
	}
	dst = appendBytes(dst, c.Argument)
	dst = append(dst, anyMap)
	for _, s := range []string{"path", c.Path, "interface", c.Path, "version", c.Version, "timeout", "5000"} {
		dst = appendString(dst, s)
	}
	return append(dst, mapEnd)
}

// ParseCall reads what AppendCall writes. The attachments only have to be there.
func ParseCall(b []byte) (Call, error) {
	var c Call
	var kind, said string
	var err error
	for _, to := range []*string{&said, &c.Path, &c.Version, &c.Method, &kind} {
		if *to, b, err = cutString(b); err != nil {
			return c, err
		}
	}
	if kind != bytesType || said == "" {
		return c, fmt.Errorf("release %q, a parameter of type %q: %w", said, kind, errBody)
	}
	if c.Argument, b, err = cutBytes(b); err != nil {
		return c, err
	}
	if len(b) < 2 || b[0] != anyMap || b[len(b)-1] != mapEnd {
		return c, fmt.Errorf("%d bytes instead of attachments: %w", len(b), errBody)
	}
	return c, nil
}

// AppendValue appends the body of an answer that is bytes.
func AppendValue(dst, content []byte) []byte { return appendBytes(append(dst, value), content) }

// ParseValue reads what AppendValue writes.
func ParseValue(b []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != value {
		return nil, fmt.Errorf("an answer that is no value: %w", errBody)
	}
	content, rest, err := cutBytes(b[1:])
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes behind the value: %w", len(rest), errBody)
	}
	return content, err
}

func appendString(dst []byte, s string) []byte {
	switch n := len(s); {
	case n < shortString:
		dst = append(dst, byte(n))
	case n < middleMax:
		dst = append(dst, middleString+byte(n>>8), byte(n))
	default:
		dst = binary.BigEndian.AppendUint16(append(dst, longString), uint16(n))
	}
	return append(dst, s...)
}

func cutString(b []byte) (string, []byte, error) {
	n, b, err := length(b, 0, shortString, middleString, longString)
	if err != nil {
		return "", nil, fmt.Errorf("string: %w", err)
	}
	return string(b[:n]), b[n:], nil
}

func appendBytes(dst, content []byte) []byte {
	switch n := len(content); {
	case n < shortMax:
		dst = append(dst, shortBytes+byte(n))
	case n < middleMax:
		dst = append(dst, middleBytes+byte(n>>8), byte(n))
	default:
		dst = binary.BigEndian.AppendUint16(append(dst, longBytes), uint16(n))
	}
	return append(dst, content...)
}

func cutBytes(b []byte) (content, rest []byte, err error) {
	n, b, err := length(b, shortBytes, shortBytes+shortMax, middleBytes, longBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("bytes: %w", err)
	}
	return b[:n:n], b[n:], nil
}

// length reads the three ways to say one: in the code itself (short to end), with one byte more, with two bytes more.
func length(b []byte, short, end, middle, long byte) (n int, rest []byte, err error) {
	switch {
	case len(b) > 0 && b[0] >= short && b[0] < end:
		n, b = int(b[0]-short), b[1:]
	case len(b) > 1 && b[0] >= middle && b[0] < middle+4:
		n, b = int(b[0]-middle)<<8|int(b[1]), b[2:]
	case len(b) > 2 && b[0] == long:
		n, b = int(binary.BigEndian.Uint16(b[1:])), b[3:]
	default:
		return 0, nil, fmt.Errorf("%d bytes that begin %x: %w", len(b), b[:min(1, len(b))], errBody)
	}
	if n > len(b) {
		return 0, nil, fmt.Errorf("%d bytes of %d: %w", n, len(b), errBody)
	}
	return n, b, nil
}
