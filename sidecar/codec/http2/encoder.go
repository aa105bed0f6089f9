package http2

// encoder writes header blocks (RFC 7541). What it puts into its table is what the field's first sender has put into its own:
// that one knows best what comes again.
type encoder struct {
	table table
	slots *[encoderSlots]uint32 // one past the number of an entry, by the entry's hash; what two share only one has
	// resized says that the next block begins with the table's size, and with the lowest that it had since the last one.
	resized bool
	lowest  int
}

const encoderSlots = 128

// resize follows the peer's SETTINGS_HEADER_TABLE_SIZE.
func (e *encoder) resize(size int) {
	size = min(size, tableSize)
	if size == e.table.max && !e.resized {
		return
	}
	if !e.resized {
		e.lowest = size
	}
	e.resized, e.lowest = true, min(e.lowest, size)
	e.table.resize(size)
}

// restart empties the table, and tells the peer.
func (e *encoder) restart(size int) {
	e.table, e.slots = table{max: min(size, tableSize)}, nil
	e.resized, e.lowest = true, 0
}

// append writes the list as a block behind dst.
func (e *encoder) append(dst []byte, f *Fields) []byte {
	if e.resized {
		if e.lowest < e.table.max {
			dst = appendNumber(dst, 0x20, 5, e.lowest)
		}
		dst = appendNumber(dst, 0x20, 5, e.table.max)
		e.resized = false
	}
	for i := range f.list {
		dst = e.field(dst, f, i)
	}
	return dst
}

func (e *encoder) field(dst []byte, f *Fields, i int) []byte {
	x := &f.list[i]
	if x.static > 0 {
		return append(dst, 0x80|x.static)
	}
	name, value := f.Field(i)
	switch {
	case x.mode == modeNever:
		return appendLiteral(dst, 0x10, 4, x.index, name, value)
	case x.mode == modePlain || len(name)+len(value)+entryCost > e.table.max:
		return appendLiteral(dst, 0, 4, x.index, name, value)
	}
	if e.slots == nil {
		e.slots = new([encoderSlots]uint32)
	}
	slot := &e.slots[x.hash%encoderSlots]
	if found, age, ok := e.table.numbered(*slot - 1); ok && *slot > 0 && found.hash == x.hash {
		if found.name == x.name && string(e.table.both(found)) == string(f.both(x)) {
			return appendNumber(dst, 0x80, 7, lastStatic+1+age)
		}
	}
	e.table.insert(name, value, entry{hash: x.hash})
	*slot = e.table.first + uint32(e.table.len())
	return appendLiteral(dst, 0x40, 6, x.index, name, value)
}

func appendLiteral(dst []byte, pattern byte, prefix uint, index uint8, name, value []byte) []byte {
	dst = appendNumber(dst, pattern, prefix, int(index))
	if index == 0 {
		dst = appendString(dst, name)
	}
	return appendString(dst, value)
}

func appendNumber(dst []byte, pattern byte, prefix uint, n int) []byte {
	most := 1<<prefix - 1
	if n < most {
		return append(dst, pattern|byte(n))
	}
	dst = append(dst, pattern|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

func appendString(dst, s []byte) []byte {
	if n := huffmanLen(s); n < len(s) {
		return appendHuffman(appendNumber(dst, 0x80, 7, n), s)
	}
	return append(appendNumber(dst, 0, 7, len(s)), s...)
}
