package bolt

import "encoding/binary"

// Names of the header that route a request. SOFARPC writes service or, in older releases, sofa_head_target_service.
const (
	headerService       = "service"
	headerTargetService = "sofa_head_target_service"
	headerMethod        = "sofa_head_method_name"
)

// Key is what a request is routed by: views into the frame, empty when the header lacks them.
type Key struct {
	Service []byte // "interface:version[:uniqueId]"
	Method  []byte
}

// Key scans the header once, without building a map. A header that ends inside a pair yields what stood before it: the
// frame's length fields are intact, so its receiver may judge it.
func (f Frame) Key() Key {
	var k Key
	for h := f.Header(); len(h) > 0; {
		name, rest, ok := headerString(h)
		if !ok {
			return k
		}
		value, rest, ok := headerString(rest)
		if !ok {
			return k
		}
		switch string(name) { // the compiler does not copy here
		case headerService:
			k.Service = value
		case headerTargetService:
			if len(k.Service) == 0 {
				k.Service = value
			}
		case headerMethod:
			k.Method = value
		}
		h = rest
	}
	return k
}

// Lookup returns the value of a header by its exact name; of several the last counts, as in the map that a receiver makes
// of them. Null reads as empty. Like Key it sees nothing behind a pair that is cut off.
func (f Frame) Lookup(name string) (value []byte, ok bool) {
	for h := f.Header(); len(h) > 0; {
		key, rest, whole := headerString(h)
		if !whole {
			break
		}
		v, rest, whole := headerString(rest)
		if !whole {
			break
		}
		if string(key) == name {
			value, ok = v, true
		}
		h = rest
	}
	return value, ok
}

// headerString reads one length-prefixed string; the length -1 is null, which reads as empty. It is small enough to be
// inlined.
func headerString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	if uint64(n) > uint64(len(b)) {
		return nil, b, n == null
	}
	return b[:n], b[n:], true
}

// null is the length -1.
const null = 1<<32 - 1
