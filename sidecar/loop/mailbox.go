package loop

import "sync"

// mailbox carries functions to a loop from other goroutines.
type mailbox struct {
	mu     sync.Mutex
	closed bool
	queue  []func()
	spare  []func() // only the loop touches it
}

// put returns false when nobody will deliver any more. It calls wake when the box was empty, under the lock: close cannot
// take the loop's descriptors away meanwhile, and their numbers may be somebody else's a moment later.
func (m *mailbox) put(fn func(), wake func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	if m.queue = append(m.queue, fn); len(m.queue) == 1 {
		wake()
	}
	return true
}

// close refuses what is put from now on. What is in the box is dropped.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.queue = true, nil
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
