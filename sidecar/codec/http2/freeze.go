package http2

import (
	"encoding/binary"
	"errors"
	"slices"
)

// errState says that what was written down is damaged.
var errState = errors.New("http2: the state of a connection is damaged")

// AppendBinary writes everything down that another process needs to carry on at this byte, but for what owners keep with
// streams. The encoder's table is left out.
func (c *Conn) AppendBinary(dst []byte) []byte {
	dst = appendFlags(dst, c.flags())
	for _, n := range c.numbers() {
		dst = binary.AppendVarint(dst, *n)
	}
	for _, n := range c.uints() {
		dst = binary.AppendUvarint(dst, uint64(*n))
	}
	dst = appendBytes(dst, c.block)
	t := &c.decoder.table
	dst = binary.AppendUvarint(dst, uint64(t.max))
	dst = binary.AppendUvarint(dst, uint64(t.len()))
	for age := t.len() - 1; age >= 0; age-- {
		name, value := t.text(t.recent(age))
		dst = appendBytes(appendBytes(dst, name), value)
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.recent)))
	for i := range c.recent { // oldest first
		dst = binary.AppendUvarint(dst, uint64(c.recent[(c.recentAt+i)%len(c.recent)]))
	}
	ids := make([]uint32, 0, len(c.streams))
	for id := range c.streams {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	dst = binary.AppendUvarint(dst, uint64(len(ids)))
	for _, id := range ids {
		s := c.streams[id]
		dst = appendFlags(binary.AppendUvarint(dst, uint64(id)), s.flags())
		for _, n := range s.numbers() {
			dst = binary.AppendVarint(dst, *n)
		}
	}
	return dst
}

// StateSize is how many bytes AppendBinary appends, at most.
func (c *Conn) StateSize() int {
	const number, stream = 10, 64 // of a varint; of a stream without what its owner keeps
	return 16*number + len(c.block) + c.decoder.table.size + len(c.recent)*5 + len(c.streams)*stream
}

func (c *Conn) flags() []*bool {
	return []*bool{&c.client, &c.greeted, &c.settled, &c.goneAway, &c.leaving, &c.head.open, &c.head.end, &c.head.self}
}

func (c *Conn) numbers() []*int64 { return []*int64{&c.sendWindow, &c.recvWindow, &c.owed} }

func (c *Conn) uints() []*uint32 {
	return []*uint32{&c.lastOwn, &c.lastPeer, &c.peerStreams, &c.peerWindow, &c.peerTable, &c.head.stream}
}

func (s *Stream) flags() []*bool {
	return []*bool{&s.headed, &s.counted, &s.bodiless, &s.remoteEnd, &s.localEnd}
}

func (s *Stream) numbers() []*int64 { return []*int64{&s.send, &s.recv, &s.owed, &s.left} }

// Parse makes c the connection that was written down, and returns the bytes behind it. The budget is a full one.
func (c *Conn) Parse(b []byte) ([]byte, error) {
	*c = Conn{budget: maxBudget, streams: map[uint32]*Stream{}}
	d := reader{b: b}
	d.flags(c.flags())
	for _, n := range c.numbers() {
		*n = d.int()
	}
	for _, n := range c.uints() {
		*n = d.uint32()
	}
	c.block = slices.Clone(d.bytes())
	c.parseTable(&d)
	for n := d.uint(); n > 0 && !d.bad; n-- {
		if len(c.recent) == memory {
			return nil, errState
		}
		c.recent = append(c.recent, d.uint32())
	}
	for n := d.uint(); n > 0 && !d.bad; n-- {
		s := &Stream{ID: d.uint32()}
		d.flags(s.flags())
		for _, n := range s.numbers() {
			*n = d.int()
		}
		if c.streams[s.ID] != nil || s.ID == 0 || c.idle(s.ID) {
			return nil, errState
		}
		c.streams[s.ID] = s
	}
	if d.bad || len(c.block) > maxBlock || !c.plausible() {
		return nil, errState
	}
	c.encoder.restart(int(c.peerTable))
	return d.b, nil
}

// plausible judges the numbers that later arithmetic relies on.
func (c *Conn) plausible() bool {
	windows := func(all []*int64) bool {
		for _, n := range all {
			if *n > maxWindow || *n < -maxWindow {
				return false
			}
		}
		return true
	}
	for _, s := range c.streams {
		if !windows([]*int64{&s.send, &s.recv, &s.owed}) || s.owed < 0 || s.remoteEnd && s.localEnd {
			return false
		}
	}
	return windows(c.numbers()) && c.owed >= 0 && c.peerWindow <= maxWindow && c.peerTable <= tableSize
}

// parseTable feeds the decoder with what its table had, oldest first.
func (c *Conn) parseTable(d *reader) {
	t := &c.decoder.table
	if t.max = int(min(d.uint(), tableSize)); d.bad {
		return
	}
	for n := d.uint(); n > 0 && !d.bad; n-- {
		name, value := d.bytes(), d.bytes()
		if len(name)+len(value)+entryCost > t.max {
			d.bad = true
			return
		}
		t.insert(name, value, entry{hash: hash(name, value), id: identify(name), index: staticFor(string(name))})
	}
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func appendFlags(dst []byte, flags []*bool) []byte {
	n := uint64(0)
	for i, flag := range flags {
		if *flag {
			n |= 1 << i
		}
	}
	return binary.AppendUvarint(dst, n)
}

// reader takes from b; bad is set once something was missing.
type reader struct {
	b   []byte
	bad bool
}

func (d *reader) fail() {
	d.bad, d.b = true, nil
}

func (d *reader) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *reader) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *reader) uint32() uint32 {
	v := d.uint()
	if v >= 1<<32 {
		d.fail()
		return 0
	}
	return uint32(v)
}

func (d *reader) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *reader) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *reader) flags(flags []*bool) {
	n := d.uint()
	if n >= 1<<len(flags) {
		d.fail()
	}
	for i, flag := range flags {
		*flag = n>>i&1 == 1
	}
}
