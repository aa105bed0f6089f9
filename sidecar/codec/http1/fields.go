package http1

// id tells the fields apart that matter to an intermediary.
type id uint8

const (
	idOther id = iota
	idConnection
	idContentLength
	idExpect
	idForwardedFor
	idHost
	idKeepAlive
	idMaxForwards
	idProxyConnection
	idTE
	idTrailer
	idTransferEncoding
	idUpgrade
	idVia
	idForbiddenTrailer
)

// identify looks at the length first, so that most names are compared with one or none.
func identify(name []byte) id {
	switch len(name) {
	case 2:
		return idOf(name, "te", idTE)
	case 3:
		return idOf(name, "via", idVia)
	case 4:
		return idOf(name, "host", idHost)
	case 6:
		return idOf(name, "expect", idExpect)
	case 7:
		if fold(name, "upgrade") {
			return idUpgrade
		}
		return idOf(name, "trailer", idTrailer)
	case 10:
		if fold(name, "connection") {
			return idConnection
		}
		return idOf(name, "keep-alive", idKeepAlive)
	case 12:
		return idOf(name, "max-forwards", idMaxForwards)
	case 14:
		return idOf(name, "content-length", idContentLength)
	case 15:
		return idOf(name, "x-forwarded-for", idForwardedFor)
	case 16:
		return idOf(name, "proxy-connection", idProxyConnection)
	case 17:
		return idOf(name, "transfer-encoding", idTransferEncoding)
	}
	return idOther
}

func idOf(name []byte, lower string, is id) id {
	if fold(name, lower) {
		return is
	}
	return idOther
}

// field is one field line: offsets into the head. Its line begins with the name and ends where the next one begins.
type field struct {
	name, nameEnd, value, valueEnd uint16
	id                             id
	spaced                         bool // whitespace before the colon, which is not forwarded
}

// inlineFields is how many fields a head has room for before it allocates, once.
const inlineFields = 32

// fields is an index of field lines. It grows and never shrinks, so a connection's second large head costs nothing.
type fields struct {
	n      int
	inline [inlineFields]field
	more   []field
}

func (f *fields) add(x field) {
	if f.n < inlineFields {
		f.inline[f.n] = x
	} else {
		f.more = append(f.more[:f.n-inlineFields], x)
	}
	f.n++
}

func (f *fields) at(i int) *field {
	if i < inlineFields {
		return &f.inline[i]
	}
	return &f.more[i-inlineFields]
}

// maxName is the longest field name. An incomplete line is read again when more of it comes, and names are read slowly.
const maxName = 1 << 10

// line reads the field line that begins at b[at]. It returns where the next one begins; end says that it was the empty
// line behind the last field. It decides at the first byte that it can, so it says the same however the bytes arrive.
// lenient allows whitespace before the colon, which a proxy has to remove from a response (RFC 9112 section 5.1).
func line(b []byte, at int, first, lenient bool) (f field, next int, end bool, err error) {
	if at == len(b) {
		return f, 0, false, ErrShort
	}
	switch {
	case b[at] == '\r':
		next, err = newline(b, at)
		return f, next, true, err
	case blank(b[at]) && first:
		return f, 0, false, bad(at, "whitespace before the first field", "9112 2.2")
	case blank(b[at]):
		return f, 0, false, bad(at, "a folded line", "9112 5.2")
	}
	i := span(b[:min(len(b), at+maxName+1)], at, classToken)
	if i-at > maxName {
		return f, 0, false, &FormatError{statusFieldsTooLarge, "a field name beyond the limit", "6585 5", i}
	}
	f.name, f.nameEnd = uint16(at), uint16(i)
	if lenient && i > at {
		for i < len(b) && blank(b[i]) {
			i++
			f.spaced = true
		}
	}
	if i == len(b) {
		return f, 0, false, ErrShort
	}
	if b[i] != ':' || i == at {
		return f, 0, false, bad(i, nameFault(b[i], i == at), "9112 5")
	}
	for i++; i < len(b) && blank(b[i]); {
		i++
	}
	f.value = uint16(i)
	for i = control(b, i); i < len(b) && b[i] == '\t'; {
		i = control(b, i+1)
	}
	if i == len(b) {
		return f, 0, false, ErrShort
	}
	if next, err = newline(b, i); err != nil {
		return f, 0, false, err
	}
	for i > int(f.value) && blank(b[i-1]) {
		i--
	}
	f.valueEnd = uint16(i)
	f.id = identify(b[f.name:f.nameEnd])
	return f, next, false, nil
}

func nameFault(c byte, empty bool) string {
	switch {
	case c == '\n':
		return "a line feed without a carriage return"
	case c == '\r':
		return "a field without a colon"
	case blank(c):
		return "whitespace before the colon of a field"
	case empty && c == ':':
		return "an empty field name"
	}
	return "a character that no field name may have"
}

// newline checks that b[i], which is a control character, begins a CRLF.
func newline(b []byte, i int) (next int, err error) {
	switch {
	case b[i] == '\n':
		return 0, bad(i, "a line feed without a carriage return", "9112 2.2")
	case b[i] == 0:
		return 0, bad(i, "a NUL", "9110 5.5")
	case b[i] != '\r':
		return 0, bad(i, "a control character", "9110 5.5")
	case i+1 == len(b):
		return 0, ErrShort
	case b[i+1] != '\n':
		return 0, bad(i, "a carriage return without a line feed", "9112 2.2")
	}
	return i + 2, nil
}
