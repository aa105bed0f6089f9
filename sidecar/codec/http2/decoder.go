package http2

import "errors"

// decoder reads header blocks (RFC 7541). Its table is what every block before has left there.
type decoder struct{ table table }

// Faults of a header block. Each ends the connection: the table is not what the peer thinks it is.
var (
	errShortBlock = errors.New("a header block that ends too early")
	errNumber     = errors.New("a number that is too large")
	errIndex      = errors.New("an index that there is no entry for")
	errBomb       = errors.New("a header list that is far too large")
	errResize     = errors.New("a table size that was not allowed, or not in front")
)

// decode appends the fields of a block to f.
func (d *decoder) decode(b []byte, f *Fields) error {
	front := true
	for len(b) > 0 {
		var err error
		c := b[0]
		switch {
		case c&0x80 != 0:
			b, err = d.indexed(b, f)
		case c&0xc0 == 0x40:
			b, err = d.literal(b, 6, modeIndexed, f)
		case c&0xe0 == 0x20:
			b, err = d.resize(b, front)
			front = front && err == nil
			if err != nil {
				return err
			}
			continue
		case c&0xf0 == 0x10:
			b, err = d.literal(b, 4, modeNever, f)
		default:
			b, err = d.literal(b, 4, modePlain, f)
		}
		if err == nil && f.size > maxBomb {
			err = errBomb
		}
		if err != nil {
			return err
		}
		front = false
	}
	return nil
}

// number reads an integer with a prefix of that many bits (RFC 7541 section 5.1).
func number(b []byte, prefix uint) (n int, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, errShortBlock
	}
	most := 1<<prefix - 1
	if n = int(b[0]) & most; n < most {
		return n, b[1:], nil
	}
	for i := 1; i < len(b); i++ {
		if i > 4 {
			return 0, nil, errNumber
		}
		n += int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			return n, b[i+1:], nil
		}
	}
	return 0, nil, errShortBlock
}

// resize takes the size of the table that the peer's encoder has chosen.
func (d *decoder) resize(b []byte, front bool) ([]byte, error) {
	size, rest, err := number(b, 5)
	if err != nil {
		return nil, err
	}
	if !front || size > tableSize {
		return nil, errResize
	}
	d.table.resize(size)
	return rest, nil
}

// indexed takes a field that is in a table.
func (d *decoder) indexed(b []byte, f *Fields) ([]byte, error) {
	i, rest, err := number(b, 7)
	if err != nil {
		return nil, err
	}
	at := len(f.bytes)
	switch {
	case i == 0 || i > lastStatic+d.table.len():
		return nil, errIndex
	case i <= lastStatic:
		p := &staticTable[i]
		f.bytes = append(append(f.bytes, p.name...), p.value...)
		f.push(at, len(p.name), len(p.value), field{id: staticIDs[i], static: uint8(i), index: uint8(i)})
	default:
		e := d.table.recent(i - lastStatic - 1)
		f.bytes = append(f.bytes, d.table.both(e)...)
		f.push(at, int(e.name), int(e.value), field{id: e.id, index: e.index, hash: e.hash, sound: e.sound})
	}
	return rest, nil
}

// literal takes a field that is written out, but perhaps for its name.
func (d *decoder) literal(b []byte, prefix uint, mode mode, f *Fields) ([]byte, error) {
	i, b, err := number(b, prefix)
	if err != nil {
		return nil, err
	}
	e := field{mode: mode}
	at := len(f.bytes)
	switch {
	case i > lastStatic+d.table.len():
		return nil, errIndex
	case i > lastStatic:
		from := d.table.recent(i - lastStatic - 1)
		name, _ := d.table.text(from)
		f.bytes = append(f.bytes, name...)
		e.id, e.index = from.id, from.index
	case i > 0:
		f.bytes = append(f.bytes, staticTable[i].name...)
		e.id, e.index = staticIDs[i], uint8(i)
	default:
		if f.bytes, b, err = appendText(f.bytes, b); err != nil {
			return nil, err
		}
		e.id = identify(f.bytes[at:])
	}
	middle := len(f.bytes)
	if f.bytes, b, err = appendText(f.bytes, b); err != nil {
		return nil, err
	}
	name, value := f.bytes[at:middle], f.bytes[middle:]
	if mode == modeIndexed {
		e.hash, e.sound = hash(name, value), checkField(name, value, e.id.pseudo())
		d.table.insert(name, value, entry{hash: e.hash, id: e.id, index: e.index, sound: e.sound})
	}
	f.push(at, len(name), len(value), e)
	return b, nil
}

// appendText appends a string of a block to dst (RFC 7541 section 5.2).
func appendText(dst, b []byte) (_, rest []byte, err error) {
	n, rest, err := number(b, 7)
	if err != nil {
		return dst, nil, err
	}
	if n > len(rest) {
		return dst, nil, errShortBlock
	}
	if b[0]&0x80 == 0 {
		return append(dst, rest[:n]...), rest[n:], nil
	}
	dst, err = appendHuffmanDecoded(dst, rest[:n])
	return dst, rest[n:], err
}
