package http2

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// Fields is a header list: the pseudo-header fields and fields of a message, or its trailers. One is used again and again;
// the zero value is empty. What it returns are views that are valid until it changes.
type Fields struct {
	bytes []byte
	list  []field
	size  int        // as RFC 9113 section 6.5.2 counts
	known [ids]int16 // one past the position of the last field with this id
	over  bool       // there was more than maxList
}

// maxList is the largest header list that is taken, as SETTINGS_MAX_HEADER_LIST_SIZE says. What is larger is read to its end,
// for the sake of the tables, but not beyond maxBomb.
const (
	maxList = 64 << 10
	maxBomb = 4 * maxList
)

// field is one field of a list.
type field struct {
	at          uint32 // of the name in bytes; the value is behind it
	name, value uint32 // lengths
	hash        uint32 // of both; only with mode indexed
	id          id
	static      uint8 // its index in the static table, if it is there as it is
	index       uint8 // of the name in the static table
	mode        mode
	sound       bool // checkField has passed it
}

// mode says how a field may be written (RFC 7541 section 6.2).
type mode uint8

const (
	modeIndexed mode = iota // it may enter tables
	modePlain               // it is not worth it
	modeNever               // it must not, here and behind us
	modes
)

// Reset empties the list.
func (f *Fields) Reset() {
	f.bytes, f.list, f.size, f.over = f.bytes[:0], f.list[:0], 0, false
	f.known = [ids]int16{}
}

// Over says that the list was larger than is taken: it is not complete.
func (f *Fields) Over() bool { return f.over }

// Field returns a field, in the order of the message.
func (f *Fields) Field(i int) (name, value []byte) {
	e := &f.list[i]
	middle := e.at + e.name
	return f.bytes[e.at:middle], f.bytes[middle : middle+e.value]
}

// both is a field's name and the value behind it.
func (f *Fields) both(e *field) []byte { return f.bytes[e.at : e.at+e.name+e.value] }

// Add appends a field.
func (f *Fields) Add(name, value string) {
	at := len(f.bytes)
	f.bytes = append(append(f.bytes, name...), value...)
	e := field{id: identify(f.bytes[at : at+len(name)]), index: staticFor(name), mode: modePlain}
	f.push(at, len(name), len(value), e)
}

// Rewritten takes note that somebody has written into values, which keep their lengths.
func (f *Fields) Rewritten() {
	for i := range f.list {
		if e := &f.list[i]; e.mode == modeIndexed && e.static == 0 {
			e.hash = hash(f.Field(i))
		}
	}
}

// AddStatus appends the :status of a response.
func (f *Fields) AddStatus(status int) {
	var digits [20]byte
	f.Add(":status", string(strconv.AppendInt(digits[:0], int64(status), 10)))
}

// push makes a field of the end of bytes. When that is too much the bytes go again.
func (f *Fields) push(at, name, value int, e field) {
	f.size += name + value + entryCost
	if f.size > maxList {
		f.over = true
		f.bytes = f.bytes[:at]
		return
	}
	f.put(at, name, value, e)
}

// put is push without a bound.
func (f *Fields) put(at, name, value int, e field) {
	e.at, e.name, e.value = uint32(at), uint32(name), uint32(value)
	f.list = append(f.list, e)
	f.known[e.id] = int16(len(f.list))
}

func (f *Fields) value(id id) []byte {
	i := f.known[id]
	if i == 0 {
		return nil
	}
	_, value := f.Field(int(i) - 1)
	return value
}

// Method of a request, nil when there is none.
func (f *Fields) Method() []byte { return f.value(idMethod) }

// Path is the request's target with its query.
func (f *Fields) Path() []byte { return f.value(idPath) }

// Authority of the request, which may be in Host (RFC 9113 section 8.3.1); nil when it has none.
func (f *Fields) Authority() []byte {
	if f.known[idAuthority] > 0 {
		return f.value(idAuthority)
	}
	return f.value(idHost)
}

// Status of a response, 0 when it has none.
func (f *Fields) Status() int {
	n := 0
	for _, c := range f.value(idStatus) {
		n = 10*n + int(c-'0')
	}
	return n
}

// ContentType of the message, nil when it has none.
func (f *Fields) ContentType() []byte { return f.value(idContentType) }

// GRPC says that the content type is one of gRPC's.
func (f *Fields) GRPC() bool {
	const grpc = "application/grpc"
	rest, ok := bytes.CutPrefix(f.value(idContentType), []byte(grpc))
	return ok && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
}

// Values returns the value of the first field with this name, in lower case; more says that there are others, and
// AppendValues has all of them.
func (f *Fields) Values(name string) (value []byte, ok, more bool) {
	for i := range f.list {
		n, v := f.Field(i)
		if string(n) != name {
			continue
		}
		if ok {
			return value, true, true
		}
		value, ok = v, true
	}
	return value, ok, false
}

// AppendValues appends the values of all fields of that name, with ", " between them (RFC 9110 section 5.3).
func (f *Fields) AppendValues(dst []byte, name string) []byte {
	first := true
	for i := range f.list {
		n, v := f.Field(i)
		if string(n) != name {
			continue
		}
		if !first {
			dst = append(dst, ", "...)
		}
		dst = append(dst, v...)
		first = false
	}
	return dst
}

// AppendBinary writes the list down.
func (f *Fields) AppendBinary(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(f.list)))
	for i := range f.list {
		e := &f.list[i]
		name, value := f.Field(i)
		dst = append(dst, byte(e.mode))
		dst = append(binary.AppendUvarint(dst, uint64(len(name))), name...)
		dst = append(binary.AppendUvarint(dst, uint64(len(value))), value...)
	}
	return dst
}

// Parse replaces the list by one that was written down, and returns the bytes behind it.
func (f *Fields) Parse(b []byte) ([]byte, error) {
	f.Reset()
	d := reader{b: b}
	for n := d.uint(); n > 0 && !d.bad; n-- {
		mode := mode(d.byte())
		name, value := d.bytes(), d.bytes()
		if d.bad || mode >= modes {
			return nil, errState
		}
		at := len(f.bytes)
		f.bytes = append(append(f.bytes, name...), value...)
		e := field{id: identify(name), index: staticFor(string(name)), mode: mode}
		if mode == modeIndexed {
			e.hash = hash(name, value)
		}
		if f.size += len(name) + len(value) + entryCost; f.size > maxBomb {
			return nil, errState
		}
		f.put(at, len(name), len(value), e) // an Edit may have made it larger than a peer's may be
	}
	if d.bad {
		return nil, errState
	}
	return d.b, nil
}

// hash of a field (FNV-1a), for the encoder's table.
func hash(name, value []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range name {
		h = (h ^ uint32(c)) * 16777619
	}
	h = (h ^ 0xff) * 16777619
	for _, c := range value {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}
