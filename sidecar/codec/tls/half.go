package record

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// half is one direction: its key, and how many records have gone under it.
type half struct {
	suite  *suite
	secret []byte // TLS 1.3: the traffic secret; TLS 1.2: key and IV
	aead   cipher.AEAD
	iv     [ivLen]byte // of AES-GCM in TLS 1.2 only the first 4 bytes
	seq    uint64

	nonce [ivLen]byte // room for one record, which the compiler would put on the heap otherwise
	extra [13]byte
}

const (
	ivLen    = 12
	saltLen  = 4 // the part of a nonce of AES-GCM that TLS 1.2 derives (RFC 5288 section 3)
	explicit = 8 // and the part that it sends
	tagLen   = 16
)

// use makes secret the key of the direction; records are counted from 0 again.
func (h *half) use(version uint16, secret []byte) error {
	var key, iv []byte
	if version == VersionTLS13 {
		key = h.suite.expand(secret, "key", h.suite.keyLen)
		iv = h.suite.expand(secret, "iv", ivLen)
	} else {
		key, iv = secret[:h.suite.keyLen], secret[h.suite.keyLen:]
	}
	aead, err := h.suite.aead(key)
	if err != nil {
		return fmt.Errorf("use a key of %d bytes for %s: %w", len(key), h.suite.name, err)
	}
	h.secret, h.aead, h.seq = secret, aead, 0
	h.iv = [ivLen]byte{}
	copy(h.iv[:], iv)
	return nil
}

// explicitNonce says that each record carries a part of its nonce.
func (h *half) explicitNonce(version uint16) bool { return version == VersionTLS12 && h.suite.gcm }

// sequenced makes the nonce of the next record: the IV, with its number in the last bytes (RFC 8446 section 5.3, RFC 7905
// section 2).
func (h *half) sequenced() []byte {
	h.nonce = h.iv
	last := h.nonce[ivLen-8:]
	binary.BigEndian.PutUint64(last, binary.BigEndian.Uint64(last)^h.seq)
	return h.nonce[:]
}

// additional is what the tag of a record vouches for besides its content: in TLS 1.3 the header, in TLS 1.2 the number, the
// header's type and version, and the length of the plain text (RFC 5246 section 6.2.3.3).
func (h *half) additional(version uint16, header []byte, plain int) []byte {
	if version == VersionTLS13 {
		return h.extra[:copy(h.extra[:], header)]
	}
	binary.BigEndian.PutUint64(h.extra[:], h.seq)
	copy(h.extra[8:], header[:3])
	binary.BigEndian.PutUint16(h.extra[11:], uint16(plain))
	return h.extra[:]
}

// errBadMAC says that a record is not what the peer has sent. Nothing more is said about it (RFC 8446 section 5.2).
var errBadMAC = &Error{Alert: alertBadRecordMAC, Reason: "a record cannot be decrypted"}

// open decrypts one whole record in place, and returns its content and what kind that is.
func (h *half) open(version uint16, b []byte) (typ byte, plain []byte, err error) {
	header, body := b[:HeaderLen], b[HeaderLen:]
	if h.seq == math.MaxUint64 {
		return 0, nil, &Error{Alert: alertInternal, Reason: "the peer has used up its key"}
	}
	var nonce []byte
	if h.explicitNonce(version) {
		if len(body) < explicit {
			return 0, nil, errBadMAC
		}
		copy(h.nonce[:], h.iv[:saltLen])
		copy(h.nonce[saltLen:], body[:explicit])
		nonce, body = h.nonce[:], body[explicit:]
	} else {
		nonce = h.sequenced()
	}
	if len(body) < tagLen {
		return 0, nil, errBadMAC
	}
	plain, err = h.aead.Open(body[:0], nonce, body, h.additional(version, header, len(body)-tagLen))
	if err != nil {
		return 0, nil, errBadMAC
	}
	h.seq++
	if version == VersionTLS12 {
		return header[0], plain, nil
	}
	for i, typ := range slices.Backward(plain) { // the type is behind the content, and zeros behind that
		if typ != 0 {
			return typ, plain[:i], nil
		}
	}
	return 0, nil, &Error{Alert: alertUnexpectedMessage, Reason: "a record without a type"}
}

// seal appends one record of b, which has at most MaxPlain bytes.
func (h *half) seal(version uint16, dst []byte, typ byte, b []byte) []byte {
	start := len(dst)
	dst = append(dst, typ, VersionTLS12>>8, VersionTLS12&0xFF, 0, 0)
	var nonce []byte
	if h.explicitNonce(version) {
		dst = binary.BigEndian.AppendUint64(dst, h.seq)
		copy(h.nonce[:], h.iv[:saltLen])
		copy(h.nonce[saltLen:], dst[len(dst)-explicit:])
		nonce = h.nonce[:]
	} else {
		nonce = h.sequenced()
	}
	body := len(dst)
	dst = append(dst, b...)
	if version == VersionTLS13 {
		dst[start] = typeData
		dst = append(dst, typ)
	}
	header := dst[start : start+HeaderLen]
	binary.BigEndian.PutUint16(header[3:], uint16(len(dst)-start-HeaderLen+tagLen))
	dst = h.aead.Seal(dst[:body], nonce, dst[body:], h.additional(version, header, len(b)))
	h.seq++
	return dst
}
