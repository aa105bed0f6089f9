package loop

import "sync"

// mailbox carries functions to a loop from other goroutines.
type mailbox struct {
	mu    sync.Mutex
	queue []func()
	spare []func() // only the loop touches it
}

// put returns true when the loop has to be woken: the box was empty.
func (m *mailbox) put(fn func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue = append(m.queue, fn)
	return len(m.queue) == 1
}

// deliver runs what was in the box when it was opened, in order.
func (m *mailbox) deliver() {
	m.mu.Lock()
	batch := m.queue
	m.queue = m.spare
	m.mu.Unlock()
	for _, fn := range batch {
		fn()
	}
	clear(batch)
	m.spare = batch[:0]
}
