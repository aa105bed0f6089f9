// Package ledger remembers which messages a strict server has seen, so that it notices one that comes twice.
package ledger

import (
	"sync"

	"github.com/axlemesh/axle/hack/peers/wire"
)

// window is how many sequence numbers behind the highest one are remembered for each connection. A message that is
// further behind counts as seen: no client keeps one in flight for that long.
const window = 1 << 14

// Ledger remembers which messages have been seen, in bounded memory per connection. A server sees only some of a
// connection's messages when a proxy spreads them, so it remembers a window and not just a watermark.
// The zero value is empty. It is safe for concurrent use.
type Ledger struct {
	mu    sync.Mutex
	conns map[connKey]*recent
}

type connKey struct {
	client uint64
	conn   uint32
}

// Add notes a message and says whether it is the first of its identity.
func (l *Ledger) Add(id wire.Identity) bool {
	key := connKey{id.Client, id.Conn}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.conns[key]
	if r == nil {
		if l.conns == nil {
			l.conns = map[connKey]*recent{}
		}
		r = &recent{}
		l.conns[key] = r
	}
	return r.add(id.Seq)
}

// recent is a ring of bits: bit seq % window says whether seq was seen, for the window that ends at top.
type recent struct {
	top  uint64
	bits [window / 64]uint64
}

func (r *recent) add(seq uint64) bool {
	if seq+window <= r.top {
		return false
	}
	if seq > r.top {
		r.forget(r.top+1, seq)
		r.top = seq
	}
	word, bit := &r.bits[seq%window/64], uint64(1)<<(seq%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// forget clears the bits of the sequence numbers from first to last, which enter the window.
func (r *recent) forget(first, last uint64) {
	if last-first >= window {
		clear(r.bits[:])
		return
	}
	for seq := first; seq <= last; seq++ {
		r.bits[seq%window/64] &^= 1 << (seq % 64)
	}
}
