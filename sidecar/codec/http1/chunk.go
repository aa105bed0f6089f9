package http1

// maxSizeDigits is how many digits a chunk size may have, leading zeros included.
const maxSizeDigits = 16

// chunkLine reads chunk-size [ chunk-ext ] CRLF (RFC 9112 section 7.1). digits is the length of the size, next is behind
// the line. It decides at the first byte that it can.
func chunkLine(b []byte) (size uint64, digits, next int, err error) {
	for digits < len(b) && is(b[digits], classHex) {
		if digits == maxSizeDigits || size >= 1<<59 {
			return 0, 0, 0, bad(digits, "a chunk size beyond the limit", "9112 7.1")
		}
		size = size<<4 | hex(b[digits])
		digits++
	}
	i := digits
	switch {
	case i == len(b):
		return 0, 0, 0, ErrShort
	case i == 0:
		return 0, 0, 0, bad(0, "a chunk without a size", "9112 7.1")
	}
	for {
		i = blanks(b, i)
		if i == len(b) {
			return 0, 0, 0, ErrShort
		}
		if b[i] != ';' {
			break
		}
		if i, err = extension(b, i+1); err != nil {
			return 0, 0, 0, err
		}
	}
	if b[i] > ' ' || blank(b[i-1]) { // whitespace stands before a ";" or a "=" only
		return 0, 0, 0, bad(i, "no CRLF or extension behind a chunk size", "9112 7.1.1")
	}
	next, err = newline(b, i)
	return size, digits, next, err
}

// extension reads BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] at b[i] (RFC 9112 section 7.1.1).
func extension(b []byte, i int) (int, error) {
	name := blanks(b, i)
	end := span(b, name, classToken)
	i = blanks(b, end)
	switch {
	case i == len(b):
		return 0, ErrShort
	case end == name:
		return 0, bad(i, "a chunk extension without a name", "9112 7.1.1")
	case b[i] != '=':
		return end, nil
	}
	i = blanks(b, i+1)
	if i < len(b) && b[i] == '"' {
		return quoted(b, i+1)
	}
	end = span(b, i, classToken)
	switch {
	case end == len(b):
		return 0, ErrShort
	case end == i:
		return 0, bad(i, "a chunk extension without a value", "9112 7.1.1")
	}
	return end, nil
}

// quoted reads the rest of a quoted string (RFC 9110 section 5.6.4).
func quoted(b []byte, i int) (int, error) {
	for {
		i = span(b, i, classText)
		switch {
		case i == len(b):
			return 0, ErrShort
		case b[i] == '"':
			return i + 1, nil
		case b[i] != '\\':
			return 0, bad(i, "a control character in a chunk extension", "9110 5.6.4")
		case i+1 == len(b):
			return 0, ErrShort
		case b[i+1] != '"' && b[i+1] != '\\' && !is(b[i+1], classText):
			return 0, bad(i+1, "a control character in a chunk extension", "9110 5.6.4")
		}
		i += 2
	}
}

func blanks(b []byte, i int) int {
	for i < len(b) && blank(b[i]) {
		i++
	}
	return i
}

// hex is the value of a hexadecimal digit.
func hex(c byte) uint64 {
	if c <= '9' {
		return uint64(c - '0')
	}
	return uint64(c|0x20) - 'a' + 10
}
