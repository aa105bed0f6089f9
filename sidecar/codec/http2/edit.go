package http2

import "strings"

// Op is what a Change does.
type Op uint8

// What a Change does.
const (
	Set    Op = iota // removes what there is of the name, and adds one
	Add              // adds one, whatever there is
	Absent           // adds one if there is none
	Remove           // removes what there is
)

// Change is a change of one field of a head. It must not be of a pseudo-header field, nor of one that frames the message or is
// about a connection: those are not looked at. Make one with [NewChange].
type Change struct {
	op          Op
	name, value string
	as          field
}

// NewChange makes a change. Its name may be in any case. The field may enter tables: it is the same in many messages.
func NewChange(op Op, name, value string) Change {
	name = strings.ToLower(name)
	as := field{id: identify([]byte(name)), index: staticFor(name), hash: hash([]byte(name), []byte(value))}
	return Change{op: op, name: name, value: value, as: as}
}

// Edit changes a head, all removals first. What it adds is not bounded by what a peer may send.
func (f *Fields) Edit(changes []Change) {
	for i := range changes {
		if c := &changes[i]; c.op == Set || c.op == Remove {
			f.remove(c.name)
		}
	}
	for i := range changes {
		c := &changes[i]
		if c.op == Remove || c.op == Absent && f.has(c.name) {
			continue
		}
		at := len(f.bytes)
		f.bytes = append(append(f.bytes, c.name...), c.value...)
		f.put(at, len(c.name), len(c.value), c.as)
	}
}

func (f *Fields) has(name string) bool {
	_, ok, _ := f.Values(name)
	return ok
}

// remove takes every field of that name away.
func (f *Fields) remove(name string) {
	if !f.has(name) {
		return
	}
	rest := f.list[:0]
	for i := range f.list {
		if n, _ := f.Field(i); string(n) != name {
			rest = append(rest, f.list[i])
		}
	}
	f.list = rest
	f.reindex()
}

// reindex finds the known fields again.
func (f *Fields) reindex() {
	f.known = [ids]int16{}
	for i := range f.list {
		f.known[f.list[i].id] = int16(i + 1)
	}
}

// SetPath replaces the path of a request that has one. path is not of this list.
func (f *Fields) SetPath(path []byte) { setValue(f, idPath, path) }

// SetAuthority replaces the authority of a request, wherever it is said.
func (f *Fields) SetAuthority(authority string) {
	setValue(f, idHost, authority)
	setValue(f, idAuthority, authority)
	if f.known[idAuthority] > 0 || f.known[idHost] > 0 {
		return
	}
	const name = ":authority"
	at := len(f.bytes)
	f.bytes = append(append(f.bytes, name...), authority...)
	f.put(at, len(name), len(authority), field{id: idAuthority, index: staticFor(name), mode: modePlain})
	last := len(f.list) - 1
	e := f.list[last]
	copy(f.list[1:], f.list[:last])
	f.list[0] = e // pseudo-header fields are in front (RFC 9113 section 8.3)
	f.reindex()
}

// setValue replaces the value of a known field, if it is there.
func setValue[T string | []byte](f *Fields, id id, value T) {
	i := int(f.known[id]) - 1
	if i < 0 {
		return
	}
	name, _ := f.Field(i)
	at := len(f.bytes)
	f.bytes = append(append(f.bytes, name...), value...)
	e := &f.list[i]
	e.at, e.value, e.static = uint32(at), uint32(len(value)), 0
	if e.mode == modeIndexed {
		e.hash = hash(f.Field(i))
	}
}
