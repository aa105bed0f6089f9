// Package record is the record layer of TLS 1.3 (RFC 8446 section 5) and TLS 1.2 (RFC 5246 section 6), from the end of a
// handshake on: bytes in, bytes out, and a state that another process can carry on with at any byte. Handshakes are not
// its business; their secrets are what it begins with.
//
// Suites: AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305, which is all of TLS 1.3 that is in use, and ECDHE with them in
// TLS 1.2. There is no renegotiation, no authentication behind the handshake, no early data and no compression.
package record

import (
	"fmt"
	"io"
)

// Versions of the protocol, as crypto/tls numbers them.
const (
	VersionTLS12 = 0x0303
	VersionTLS13 = 0x0304
)

// MaxPlain is how many bytes one record carries at most.
const MaxPlain = 1 << 14

// HeaderLen is the length of a record's header: type, version, length.
const HeaderLen = 5

// Content types (RFC 8446 section 5.1).
const (
	typeAlert     = 21
	typeHandshake = 22
	typeData      = 23
)

// How much longer than MaxPlain a record may be: RFC 8446 section 5.2, RFC 5246 section 6.2.3.
const (
	excess13 = 256
	excess12 = 2048
)

// maxIdle is how many records in a row may carry nothing for the application: each costs us more than its sender.
const maxIdle = 32

// rekeyAfter is how many records of ours go under one key of TLS 1.3. AES-GCM is good for 2^24.5 (RFC 8446 section 5.5).
const rekeyAfter = 1 << 23

// Session is both directions of one connection. It is not safe for concurrent use.
type Session struct {
	version uint16
	server  bool // our side of the handshake
	suite   *suite
	in, out half

	post   message // a handshake message that has begun
	idle   uint8   // records in a row without data
	owes   bool    // the peer asked for a KeyUpdate
	ended  bool    // the peer has said that it sends no more
	closed bool    // we have
}

// Open decrypts the first record of b, in place. n is the record's length, 0 when b ends inside it. plain is a part of b
// and may be empty: the record was the protocol's own then, and Seal may have an answer to it. The error is io.EOF once
// the peer has said that it sends no more, and whatever it sends behind that is taken unread. Any other error is final.
func (s *Session) Open(b []byte) (plain []byte, n int, err error) {
	if s.ended {
		return nil, len(b), io.EOF
	}
	if len(b) < HeaderLen {
		return nil, 0, nil
	}
	size := int(b[3])<<8 | int(b[4])
	if err := s.header(b[0], b[1], size); err != nil {
		return nil, 0, err
	}
	if n = HeaderLen + size; len(b) < n {
		return nil, 0, nil
	}
	typ, plain, err := s.in.open(s.version, b[:n])
	if err != nil {
		return nil, n, err
	}
	if len(plain) > MaxPlain {
		return nil, n, &Error{Alert: alertRecordOverflow, Reason: "a record carries more than 16 KiB"}
	}
	if typ == typeData && len(plain) > 0 && s.post.have == 0 {
		s.idle = 0
		return plain, n, nil
	}
	return nil, n, s.control(typ, plain)
}

// header refuses what no record of ours can begin with, before its rest is there.
func (s *Session) header(typ, major byte, size int) error {
	limit := MaxPlain + excess12
	if s.version == VersionTLS13 {
		limit = MaxPlain + excess13
	}
	switch {
	case s.version == VersionTLS13 && typ != typeData, typ < typeAlert, typ > typeData:
		return &Error{Alert: alertUnexpectedMessage, Reason: fmt.Sprintf("a record of type %d behind the handshake", typ)}
	case major != VersionTLS12>>8:
		return &Error{Alert: alertProtocolVersion, Reason: fmt.Sprintf("a record of major version %d", major)}
	case size > limit:
		return &Error{Alert: alertRecordOverflow, Reason: fmt.Sprintf("a record of %d bytes", size)}
	}
	return nil
}

// control takes a record that carries nothing for the application.
func (s *Session) control(typ byte, b []byte) error {
	if s.idle++; s.idle > maxIdle {
		return &Error{Alert: alertUnexpectedMessage, Reason: fmt.Sprintf("%d records without data", maxIdle)}
	}
	switch {
	case typ == typeAlert:
		return s.alert(b)
	case typ == typeHandshake:
		return s.handshake(b)
	case typ == typeData && s.post.have == 0:
		return nil // an empty record hides how much is sent
	case typ == typeData:
		return &Error{Alert: alertUnexpectedMessage, Reason: "data inside a handshake message"}
	}
	return &Error{Alert: alertUnexpectedMessage, Reason: fmt.Sprintf("a record of inner type %d", typ)}
}

// Seal appends b to dst in records of at most MaxPlain bytes, behind what the peer has asked for. It appends nothing once
// End was called.
func (s *Session) Seal(dst, b []byte) []byte {
	if s.closed {
		return dst
	}
	if s.owes {
		s.owes = false
		dst = s.update(dst)
	}
	for len(b) > 0 {
		chunk := b[:min(len(b), MaxPlain)]
		b = b[len(chunk):]
		if s.version == VersionTLS13 && s.out.seq >= rekeyAfter {
			dst = s.update(dst)
		}
		dst = s.out.seal(s.version, dst, typeData, chunk)
	}
	return dst
}

// End appends the last record of this side, once: close_notify when why is nil, the alert of an *Error, nothing for
// another reason, which is the peer's to find out.
func (s *Session) End(dst []byte, why error) []byte {
	if s.closed {
		return dst
	}
	s.closed = true
	alert, ok := alertFor(why)
	if !ok {
		return dst
	}
	return s.out.seal(s.version, dst, typeAlert, alert[:])
}

// String names the version and the suite: all of a Session that anybody may read.
func (s *Session) String() string {
	if s.version == VersionTLS13 {
		return "TLS 1.3 " + s.suite.name
	}
	return "TLS 1.2 " + s.suite.name
}

// Format keeps keys out of whatever prints a Session, with any verb.
func (s *Session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }
