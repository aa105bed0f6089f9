// Package upstream holds the shared side of a request: which endpoint takes it, on which connection, and what waits for
// an answer there. Everything belongs to one loop.
package upstream

// MaxSlots bounds the requests that wait on one connection: all of them fit into what a handover carries of it.
const MaxSlots = 1 << 18

const slotMask = MaxSlots - 1

// Slots gives the requests on one multiplexed connection their ids, and finds them again by an answer's id.
// An id is a row and the row's generation, so that a late answer never meets a later request. The zero value is empty.
type Slots[T any] struct {
	rows []*Slot[T]
	free []uint32
	used int
}

// Slot is one request that waits. Slots are reused: nothing is allocated once a connection has seen its peak.
type Slot[T any] struct {
	Value T
	id    uint32
	taken bool
}

// ID that the request has on this connection.
func (s *Slot[T]) ID() uint32 { return s.id }

// Len is the number of slots in use.
func (s *Slots[T]) Len() int { return s.used }

// Take returns a slot with a fresh id and the Value it had last, or nil when MaxSlots are in use.
func (s *Slots[T]) Take() *Slot[T] {
	var slot *Slot[T]
	if last := len(s.free) - 1; last >= 0 {
		slot = s.row(s.free[last])
		s.free = s.free[:last]
	} else if len(s.rows) < MaxSlots {
		slot = &Slot[T]{id: uint32(len(s.rows))}
		s.rows = append(s.rows, slot)
	} else {
		return nil
	}
	slot.taken = true
	s.used++
	return slot
}

// row returns a slot by its row; after Restore only those in use exist already.
func (s *Slots[T]) row(n uint32) *Slot[T] {
	if s.rows[n] == nil {
		s.rows[n] = &Slot[T]{id: n}
	}
	return s.rows[n]
}

// Find returns the slot in use with this id, or nil.
func (s *Slots[T]) Find(id uint32) *Slot[T] {
	row := id & slotMask
	if int(row) >= len(s.rows) {
		return nil
	}
	if slot := s.rows[row]; slot != nil && slot.taken && slot.id == id {
		return slot
	}
	return nil
}

// Free ends a request: its id is not found any more.
func (s *Slots[T]) Free(slot *Slot[T]) {
	if !slot.taken {
		return
	}
	slot.taken = false
	slot.id += MaxSlots // the next generation; it wraps
	s.used--
	s.free = append(s.free, slot.id&slotMask)
}

// Each calls fn for every slot in use. fn may free the slot it is given.
func (s *Slots[T]) Each(fn func(*Slot[T])) {
	for _, slot := range s.rows {
		if slot != nil && slot.taken {
			fn(slot)
		}
	}
}

// Restore rebuilds the slots of a connection that came from another process: ids of the requests in use. They keep
// their ids; every other id starts over, which is safe because no answer to it is outstanding. It returns false when
// two ids share a row, which no Slots has written.
func (s *Slots[T]) Restore(ids []uint32) bool {
	top := uint32(0)
	for _, id := range ids {
		top = max(top, id&slotMask+1)
	}
	s.rows = make([]*Slot[T], top)
	for _, id := range ids {
		if s.rows[id&slotMask] != nil {
			return false
		}
		s.rows[id&slotMask] = &Slot[T]{id: id, taken: true}
	}
	for row := top; row > 0; row-- {
		if s.rows[row-1] == nil {
			s.free = append(s.free, row-1)
		}
	}
	s.used = len(ids)
	return true
}
