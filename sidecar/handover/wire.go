package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds of the wire. A packet is one datagram of the SOCK_SEQPACKET socket; a message is one or more packets.
const (
	// MaxPacket is the largest packet, header included.
	MaxPacket = 64 << 10
	// MaxPacketFDs is the most descriptors in a packet. The kernel takes 253; fewer keep the control buffers small.
	MaxPacketFDs = 64
	// MaxRelay is the most data in one relay.
	MaxRelay = 9 << 20
	// MaxBatchState is the most state in a batch, or the first part of one, with more than one connection.
	MaxBatchState = 8 << 20
	// MaxWholeState and MaxWholeConns are the most state and connections in all parts of a batch.
	MaxWholeState = 256 << 20
	MaxWholeConns = 1 << 16
	// MaxSockets is the most listening descriptors that a donor passes.
	MaxSockets = 4096

	packetHeader = 16
	maxPayload   = MaxPacket - packetHeader
	// maxBody bounds a message: the state of one connection with a full frame in each direction fits.
	maxBody       = 20 << 20
	maxBatchConns = 4096
	batchOverhead = 64 << 10
)

// packetMagic begins every packet.
const packetMagic = 0x4158 // "AX"

// ErrFormat is what every malformed packet and message is.
var ErrFormat = errors.New("malformed handover message")

// header is the first 16 bytes of a packet, big-endian:
//
//	0  u16 magic
//	2  u8  version: 0 before one is agreed (Hello, Refuse, Plan and authentication), then the negotiated one
//	3  u8  kind of the message
//	4  u8  descriptors in this packet
//	5  u8  flags: must be 0; a later version may give them a meaning
//	6  u16 reserved, ignored
//	8  u32 length of the message's body
//	12 u32 offset of this packet's payload in it
type header struct {
	version uint8
	kind    Kind
	fds     int
	total   uint32
	offset  uint32
}

func (h header) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, packetMagic)
	dst = append(dst, h.version, byte(h.kind), byte(h.fds), 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, h.total)
	return binary.BigEndian.AppendUint32(dst, h.offset)
}

func parsePacket(b []byte) (header, []byte, error) {
	if len(b) < packetHeader {
		return header{}, nil, fmt.Errorf("%w: packet of %d bytes", ErrFormat, len(b))
	}
	if m := binary.BigEndian.Uint16(b); m != packetMagic {
		return header{}, nil, fmt.Errorf("%w: magic %#04x", ErrFormat, m)
	}
	if b[5] != 0 {
		return header{}, nil, fmt.Errorf("%w: unknown flags %#02x", ErrFormat, b[5])
	}
	h := header{
		version: b[2], kind: Kind(b[3]), fds: int(b[4]),
		total: binary.BigEndian.Uint32(b[8:]), offset: binary.BigEndian.Uint32(b[12:]),
	}
	payload := b[packetHeader:]
	switch {
	case h.total > maxBody:
		return h, nil, fmt.Errorf("%w: %s of %d bytes", ErrFormat, h.kind, h.total)
	case uint64(h.offset)+uint64(len(payload)) > uint64(h.total):
		return h, nil, fmt.Errorf("%w: %s runs over its %d bytes", ErrFormat, h.kind, h.total)
	case len(payload) == 0 && h.total > 0:
		return h, nil, fmt.Errorf("%w: empty packet of %s", ErrFormat, h.kind)
	case h.fds > MaxPacketFDs:
		return h, nil, fmt.Errorf("%w: %s with %d descriptors in a packet", ErrFormat, h.kind, h.fds)
	}
	return h, payload, nil
}

// packets calls emit for each packet of a message, in order, with the descriptors that go with it. The packet is valid
// during the call. Descriptors are spread over the first packets; there are always enough packets, because each
// descriptor has at least a few bytes of body.
func packets(version uint8, k Kind, body []byte, fds []int, emit func(packet []byte, fds []int) error) error {
	if len(body) > maxBody {
		return fmt.Errorf("%s of %d bytes: at most %d fit", k, len(body), maxBody)
	}
	buf := make([]byte, 0, min(MaxPacket, packetHeader+len(body)))
	for off := 0; ; {
		n := min(maxPayload, len(body)-off)
		nfd := min(MaxPacketFDs, len(fds))
		if left := len(fds) - nfd; left > 0 && n == len(body)-off { // keep something for the descriptors that are left
			n = max(1, n-(left+MaxPacketFDs-1)/MaxPacketFDs)
		}
		h := header{version: version, kind: k, fds: nfd, total: uint32(len(body)), offset: uint32(off)}
		if err := emit(append(h.append(buf[:0]), body[off:off+n]...), fds[:nfd]); err != nil {
			return err
		}
		off, fds = off+n, fds[nfd:]
		if off == len(body) && len(fds) > 0 {
			return fmt.Errorf("%s: %d descriptors do not fit into %d bytes", k, len(fds), len(body))
		}
		if off == len(body) {
			return nil
		}
	}
}

// assembler puts packets together to messages. The zero value is ready.
type assembler struct {
	open bool
	head header
	body []byte
	fds  []int
}

// add takes one packet and the descriptors that came with it; it returns a message when that is complete. The descriptors
// that belong to nothing any more are in the second result.
func (a *assembler) add(b []byte, fds []int) (msg *Message, orphans []int, err error) {
	h, payload, err := parsePacket(b)
	if err == nil && h.kind == KindAbort && a.open { // the sender withdrew what it had begun
		orphans = a.fds
		*a = assembler{}
	}
	if err == nil {
		err = a.fits(h, len(fds))
	}
	if err != nil {
		orphans = append(append(orphans, a.fds...), fds...)
		*a = assembler{}
		return nil, orphans, err
	}
	if !a.open {
		*a = assembler{open: true, head: h, body: make([]byte, 0, max(len(payload), min(int(h.total), 1<<20)))}
	}
	a.body = append(a.body, payload...)
	a.fds = append(a.fds, fds...)
	if len(a.body) < int(h.total) {
		return nil, orphans, nil
	}
	done := *a
	*a = assembler{}
	m, err := decodeMessage(h.version, h.kind, done.body, done.fds)
	if err != nil {
		return nil, append(orphans, done.fds...), err
	}
	return &m, orphans, nil
}

// fits checks that a packet continues the open message.
func (a *assembler) fits(h header, fds int) error {
	switch {
	case fds != h.fds:
		return fmt.Errorf("%w: %s came with %d descriptors, %d were sent", ErrFormat, h.kind, fds, h.fds)
	case !a.open && h.offset != 0:
		return fmt.Errorf("%w: %s begins at byte %d", ErrFormat, h.kind, h.offset)
	case !a.open:
		return nil
	case h.kind != a.head.kind || h.version != a.head.version || h.total != a.head.total || int(h.offset) != len(a.body):
		return fmt.Errorf("%w: %s at byte %d interrupts %s at byte %d", ErrFormat, h.kind, h.offset, a.head.kind, len(a.body))
	case len(a.fds)+fds > maxBatchConns:
		return fmt.Errorf("%w: more than %d descriptors", ErrFormat, maxBatchConns)
	}
	return nil
}

// Fields are tag (u16), length (u32), value. A tag with the critical bit set must be understood; another one may be
// skipped by a receiver that does not know it, which is how a version adds to a message.
const criticalTag = 0x8000

func appendField(dst []byte, tag uint16, value ...[]byte) []byte {
	n := 0
	for _, v := range value {
		n += len(v)
	}
	dst = binary.BigEndian.AppendUint16(dst, tag)
	dst = binary.BigEndian.AppendUint32(dst, uint32(n))
	for _, v := range value {
		dst = append(dst, v...)
	}
	return dst
}

func appendUint(dst []byte, tag uint16, v uint64) []byte {
	return appendField(dst, tag, binary.BigEndian.AppendUint64(nil, v))
}

// fields calls f for each field of b. f reports whether it knows the tag.
func fields(b []byte, f func(tag uint16, v []byte) (known bool, err error)) error {
	for off := 0; off < len(b); {
		if len(b)-off < 6 {
			return fmt.Errorf("%w: %d stray bytes at %d", ErrFormat, len(b)-off, off)
		}
		tag, n := binary.BigEndian.Uint16(b[off:]), binary.BigEndian.Uint32(b[off+2:])
		off += 6
		if uint64(n) > uint64(len(b)-off) {
			return fmt.Errorf("%w: field %#x of %d bytes at %d", ErrFormat, tag, n, off)
		}
		known, err := f(tag, b[off:off+int(n):off+int(n)])
		if err != nil {
			return err
		}
		if !known && tag&criticalTag != 0 {
			return fmt.Errorf("%w: unknown critical field %#x", ErrFormat, tag)
		}
		off += int(n)
	}
	return nil
}

// number reads a field of exactly eight bytes.
func number(tag uint16, v []byte) (uint64, error) {
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: number %#x of %d bytes", ErrFormat, tag, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}
