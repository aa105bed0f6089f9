package record

import "fmt"

// Handshake messages that may come behind the handshake (RFC 8446 section 4.6).
const (
	newSessionTicket = 4
	keyUpdate        = 24
)

// messageHeader is the length of a handshake message's header: type, and length in three bytes.
const messageHeader = 4

// maxTicket bounds a NewSessionTicket, whose ticket alone may have 64 KiB.
const maxTicket = 1 << 17

// message is a handshake message that has begun and whose end is in a later record.
type message struct {
	head [messageHeader]byte
	have uint8  // of head
	left uint32 // of the body, once head is complete
}

// handshake takes a record of handshake messages: tickets are ignored, KeyUpdates followed.
func (s *Session) handshake(b []byte) error {
	if s.version == VersionTLS12 {
		return &Error{Alert: alertNoRenegotiation, Reason: "the peer wants to renegotiate"}
	}
	if len(b) == 0 {
		return &Error{Alert: alertUnexpectedMessage, Reason: "an empty handshake record"}
	}
	m := &s.post
	for len(b) > 0 {
		if m.have < messageHeader {
			n := copy(m.head[m.have:], b)
			m.have += uint8(n)
			if b = b[n:]; m.have < messageHeader {
				return nil
			}
			m.left = uint32(m.head[1])<<16 | uint32(m.head[2])<<8 | uint32(m.head[3])
			if err := s.expected(m.head[0], m.left); err != nil {
				return err
			}
		}
		n := min(int(m.left), len(b))
		body := b[:n]
		b = b[n:]
		if m.left -= uint32(n); m.left > 0 {
			return nil
		}
		typ := m.head[0]
		if *m = (message{}); typ != keyUpdate {
			continue
		}
		if err := s.updated(body[0], len(b)); err != nil {
			return err
		}
	}
	return nil
}

// expected refuses every message but those that this side may get.
func (s *Session) expected(typ byte, size uint32) error {
	switch {
	case typ == keyUpdate && size == 1, typ == newSessionTicket && !s.server && size > 0 && size <= maxTicket:
		return nil
	case typ == keyUpdate, typ == newSessionTicket && !s.server:
		return &Error{Alert: alertDecodeError, Reason: fmt.Sprintf("a handshake message of type %d and %d bytes", typ, size)}
	}
	return &Error{Alert: alertUnexpectedMessage, Reason: fmt.Sprintf("a handshake message of type %d behind the handshake", typ)}
}

// updated follows the peer to its next key. rest bytes came in the same record, under the old key.
func (s *Session) updated(request byte, rest int) error {
	if rest > 0 {
		return &Error{Alert: alertUnexpectedMessage, Reason: "a message behind a KeyUpdate in its record"}
	}
	if request > 1 {
		return &Error{Alert: alertIllegalParameter, Reason: fmt.Sprintf("a KeyUpdate that requests %d", request)}
	}
	if request == 1 {
		s.owes = true
	}
	return s.in.next()
}

// update appends a KeyUpdate that asks for none in return, and goes on under the next key.
func (s *Session) update(dst []byte) []byte {
	dst = s.out.seal(s.version, dst, typeHandshake, []byte{keyUpdate, 0, 0, 1, 0})
	if s.out.next() != nil {
		s.closed = true // a key of this length was good before: it cannot be
	}
	return dst
}

// next replaces the traffic secret by its successor (RFC 8446 section 7.2).
func (h *half) next() error {
	return h.use(VersionTLS13, h.suite.expand(h.secret, "traffic upd", len(h.secret)))
}
