package handover

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// outItem is one message that waits to be sent.
type outItem struct {
	kind    Kind
	version uint8
	id      uint64
	body    []byte
	fds     []int
	taken   []*atomic.Bool // of relays
	dead    bool           // withdrawn: its descriptors may mean something else by now
}

// outbox is what waits to be sent, in order. Adding never blocks: whoever adds may be an event loop.
type outbox struct {
	mu      sync.Mutex
	wake    sync.Cond
	items   []*outItem
	current *outItem
	relays  int // bytes of relays that wait
	limit   int // for relays
	ackDue  uint64
	unacked int // packets with descriptors that the peer has not confirmed
	closing bool
	closed  bool
	dropped int // relays that came too late
}

// fdWindow is how many packets with descriptors may be unread at once: descriptors in flight count against a limit that
// all processes of a user share (ETOOMANYREFS).
const fdWindow = 2

func newOutbox(limit int) *outbox {
	o := &outbox{limit: limit}
	o.wake.L = &o.mu
	return o
}

// add queues a message. Only a relay can be refused.
func (o *outbox) add(it *outItem) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing || o.closed {
		if it.kind == KindRelay {
			o.dropped++
		}
		return nil
	}
	if it.kind == KindRelay {
		if o.relays+len(it.body) > o.limit {
			return fmt.Errorf("the relay queue is full: %d bytes wait, the limit is %d", o.relays, o.limit)
		}
		o.relays += len(it.body)
		if n := len(o.items); n > 0 && o.items[n-1].kind == KindRelay && len(o.items[n-1].body)+len(it.body) <= maxPayload {
			last := o.items[n-1] // small relays share a packet
			last.body = append(last.body, it.body...)
			last.taken = append(last.taken, it.taken...)
			return nil
		}
	}
	o.items = append(o.items, it)
	o.wake.Broadcast()
	return nil
}

// next waits for something to send: an item, or a number of acks, or neither when all is over.
func (o *outbox) next() (*outItem, uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.current = nil
	for {
		switch {
		case o.closed:
			return nil, 0
		case o.ackDue > 0:
			n := o.ackDue
			o.ackDue = 0
			return nil, n
		case len(o.items) > 0:
			it := o.items[0]
			o.items[0] = nil
			o.items = o.items[1:]
			if it.kind == KindRelay {
				o.relays -= len(it.body)
			}
			o.current = it
			return it, 0
		case o.closing:
			return nil, 0
		}
		o.wake.Wait()
	}
}

// room waits until one more packet with descriptors may go, or returns acks that have to go first; ok is false when all
// is over.
func (o *outbox) room() (acks uint64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		switch {
		case o.closed || o.current == nil || o.current.dead:
			return 0, false
		case o.ackDue > 0:
			n := o.ackDue
			o.ackDue = 0
			return n, true
		case o.unacked < fdWindow:
			o.unacked++
			return 0, true
		}
		o.wake.Wait()
	}
}

// owe notes that a packet with descriptors has been read here.
func (o *outbox) owe() {
	o.mu.Lock()
	o.ackDue++
	o.mu.Unlock()
	o.wake.Broadcast()
}

// acked notes that the peer has read n packets with descriptors.
func (o *outbox) acked(n uint64) {
	o.mu.Lock()
	o.unacked = max(0, o.unacked-int(min(n, fdWindow)))
	o.mu.Unlock()
	o.wake.Broadcast()
}

// withdraw calls off every message with descriptors that has not been sent entirely: their numbers are about to become
// somebody else's. The send lock must be held, so that none is being sent just now.
func (o *outbox) withdraw() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, it := range append(o.items, o.current) {
		if it != nil && len(it.fds) > 0 {
			it.dead = true
		}
	}
	o.wake.Broadcast()
}

// finish lets what is queued go and then ends; close ends at once.
func (o *outbox) finish() {
	o.mu.Lock()
	o.closing = true
	o.mu.Unlock()
	o.wake.Broadcast()
}

func (o *outbox) close() {
	o.mu.Lock()
	o.closing, o.closed = true, true
	o.mu.Unlock()
	o.wake.Broadcast()
}

// over reports whether sending has been stopped.
func (o *outbox) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

// late is how many relays came after the end.
func (o *outbox) late() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}
