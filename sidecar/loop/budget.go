package loop

import (
	"errors"
	"sync/atomic"
)

// ErrBudget closes a connection whose message is larger than what the process may still hold.
var ErrBudget = errors.New("the process has no memory left for large messages")

// Budget bounds what all loops of a process hold of large messages that are not complete yet: without it, slow senders
// could fill the memory of a container. The zero value sets no limit.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget allows limit bytes; 0 means no limit.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Used is what is held now, in bytes.
func (b *Budget) Used() int64 { return b.used.Load() }

func (b *Budget) take(n int) bool {
	if b == nil {
		return true
	}
	if used := b.used.Add(int64(n)); b.limit > 0 && used > b.limit {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

func (b *Budget) give(n int) {
	if b != nil {
		b.used.Add(-int64(n))
	}
}
