package http2

// tableSize is the size of dynamic tables on both sides, unless a peer wants a smaller one of ours: the default of
// SETTINGS_HEADER_TABLE_SIZE.
const tableSize = 4096

// entryCost is what an entry counts besides its bytes (RFC 7541 section 4.1).
const entryCost = 32

// table is a dynamic table. Entries are numbered from the first that was ever inserted; the oldest that is left is first.
type table struct {
	entries []entry
	head    int    // where the oldest is in entries
	first   uint32 // its number
	bytes   []byte
	size    int
	max     int
}

// entry is one field of a table.
type entry struct {
	at          uint32 // of the name in bytes; the value is behind it
	name, value uint32 // lengths
	hash        uint32 // of both
	id          id
	index       uint8 // of the name in the static table
	sound       bool  // checkField has passed it
}

func (t *table) len() int { return len(t.entries) - t.head }

// recent returns an entry by its age: 0 is the latest.
func (t *table) recent(age int) *entry { return &t.entries[len(t.entries)-1-age] }

// numbered returns the entry with this number, and how old it is; ok is false when it is gone.
func (t *table) numbered(n uint32) (e *entry, age int, ok bool) {
	at := n - t.first
	if at >= uint32(t.len()) {
		return nil, 0, false
	}
	return &t.entries[t.head+int(at)], t.len() - 1 - int(at), true
}

func (t *table) text(e *entry) (name, value []byte) {
	middle := e.at + e.name
	return t.bytes[e.at:middle], t.bytes[middle : middle+e.value]
}

// both is the name and the value behind it.
func (t *table) both(e *entry) []byte { return t.bytes[e.at : e.at+e.name+e.value] }

// insert adds an entry, and evicts what there is no room for. One that is larger than the table only empties it (RFC 7541
// section 4.4). name and value are not of this table.
func (t *table) insert(name, value []byte, e entry) {
	cost := len(name) + len(value) + entryCost
	t.evict(t.max - cost)
	if cost > t.max {
		return
	}
	t.makeRoom(len(name) + len(value))
	e.at, e.name, e.value = uint32(len(t.bytes)), uint32(len(name)), uint32(len(value))
	t.bytes = append(append(t.bytes, name...), value...)
	t.entries = append(t.entries, e)
	t.size += cost
}

// evict drops the oldest entries until at most size is left.
func (t *table) evict(size int) {
	for t.size > size && t.len() > 0 {
		e := &t.entries[t.head]
		t.size -= int(e.name+e.value) + entryCost
		t.head++
		t.first++
	}
	if t.len() == 0 {
		t.entries, t.bytes, t.head = t.entries[:0], t.bytes[:0], 0
	}
}

// resize changes the table's size.
func (t *table) resize(size int) {
	t.max = size
	t.evict(size)
}

// makeRoom moves what is alive to the front when the memory behind it is used up.
func (t *table) makeRoom(n int) {
	if t.head > 0 && len(t.entries) == cap(t.entries) {
		t.entries = t.entries[:copy(t.entries, t.entries[t.head:])]
		t.head = 0
	}
	if len(t.bytes)+n <= cap(t.bytes) || t.len() == 0 {
		return
	}
	from := t.entries[t.head].at
	alive := t.bytes[from:]
	if 2*(len(alive)+n) > cap(t.bytes) {
		alive = append(make([]byte, 0, 2*(len(alive)+n)), alive...)
		t.bytes = alive
	} else {
		t.bytes = t.bytes[:copy(t.bytes, alive)]
	}
	for i := t.head; i < len(t.entries); i++ {
		t.entries[i].at -= from
	}
}
