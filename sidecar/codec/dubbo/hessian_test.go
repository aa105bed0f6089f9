package dubbo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// oracle reads hessian2 another way than the scanner does: recursively, into trees. It returns what is behind the value.
type oracle struct{ classes []int }

var oracleFixed = map[byte]int{
	'N': 0, 'T': 0, 'F': 0, 'I': 4, 'Y': 4, 'K': 4, 'L': 8, 'D': 8, 'J': 8, 0x5b: 0, 0x5c: 0, 0x5d: 1, 0x5e: 2, 0x5f: 4,
}

var errOracle = errors.New("no hessian2")

func (o *oracle) value(b []byte, depth int) ([]byte, error) {
	if len(b) == 0 || depth > maxDepth {
		return nil, errOracle
	}
	tag, rest := b[0], b[1:]
	if n, ok := oracleFixed[tag]; ok {
		return cutOff(rest, n)
	}
	switch {
	case tag >= 0x80 && tag < 0xc0, tag >= 0xd8 && tag < 0xf0:
		return rest, nil
	case tag >= 0xc0 && tag < 0xd0, tag >= 0xf0:
		return cutOff(rest, 1)
	case tag >= 0xd0 && tag < 0xd8, tag >= 0x38 && tag < 0x40:
		return cutOff(rest, 2)
	case tag < 0x20 || tag >= 0x30 && tag < 0x34 || tag == 'R' || tag == 'S':
		return o.text(b)
	case tag < 0x30 || tag >= 0x34 && tag < 0x38 || tag == 'A' || tag == 'B':
		return o.bytes(b)
	case tag >= 0x60 && tag < 0x70:
		return o.object(rest, int(tag-0x60), depth)
	}
	return o.container(tag, rest, depth)
}

func (o *oracle) container(tag byte, b []byte, depth int) (_ []byte, err error) {
	n := 0
	switch {
	case tag == 'C':
		if b, err = o.text(b); err != nil {
			return nil, err
		}
		if n, b, err = o.int(b); err != nil || n < 0 || n > len(b) || n > maxFields || len(o.classes) == maxClasses {
			return nil, errOracle
		}
		for range n {
			if b, err = o.text(b); err != nil {
				return nil, err
			}
		}
		o.classes = append(o.classes, n)
		return o.value(b, depth)
	case tag == 'O':
		if n, b, err = o.int(b); err != nil {
			return nil, err
		}
		return o.object(b, n, depth)
	case tag == 'Q':
		_, b, err = o.int(b)
		return b, err
	case tag == 'M' || tag == 'U' || tag == 'V' || tag >= 0x70 && tag < 0x78:
		if c := append(bytes.Clone(b), 0)[0]; c < 0x20 || c >= 0x30 && c < 0x34 || c == 'R' || c == 'S' {
			b, err = o.text(b)
		} else {
			_, b, err = o.int(b)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case tag == 'H' || tag == 'M':
		return o.until(b, 2, depth)
	case tag == 'U' || tag == 'W':
		return o.until(b, 1, depth)
	case tag == 'V' || tag == 'X':
		if n, b, err = o.int(b); err != nil {
			return nil, err
		}
	case tag >= 0x70 && tag < 0x80:
		n = int(tag & 7)
	default:
		return nil, errOracle
	}
	return o.several(b, n, depth)
}

func (o *oracle) object(b []byte, class, depth int) ([]byte, error) {
	if class < 0 || class >= len(o.classes) {
		return nil, errOracle
	}
	return o.several(b, o.classes[class], depth)
}

func (o *oracle) several(b []byte, n, depth int) (_ []byte, err error) {
	if n < 0 || n > len(b) || n > 0 && depth >= maxDepth {
		return nil, errOracle
	}
	for range n {
		if b, err = o.value(b, depth+1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (o *oracle) until(b []byte, step, depth int) (_ []byte, err error) {
	if depth >= maxDepth {
		return nil, errOracle
	}
	for len(b) > 0 {
		if b[0] == 'Z' {
			return b[1:], nil
		}
		for range step {
			if b, err = o.value(b, depth+1); err != nil {
				return nil, err
			}
		}
	}
	return nil, errOracle
}

func (o *oracle) int(b []byte) (int, []byte, error) {
	if len(b) == 0 {
		return 0, nil, errOracle
	}
	switch tag := b[0]; {
	case tag >= 0x80 && tag < 0xc0:
		return int(tag) - 0x90, b[1:], nil
	case tag >= 0xc0 && tag < 0xd0 && len(b) > 1:
		return int(int16(uint16(tag-0xc8)<<8 | uint16(b[1]))), b[2:], nil
	case tag >= 0xd0 && tag < 0xd8 && len(b) > 2:
		return (int(tag)-0xd4)<<16 | int(b[1])<<8 | int(b[2]), b[3:], nil
	case tag == 'I' && len(b) > 4:
		return int(int32(binary.BigEndian.Uint32(b[1:]))), b[5:], nil
	}
	return 0, nil, errOracle
}

func (o *oracle) text(b []byte) ([]byte, error) {
	n, rest, last := 0, []byte(nil), true
	switch {
	case len(b) > 0 && b[0] < 0x20:
		n, rest = int(b[0]), b[1:]
	case len(b) > 1 && b[0] >= 0x30 && b[0] < 0x34:
		n, rest = int(b[0]&3)<<8|int(b[1]), b[2:]
	case len(b) > 2 && (b[0] == 'R' || b[0] == 'S'):
		n, rest, last = int(b[1])<<8|int(b[2]), b[3:], b[0] == 'S'
	default:
		return nil, errOracle
	}
	for n > 0 {
		size := 1
		for mask := byte(0x80); len(rest) > 0 && rest[0]&mask != 0; mask >>= 1 {
			size++
		}
		if size == 2 || size > 5 { // one leading bit is a continuation
			return nil, errOracle
		}
		if size = max(size-1, 1); size > len(rest) {
			return nil, errOracle
		}
		for _, c := range rest[1:size] {
			if c < 0x80 || c > 0xbf {
				return nil, errOracle
			}
		}
		if n--; size == 4 {
			n--
		}
		rest = rest[size:]
	}
	if n < 0 {
		return nil, errOracle
	}
	if !last {
		return o.text(rest)
	}
	return rest, nil
}

func (o *oracle) bytes(b []byte) ([]byte, error) {
	switch {
	case len(b) > 0 && b[0] >= 0x20 && b[0] < 0x30:
		return cutOff(b[1:], int(b[0]&15))
	case len(b) > 1 && b[0] >= 0x34 && b[0] < 0x38:
		return cutOff(b[2:], int(b[0]&3)<<8|int(b[1]))
	case len(b) > 2 && b[0] == 'B':
		return cutOff(b[3:], int(b[1])<<8|int(b[2]))
	case len(b) > 2 && b[0] == 'A':
		rest, err := cutOff(b[3:], int(b[1])<<8|int(b[2]))
		if err != nil {
			return nil, err
		}
		return o.bytes(rest)
	}
	return nil, errOracle
}

func cutOff(b []byte, n int) ([]byte, error) {
	if n > len(b) {
		return nil, errOracle
	}
	return b[n:], nil
}

// FuzzSkip compares the scanner with the oracle: both take the same values, and find the same end of each.
func FuzzSkip(f *testing.F) {
	for _, s := range []string{
		"N", "\x90\xc8\x00\xd4\x00\x00I\x00\x00\x00\x00", "H\x01a\x01bZ", "M\x01t\x90NZ", "C\x01c\x91\x01f`\x01x", "x\x79N\x72\x90NN",
		"U\x01tNZWNZV\x90\x91NX\x91N", "R\x00\x01aS\x00\x01b", "A\x00\x01aB\x00\x01b", "\x02\xed\xa0\xbd\xed\xb8\x80", "\x02\xf0\x9f\x98\x80", "Q\x90",
		"\x10abcdefghijklmnop", "[\\]\x00^\x00\x00_\x00\x00\x00\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<12 {
			return // the oracle is slow, and recursive
		}
		s, o, rest := scanner{b: b}, oracle{}, b
		for len(rest) > 0 {
			at := s.at
			var want error
			rest, want = o.value(rest, 0)
			if got := s.skip(); (got == nil) != (want == nil) {
				t.Fatalf("at %d: the scanner says %v, the oracle %v", at, got, want)
			}
			if want != nil {
				return
			}
			if s.at != len(b)-len(rest) {
				t.Fatalf("at %d: the scanner ends at %d, the oracle at %d", at, s.at, len(b)-len(rest))
			}
		}
	})
}

// TestSkipOnWhatOthersWrite compares the scanner with the oracle on every body that was recorded, in both directions, and on
// every body that is cut off anywhere in its first bytes.
func TestSkipOnWhatOthersWrite(t *testing.T) {
	bodies := recorded(t)
	values := 0
	for _, body := range bodies {
		s, o, rest := scanner{b: body}, oracle{}, body
		for len(rest) > 0 {
			var err error
			if rest, err = o.value(rest, 0); err != nil {
				t.Fatalf("the oracle cannot read % x", body)
			}
			if err := s.skip(); err != nil || s.at != len(body)-len(rest) {
				t.Fatalf("the scanner is at %d, %v, the oracle at %d", s.at, err, len(body)-len(rest))
			}
			values++
		}
		for cut := range min(len(body), 500) {
			s, o, rest := scanner{b: body[:cut]}, oracle{}, body[:cut]
			for len(rest) > 0 {
				var want error
				rest, want = o.value(rest, 0)
				if got := s.skip(); (got == nil) != (want == nil) {
					t.Fatalf("cut at %d: the scanner says %v, the oracle %v", cut, got, want)
				}
				if want != nil {
					break
				}
			}
		}
	}
	if values < 200 {
		t.Errorf("compared %d values of %d bodies", values, len(bodies))
	}
}
