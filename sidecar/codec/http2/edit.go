package http2

import (
	"strings"

	"github.com/axlemesh/axle/sidecar/codec/change"
)

// Change is a change of one field, ready for use. Make it with [Changes].
type Change struct {
	change.Field
	as field
}

// Changes makes changes ready. They must not be of pseudo-header fields, nor of those that frame the message or are about a
// connection: those are not looked at. The fields may enter tables: they are the same in many messages.
func Changes(all []change.Field) []Change {
	out := make([]Change, len(all))
	for i, c := range all {
		c.Name = strings.ToLower(c.Name)
		out[i] = Change{c, field{id: identify([]byte(c.Name)), index: staticFor(c.Name), hash: hash([]byte(c.Name), []byte(c.Value))}}
	}
	return out
}

// Edit changes a head, all removals first. What it adds is not bounded by what a peer may send.
func (f *Fields) Edit(changes []Change) {
	for i := range changes {
		if c := &changes[i]; c.Op.Removes() {
			f.remove(c.Name)
		}
	}
	for i := range changes {
		c := &changes[i]
		if c.Op == change.Remove || c.Op == change.Absent && f.has(c.Name) {
			continue
		}
		at := len(f.bytes)
		f.bytes = append(append(f.bytes, c.Name...), c.Value...)
		f.put(at, len(c.Name), len(c.Value), c.as)
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
