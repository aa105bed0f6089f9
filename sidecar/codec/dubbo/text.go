package dubbo

import (
	"encoding/binary"
	"math/bits"
)

// texts says that a string begins with this tag.
func texts(tag byte) bool {
	return tag <= 0x1f || tag >= 0x30 && tag <= 0x33 || tag == tagString || tag == tagStringChunk
}

// string walks a string, chunk by chunk.
func (s *scanner) string() error {
	for {
		if s.at >= len(s.b) || !texts(s.b[s.at]) {
			return s.bad("a string")
		}
		last := s.b[s.at] != tagStringChunk
		if _, err := s.chunk(); err != nil || last {
			return err
		}
	}
}

// text reads a string and returns a view of it; whole is false when it is in chunks, which no name is long enough for.
// Null reads as empty.
func (s *scanner) text() (view []byte, whole bool, err error) {
	if s.at < len(s.b) && s.b[s.at] == null {
		s.at++
		return nil, true, nil
	}
	if s.at < len(s.b) && s.b[s.at] == tagStringChunk {
		return nil, false, s.string()
	}
	if s.at >= len(s.b) || !texts(s.b[s.at]) {
		return nil, false, s.bad("a string")
	}
	view, err = s.chunk()
	return view, true, err
}

// chunk reads one chunk of a string, whose tag is one of a string's. Its length counts UTF-16 units.
func (s *scanner) chunk() (view []byte, err error) {
	b := s.b[s.at:]
	units, head := 0, 0
	switch tag := b[0]; {
	case tag <= 0x1f:
		units, head = int(tag), 1
	case tag <= 0x33 && len(b) >= 2:
		units, head = int(tag-0x30)<<8+int(b[1]), 2
	case tag >= tagStringChunk && len(b) >= 3:
		units, head = int(binary.BigEndian.Uint16(b[1:])), 3
	default:
		return nil, s.bad("a string that is cut off")
	}
	n := span(b[head:], units)
	if n < 0 {
		return nil, s.bad("a string that is cut off or no UTF-8")
	}
	s.at += head + n
	return b[head : head+n], nil
}

// span is how many bytes of b the first units UTF-16 units take; -1 when b has fewer or is no UTF-8. The reference
// implementation writes each unit by itself, halves of a surrogate pair too; others write the pair as four bytes.
func span(b []byte, units int) int {
	at := 0
	for units > 0 {
		if at >= len(b) {
			return -1
		}
		if b[at] < 0x80 {
			n := max(ascii(b[at:], units), 1)
			at += n
			units -= n
			continue
		}
		size, counts := 2, 1
		switch c := b[at]; {
		case c >= 0xc0 && c < 0xe0:
		case c >= 0xe0 && c < 0xf0:
			size = 3
		case c >= 0xf0 && c < 0xf8:
			size, counts = 4, 2
		default:
			return -1
		}
		if counts > units || size > len(b)-at {
			return -1
		}
		for _, c := range b[at+1 : at+size] {
			if c&0xc0 != 0x80 {
				return -1
			}
		}
		at += size
		units -= counts
	}
	return at
}

// ascii is how many bytes of b, at most count, come before the first that is not ASCII. It looks at eight at a time, the last
// ones together with what follows them, and counts none of the last seven of b.
func ascii(b []byte, count int) int {
	at := 0
	for ; at < count && at+8 <= len(b); at += 8 {
		if x := binary.LittleEndian.Uint64(b[at:]) & 0x8080808080808080; x != 0 {
			at += bits.TrailingZeros64(x) / 8
			break
		}
	}
	return min(at, count)
}
