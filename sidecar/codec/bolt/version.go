package bolt

import (
	"encoding/binary"
	"hash/crc32"
)

// Version is the form of a frame. A reply repeats the form of its request. The zero value is version 1.
type Version uint8

// Forms of a frame.
const (
	// V1 has the first byte 1.
	V1 Version = iota
	// V2 has the first byte 2 and the second 1: it has a switch byte, which means nothing.
	V2
	// V2Plain has the first two bytes 2 and could carry a checksum, but this frame does not.
	V2Plain
	// V2CRC ends with a CRC32 (IEEE) over everything before it.
	V2CRC
)

// The first byte of a frame, and the second of version 2.
const (
	protoV1 = 1
	protoV2 = 2

	ver1Plain = 1
	ver1CRC   = 2

	switchCRC = 1 // bit of the switch byte
)

// Offsets. Type, command, id and codec stand at the same place in requests and responses; version 2 has one byte more
// before them (shift) and another one behind.
const (
	offProto = 0
	offVer1  = 1 // version 2

	offType  = 1
	offCmd   = 2
	offID    = 5
	offCodec = 9
	offTail  = 10 // what belongs to the kind: a request's timeout, a response's status

	offSwitch = 11 // version 2

	requestHead  = 22
	responseHead = 20

	crcLen = 4
)

// shift is how much later than in version 1 the type, the command, the id and the codec stand.
func (v Version) shift() int {
	if v == V1 {
		return 0
	}
	return 1
}

// tail is where the timeout or the status stands.
func (v Version) tail() int { return offTail + 2*v.shift() }

// head is the length of everything before the class.
func (v Version) head(k Kind) int {
	if k == Response {
		return responseHead + 2*v.shift()
	}
	return requestHead + 2*v.shift()
}

// trailer is the length of everything behind the content.
func (v Version) trailer() int {
	if v == V2CRC {
		return crcLen
	}
	return 0
}

// start reads what decides where everything else stands. It returns ErrShort when b does not say yet.
func start(b []byte) (Version, Kind, error) {
	if len(b) == 0 {
		return 0, 0, ErrShort
	}
	v := V1
	switch b[offProto] {
	case protoV1:
	case protoV2:
		if len(b) <= offVer1 {
			return 0, 0, ErrShort
		}
		switch b[offVer1] {
		case ver1Plain:
			v = V2
		case ver1CRC:
			v = V2Plain
		default:
			return 0, 0, &FormatError{"version", offVer1, uint64(b[offVer1])}
		}
	default:
		return 0, 0, &FormatError{"protocol", offProto, uint64(b[offProto])}
	}
	at := offType + v.shift()
	if len(b) <= at {
		return 0, 0, ErrShort
	}
	kind := Kind(b[at])
	if kind > Oneway {
		return 0, 0, &FormatError{"type", at, uint64(kind)}
	}
	if len(b) < v.head(kind) {
		return 0, 0, ErrShort
	}
	if v == V2Plain && b[offSwitch]&switchCRC != 0 {
		v = V2CRC
	}
	return v, kind, nil
}

// sum is the checksum that a frame with one ends with.
func sum(raw []byte) uint32 { return crc32.ChecksumIEEE(raw[:len(raw)-crcLen]) }

// sealed says that a frame's checksum is that of its bytes.
func sealed(raw []byte) bool { return binary.BigEndian.Uint32(raw[len(raw)-crcLen:]) == sum(raw) }

// seal writes the checksum.
func seal(raw []byte) { binary.BigEndian.PutUint32(raw[len(raw)-crcLen:], sum(raw)) }
