package loop

import (
	"time"

	"golang.org/x/sys/unix"
)

// Unfinished says for how long the peer is in the middle of what it says: what was read and not taken has waited since, and has not
// grown by much. ok is false when all was taken, or reading is paused.
func (c *Conn) Unfinished() (since time.Duration, ok bool) {
	if len(c.in) == 0 || c.paused {
		return 0, false
	}
	return c.loop.now - c.begun, true
}

// Unread says that the peer has sent more than was read until now.
func (c *Conn) Unread() bool {
	n, err := unix.IoctlGetInt(c.fd, unix.SIOCINQ)
	return err == nil && n > 0
}

// much is by how much a message has to grow to count as one that goes on.
const much = 64 << 10

// leaves notes that left bytes were read and not taken, behind those that were.
func (c *Conn) leaves(left, taken int) {
	if len(c.in) == 0 || taken > 0 || left-c.mark >= much {
		c.begun, c.mark = c.loop.now, left
	}
}

// anew gives the peer all its time again for what it is in the middle of.
func (c *Conn) anew() {
	c.begun = c.loop.now
	if c.layer != nil {
		c.layer.since = c.loop.now
	}
}

// partial is what a Handler may be besides, to hear that the peer is InRecord: Data shows nothing of that.
type partial interface{ Partial(c *Conn) }

// InRecord says for how long the peer is in the middle of a record of the cipher. ok is false between records, without a cipher, or
// when reading is paused.
func (c *Conn) InRecord() (since time.Duration, ok bool) {
	if c.layer == nil || len(c.layer.raw) == 0 || c.paused {
		return 0, false
	}
	return c.loop.now - c.layer.since, true
}
