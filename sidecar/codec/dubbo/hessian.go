package dubbo

import (
	"encoding/binary"
	"errors"
	"math"
)

// Bounds of what a scanner walks. Everything else is bounded by the body: no value is without a byte of its own.
const (
	maxDepth   = 32
	maxClasses = 256
	maxFields  = math.MaxUint16
)

// Errors of a body that a peer may well send, and that is not walked to its end.
var (
	// ErrDeep says that values nest deeper than 32.
	ErrDeep = errors.New("dubbo: values nest deeper than 32")
	// ErrClasses says that there are more than 256 class definitions, or one with more than 65535 fields.
	ErrClasses = errors.New("dubbo: too many classes or fields")
)

// Tags of hessian2 (http://hessian.caucho.com/doc/hessian-serialization.html, "bytecode map", and com.caucho.hessian.io's
// Hessian2Constants). Compact forms have ranges of tags, which are written out where they are read.
const (
	tagBinaryChunk = 'A'
	tagBinary      = 'B'
	tagClass       = 'C'
	tagDouble      = 'D'
	tagFalse       = 'F'
	tagMap         = 'H'
	tagInt         = 'I'
	tagDate        = 'J'
	tagMinutes     = 'K'
	tagLong        = 'L'
	tagTypedMap    = 'M'
	tagObject      = 'O'
	tagRef         = 'Q'
	tagStringChunk = 'R'
	tagString      = 'S'
	tagTrue        = 'T'
	tagTypedList   = 'U' // until tagEnd
	tagTypedFixed  = 'V'
	tagList        = 'W' // until tagEnd
	tagFixed       = 'X'
	tagLongInt     = 'Y'
	tagEnd         = 'Z'
)

// scanner walks the values of a hessian2 stream. It makes no objects; of class definitions it keeps the number of fields.
type scanner struct {
	b       []byte
	at      int
	classes [maxClasses]uint16
	known   int
}

func (s *scanner) bad(field string) error {
	e := &FormatError{Field: field, Offset: s.at}
	if s.at < len(s.b) {
		e.Value = uint64(s.b[s.at])
	}
	return e
}

// What an entry of the stack of open values says: how many values it still needs if positive, else one of these.
const (
	untilEnd = -1 // a list
	mapKey   = -2
	mapValue = -3
)

// skip walks one value.
func (s *scanner) skip() error {
	var open [maxDepth]int32
	depth := 0
	for {
		need, err := int32(0), error(nil)
		if s.at < len(s.b) && s.b[s.at] == tagEnd && depth > 0 && (open[depth-1] == untilEnd || open[depth-1] == mapKey) {
			s.at++
			depth--
		} else if need, err = s.enter(); err != nil {
			return err
		}
		if need != 0 {
			if depth == maxDepth {
				return ErrDeep
			}
			open[depth] = need
			depth++
			continue
		}
		for depth > 0 && closes(&open[depth-1]) {
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// closes counts one more value of what is open; true when that was its last.
func closes(open *int32) bool {
	switch *open {
	case untilEnd:
	case mapKey:
		*open = mapValue
	case mapValue:
		*open = mapKey
	default:
		*open--
		return *open == 0
	}
	return false
}

// enter walks a scalar, or to the first value inside of one; then it returns how many there are, or untilEnd or mapKey.
func (s *scanner) enter() (need int32, err error) {
	for s.at < len(s.b) && s.b[s.at] == tagClass {
		s.at++
		if err := s.class(); err != nil {
			return 0, err
		}
	}
	if s.at >= len(s.b) {
		return 0, s.bad("a value")
	}
	switch tag := s.b[s.at]; {
	case tag >= 0x60 && tag <= 0x6f: // an object of one of the first classes
		s.at++
		return s.fields(int(tag - 0x60))
	case tag >= 0x70 && tag <= 0x77: // a short list with a type
		s.at++
		return s.count(int(tag-0x70), s.typeName())
	case tag >= 0x78 && tag <= 0x7f:
		s.at++
		return s.count(int(tag-0x78), nil)
	default:
		if n := width(tag); n > 0 {
			return 0, s.take(n)
		}
		return s.enterLong(tag)
	}
}

// enterLong is enter for what has no compact form.
func (s *scanner) enterLong(tag byte) (need int32, err error) {
	if texts(tag) {
		return 0, s.string()
	}
	if tag >= 0x20 && tag <= 0x2f || tag >= 0x34 && tag <= 0x37 || tag == tagBinary || tag == tagBinaryChunk {
		return 0, s.binary()
	}
	s.at++
	switch tag {
	case tagMap:
		return mapKey, nil
	case tagTypedMap:
		return mapKey, s.typeName()
	case tagList:
		return untilEnd, nil
	case tagTypedList:
		return untilEnd, s.typeName()
	case tagFixed:
		return s.count(s.int())
	case tagTypedFixed:
		if err := s.typeName(); err != nil {
			return 0, err
		}
		return s.count(s.int())
	case tagObject:
		n, err := s.int()
		if err != nil {
			return 0, err
		}
		return s.fields(n)
	case tagRef:
		_, err := s.int()
		return 0, err
	}
	s.at--
	return 0, s.bad("tag")
}

// width is the length of a scalar with its tag, 0 for what has no fixed length.
func width(tag byte) int {
	switch {
	case tag >= 0x80 && tag <= 0xbf, tag >= 0xd8 && tag <= 0xef: // int, long
		return 1
	case tag >= 0xc0 && tag <= 0xcf, tag >= 0xf0:
		return 2
	case tag >= 0xd0 && tag <= 0xd7, tag >= 0x38 && tag <= 0x3f:
		return 3
	}
	switch tag {
	case null, tagTrue, tagFalse, 0x5b, 0x5c: // the doubles 0 and 1
		return 1
	case 0x5d: // a double of one byte
		return 2
	case 0x5e: // and of two
		return 3
	case tagInt, tagLongInt, tagMinutes, 0x5f: // a double in thousandths
		return 5
	case tagLong, tagDouble, tagDate:
		return 9
	}
	return 0
}

func (s *scanner) take(n int) error {
	if n > len(s.b)-s.at {
		return s.bad("a value that is cut off")
	}
	s.at += n
	return nil
}

// count checks the length of a list.
func (s *scanner) count(n int, err error) (int32, error) {
	if err != nil {
		return 0, err
	}
	if n < 0 || n > len(s.b)-s.at {
		return 0, s.bad("length of a list")
	}
	return int32(n), nil
}

func (s *scanner) fields(class int) (int32, error) {
	if class < 0 || class >= s.known {
		return 0, s.bad("class of an object")
	}
	return int32(s.classes[class]), nil
}

// class reads a class definition: its name, and the names of its fields.
func (s *scanner) class() error {
	if err := s.string(); err != nil {
		return err
	}
	n, err := s.int()
	if err != nil {
		return err
	}
	if n < 0 || n > len(s.b)-s.at {
		return s.bad("number of fields")
	}
	if n > maxFields || s.known == maxClasses {
		return ErrClasses
	}
	for range n {
		if err := s.string(); err != nil {
			return err
		}
	}
	s.classes[s.known] = uint16(n)
	s.known++
	return nil
}

// typeName reads the type of a list or map: its name, or the number of one that was named before.
func (s *scanner) typeName() error {
	if s.at < len(s.b) && texts(s.b[s.at]) {
		return s.string()
	}
	_, err := s.int()
	return err
}

// ints says that an int begins with this tag.
func ints(tag byte) bool { return tag >= 0x80 && tag <= 0xd7 || tag == tagInt }

// int reads an int.
func (s *scanner) int() (int, error) {
	if s.at >= len(s.b) {
		return 0, s.bad("an int that is cut off")
	}
	b := s.b[s.at:]
	switch tag := b[0]; {
	case tag >= 0x80 && tag <= 0xbf:
		s.at++
		return int(tag) - 0x90, nil
	case tag >= 0xc0 && tag <= 0xcf && len(b) >= 2:
		s.at += 2
		return (int(tag)-0xc8)<<8 + int(b[1]), nil
	case tag >= 0xd0 && tag <= 0xd7 && len(b) >= 3:
		s.at += 3
		return (int(tag)-0xd4)<<16 + int(b[1])<<8 + int(b[2]), nil
	case tag == tagInt && len(b) >= 5:
		s.at += 5
		return int(int32(binary.BigEndian.Uint32(b[1:]))), nil
	}
	return 0, s.bad("an int")
}

// binary walks bytes, chunk by chunk.
func (s *scanner) binary() error {
	for {
		if s.at >= len(s.b) {
			return s.bad("bytes that are cut off")
		}
		b := s.b[s.at:]
		n, head := 0, 0
		switch tag := b[0]; {
		case tag >= 0x20 && tag <= 0x2f:
			n, head = int(tag-0x20), 1
		case tag >= 0x34 && tag <= 0x37 && len(b) >= 2:
			n, head = int(tag-0x34)<<8+int(b[1]), 2
		case (tag == tagBinary || tag == tagBinaryChunk) && len(b) >= 3:
			n, head = int(binary.BigEndian.Uint16(b[1:])), 3
		default:
			return s.bad("bytes")
		}
		if err := s.take(head + n); err != nil || b[0] != tagBinaryChunk {
			return err
		}
	}
}
