package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Identity names one message of one client for good: the client is a random number per process, the connection is the
// client's own number for it (it survives a move to another socket), and the sequence counts up from 1 on it.
type Identity struct {
	Client uint64
	Conn   uint32
	Seq    uint64
}

// The content of a message: magic, identity, payload, and the CRC32 of all of it. An answer carries the CRC of the
// request that it answers and the name of the server, too.
const (
	requestMagic  = "AXQ1"
	responseMagic = "AXR1"
	identitySize  = 8 + 4 + 8
	crcSize       = 4
)

// AppendRequestContent encodes a request's content behind dst.
func AppendRequestContent(dst []byte, id Identity, payload []byte) []byte {
	from := len(dst)
	dst = append(dst, requestMagic...)
	dst = appendIdentity(dst, id)
	dst = append(dst, payload...)
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[from:]))
}

// ParseRequestContent checks a request's content. sum is its CRC, to be given back in the answer.
func ParseRequestContent(b []byte) (id Identity, sum uint32, err error) {
	body, sum, err := checked(b, requestMagic)
	if err != nil {
		return Identity{}, 0, fmt.Errorf("request content: %w", err)
	}
	return identity(body[len(requestMagic):]), sum, nil
}

// Reply is what an answer says about itself.
type Reply struct {
	Identity
	// RequestSum is the CRC of the request that this answers.
	RequestSum uint32
	// Server that answered.
	Server string
}

// AppendReplyContent encodes an answer's content behind dst.
func AppendReplyContent(dst []byte, r Reply, payload []byte) []byte {
	from := len(dst)
	dst = append(dst, responseMagic...)
	dst = appendIdentity(dst, r.Identity)
	dst = binary.BigEndian.AppendUint32(dst, r.RequestSum)
	name := r.Server[:min(len(r.Server), 255)]
	dst = append(dst, byte(len(name)))
	dst = append(dst, name...)
	dst = append(dst, payload...)
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[from:]))
}

// ParseReplyContent checks an answer's content.
func ParseReplyContent(b []byte) (Reply, error) {
	body, _, err := checked(b, responseMagic)
	if err != nil {
		return Reply{}, fmt.Errorf("answer content: %w", err)
	}
	r := Reply{Identity: identity(body[len(responseMagic):])}
	rest := body[len(responseMagic)+identitySize:]
	if len(rest) < 5 || len(rest) < 5+int(rest[4]) {
		return Reply{}, fmt.Errorf("answer content: %d bytes behind the identity: %w", len(rest), ErrShort)
	}
	r.RequestSum = binary.BigEndian.Uint32(rest)
	r.Server = string(rest[5 : 5+int(rest[4])])
	return r, nil
}

// checked returns what the CRC at the end of b covers.
func checked(b []byte, magic string) (body []byte, sum uint32, err error) {
	if len(b) < len(magic)+identitySize+crcSize {
		return nil, 0, fmt.Errorf("%d bytes: %w", len(b), ErrShort)
	}
	body = b[:len(b)-crcSize]
	sum = binary.BigEndian.Uint32(b[len(body):])
	if got := crc32.ChecksumIEEE(body); got != sum {
		return nil, 0, fmt.Errorf("checksum is %08x, the message says %08x", got, sum)
	}
	if string(body[:len(magic)]) != magic {
		return nil, 0, fmt.Errorf("starts with %q, not %q", body[:len(magic)], magic)
	}
	return body, sum, nil
}

func appendIdentity(dst []byte, id Identity) []byte {
	dst = binary.BigEndian.AppendUint64(dst, id.Client)
	dst = binary.BigEndian.AppendUint32(dst, id.Conn)
	return binary.BigEndian.AppendUint64(dst, id.Seq)
}

func identity(b []byte) Identity {
	return Identity{
		Client: binary.BigEndian.Uint64(b),
		Conn:   binary.BigEndian.Uint32(b[8:]),
		Seq:    binary.BigEndian.Uint64(b[12:]),
	}
}
