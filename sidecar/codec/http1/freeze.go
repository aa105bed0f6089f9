package http1

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// stateVersion is the first byte of every state that this build writes. It reads this version and the one before it, of
// which there is none yet.
const stateVersion = 1

// ErrState says that bytes are no state that this build can read.
var ErrState = errors.New("http1: no state of a known version")

// AppendBinary appends the body's state, which ParseBody reads: version, kind, step, and two varints.
func (s Body) AppendBinary(dst []byte) []byte {
	dst = append(dst, stateVersion, byte(s.kind), byte(s.step))
	dst = binary.AppendUvarint(dst, s.left)
	return binary.AppendUvarint(dst, uint64(s.extra))
}

// ParseBody reads what AppendBinary wrote at the start of b and returns what follows it. The error wraps ErrState.
func ParseBody(b []byte) (s Body, rest []byte, err error) {
	if len(b) < 3 || b[0] != stateVersion {
		return Body{}, nil, fmt.Errorf("parse a body of %d bytes: %w", len(b), ErrState)
	}
	left, n := binary.Uvarint(b[3:])
	if n <= 0 {
		return Body{}, nil, fmt.Errorf("parse a body's remaining length: %w", ErrState)
	}
	rest = b[3+n:]
	extra, n := binary.Uvarint(rest)
	if n <= 0 {
		return Body{}, nil, fmt.Errorf("parse a body's overhead: %w", ErrState)
	}
	s = Body{kind: Kind(b[1]), step: step(b[2]), left: left, extra: uint32(min(extra, maxOverhead+1))}
	if uint64(s.extra) != extra || !s.valid() {
		return Body{}, nil, fmt.Errorf("parse body %+v: %w", s, ErrState)
	}
	return s, rest[n:], nil
}

// valid says that decoding can lead to s.
func (s Body) valid() bool {
	switch s.kind {
	case None, Close, Tunnel:
		return s == Body{kind: s.kind}
	case Length:
		return s == Body{kind: Length, left: s.left} && s.left < 1<<63
	case Chunked:
		return s.step <= stepDone && (s.left > 0) == (s.step == stepData) && s.left < 1<<63 && s.extra <= maxOverhead
	}
	return false
}

// Flags of an exchange's state.
const (
	flagHead = 1 << iota
	flagConnect
	flagUpgrade
	flagKeepAlive
	flagAll = 1<<iota - 1
)

// AppendBinary appends the exchange's state, which ParseExchange reads: version, flags, minor version.
func (x Exchange) AppendBinary(dst []byte) []byte {
	flags := byte(0)
	for i, set := range []bool{x.Head, x.Connect, x.Upgrade, x.KeepAlive} {
		if set {
			flags |= 1 << i
		}
	}
	return append(dst, stateVersion, flags, x.Minor)
}

// ParseExchange reads what AppendBinary wrote at the start of b and returns what follows it. The error wraps ErrState.
func ParseExchange(b []byte) (x Exchange, rest []byte, err error) {
	if len(b) < 3 || b[0] != stateVersion || b[1] > flagAll || b[2] > 1 {
		return Exchange{}, nil, fmt.Errorf("parse an exchange of %d bytes: %w", len(b), ErrState)
	}
	return Exchange{
		Head: b[1]&flagHead != 0, Connect: b[1]&flagConnect != 0, Upgrade: b[1]&flagUpgrade != 0,
		KeepAlive: b[1]&flagKeepAlive != 0, Minor: b[2],
	}, b[3:], nil
}
