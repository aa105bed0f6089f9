package loop

import (
	"math/bits"
	"time"
)

// Tick is the resolution of timers: they are up to one tick late and never early.
const Tick = 4 * time.Millisecond

const (
	wheelSlots = 1024
	wheelMask  = wheelSlots - 1
)

// Expirer is told when its timer has gone off.
type Expirer interface{ Expire() }

// Timer is one deadline, embedded in what it belongs to: arming it allocates nothing. The zero value with its Owner set
// is ready.
type Timer struct {
	Owner      Expirer
	next, prev *Timer
	tick       uint64
}

// Armed says whether the timer is going to expire.
func (t *Timer) Armed() bool { return t.next != nil }

// Left returns the time until t expires, at least 0; 0 for an idle timer.
func (t *Timer) Left(now time.Duration) time.Duration {
	if !t.Armed() {
		return 0
	}
	return max(time.Duration(t.tick)*Tick-now, 0)
}

// Wheel is a hashed timing wheel. A slot holds the timers of every tick that hashes to it.
type Wheel struct {
	slots  [wheelSlots]Timer // list heads
	filled [wheelSlots / 64]uint64
	tick   uint64 // all timers up to and including this tick have gone off
	armed  int
	work   Timer // the slot that is being worked off
}

func (w *Wheel) start(now time.Duration) { w.tick = uint64(now / Tick) }

// Start arms t for a time of the clock; an armed timer is moved.
func (w *Wheel) Start(t *Timer, when time.Duration) {
	w.Cancel(t)
	t.tick = max(uint64((when+Tick-1)/Tick), w.tick+1)
	w.link(t)
}

func (w *Wheel) link(t *Timer) {
	slot := t.tick & wheelMask
	head := &w.slots[slot]
	if head.next == nil {
		head.next, head.prev = head, head
	}
	t.prev, t.next = head.prev, head
	head.prev.next, head.prev = t, t
	w.filled[slot>>6] |= 1 << (slot & 63)
	w.armed++
}

// Cancel disarms t.
func (w *Wheel) Cancel(t *Timer) {
	if t.next == nil {
		return
	}
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
	w.armed--
	if slot := t.tick & wheelMask; w.slots[slot].next == &w.slots[slot] {
		w.filled[slot>>6] &^= 1 << (slot & 63)
	}
}

// Advance expires everything that is due at now, oldest tick first.
func (w *Wheel) Advance(now time.Duration) {
	due := uint64(now / Tick)
	if due > w.tick+wheelSlots && w.armed > 0 {
		w.tick = due - wheelSlots // every slot is visited once, whatever the gap
	}
	if w.armed == 0 {
		w.tick = max(w.tick, due)
		return
	}
	for w.tick < due {
		w.tick++
		if slot := w.tick & wheelMask; w.filled[slot>>6]&(1<<(slot&63)) != 0 {
			w.expire(&w.slots[slot], due)
		}
	}
}

// expire works on a list of its own, because an owner may arm and cancel any timer, also of this slot.
func (w *Wheel) expire(head *Timer, due uint64) {
	work := &w.work
	work.next, work.prev = head.next, head.prev
	work.next.prev, work.prev.next = work, work
	head.next, head.prev = head, head
	slot := w.tick & wheelMask
	w.filled[slot>>6] &^= 1 << (slot & 63)
	for work.next != work {
		t := work.next
		w.Cancel(t)
		if t.tick <= due {
			t.Owner.Expire()
			continue
		}
		w.link(t)
	}
}

// Next returns when Advance is needed next, 0 when no timer is armed. It may be early by whole turns of the wheel.
func (w *Wheel) Next() time.Duration {
	if w.armed == 0 {
		return 0
	}
	from := (w.tick + 1) & wheelMask
	for i := range uint64(len(w.filled) + 1) {
		word := (from>>6 + i) % uint64(len(w.filled))
		set := w.filled[word]
		if i == 0 {
			set &= ^uint64(0) << (from & 63)
		}
		if set == 0 {
			continue
		}
		slot := word<<6 + uint64(bits.TrailingZeros64(set))
		return time.Duration(w.tick+1+(slot-from)&wheelMask) * Tick
	}
	return 0
}
