package loop

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Write queues b for the end of this turn, when everything that was queued is sent with one system call. It copies b and
// never fails: a broken connection is closed, which its handler hears.
func (c *Conn) Write(b []byte) {
	if c.closed {
		return
	}
	if s := c.layer; s != nil {
		s.plain = append(c.room(s.plain, len(b)), b...)
	} else {
		c.out = append(c.room(c.out, len(b)), b...)
	}
	c.touch()
}

// Extend queues n bytes and returns them for the caller to fill in before this turn ends.
func (c *Conn) Extend(n int) []byte {
	if c.closed {
		return make([]byte, n)
	}
	queue := &c.out
	if c.layer != nil {
		queue = &c.layer.plain
	}
	*queue = c.room(*queue, n)
	*queue = (*queue)[:len(*queue)+n]
	c.touch()
	return (*queue)[len(*queue)-n:]
}

// room is queue with room for n more bytes. An empty one gets room for all that the last turn queued, to begin with: to grow
// piece by piece would copy as much again.
func (c *Conn) room(queue []byte, n int) []byte {
	if cap(queue) == 0 {
		return c.loop.pool.Take(max(n, int(c.burst)))
	}
	return c.loop.pool.Grow(queue, n)
}

// maxBurst bounds what is made ready for a connection that may well queue less than in its last turn.
const maxBurst = readBuffer

// touch makes the connection part of this turn's flush, unless epoll will say when it can be written.
func (c *Conn) touch() {
	if c.dirty || c.blocked || c.connecting || c.frozen {
		return
	}
	c.dirty = true
	c.loop.dirty = append(c.loop.dirty, c)
}

// TellDrained makes sure that Drained is called when everything that is queued has reached the kernel, at the end of this
// turn at the earliest.
func (c *Conn) TellDrained() {
	c.tell = true
	c.touch()
}

// FinishWrite sends FIN after everything that is queued; reading goes on.
func (c *Conn) FinishWrite() {
	c.finished = true
	c.touch()
}

// lastPatience is how long the last bytes of a connection may wait for a peer that takes none of them, and pressPatience all bytes when
// it is pressed, which is looked at every lastLook: the kernel asks for more only when it has got rid of a good part of what it holds.
// A peer that reads on slowly shows that only now and then: its kernel has room again when a sixteenth of it is free, which may be
// 400 KiB, and a proxy there takes nothing before its own client has taken as much.
const (
	lastPatience  = 60 * time.Second
	pressPatience = 5 * time.Minute
	lastLook      = 15 * time.Second
)

// CloseAfterWrite closes the connection when everything that is queued has reached the kernel, and with ErrSlow when the peer
// takes nothing of it for lastPatience.
func (c *Conn) CloseAfterWrite() {
	if !c.lingering {
		c.lingering, c.shrunk = true, c.loop.now
	}
	c.touch()
	c.linger()
}

// Press says whether the peer has to read: the connection is closed with ErrSlow when the peer takes nothing of what is queued for
// pressPatience, unless it may speak first and does. Without it that holds for the last bytes only. It is no part of an Image.
func (c *Conn) Press(on bool) {
	c.pressed = on
	c.linger()
}

// linger sets a connection its deadline whose peer has to read and does not.
func (c *Conn) linger() {
	if (c.lingering || c.pressed) && c.blocked && !c.closed && !c.frozen && !c.last.Armed() {
		c.last.Owner = c
		c.shrunk, c.kernel, c.heard = c.loop.now, c.queued(), c.rx
		c.loop.Start(&c.last, lastLook)
	}
}

// queued is how many bytes the kernel holds that the peer has not got.
func (c *Conn) queued() int {
	n, _ := unix.IoctlGetInt(c.fd, unix.SIOCOUTQ)
	return n
}

// speaker is what a Handler may be besides, when a peer that is pressed may say all that it has to say before it reads.
type speaker interface{ Speaks() bool }

// speaks says that the peer goes on with what it may say first.
func (c *Conn) speaks() bool {
	before := c.heard
	c.heard = c.rx
	s, ok := c.Handler.(speaker)
	return ok && !c.lingering && c.rx != before && s.Speaks()
}

// Expire ends the connection, unless its peer has taken something meanwhile, or all.
func (c *Conn) Expire() {
	if !c.blocked || !c.lingering && !c.pressed {
		return
	}
	before := c.kernel
	if c.kernel = c.queued(); c.speaks() || c.kernel < before {
		c.shrunk = c.loop.now
	}
	still, patience := min(c.Stalled(), c.loop.now-c.shrunk), pressPatience
	if c.lingering {
		patience = lastPatience
	}
	if left := patience - still; left > 0 {
		c.loop.Start(&c.last, min(left, lastLook))
		if still < lastLook {
			c.offer()
		}
		return
	}
	c.loop.slow++
	c.Close(ErrSlow)
}

// reader is what a Handler may be besides, to hear that a peer reads, but slowly: whoever waits for it may be waited for, too.
type reader interface{ Reads() }

// offer gives a peer that reads slowly more before epoll asks for that: it asks only when a third of what the kernel holds is gone.
func (c *Conn) offer() {
	if c.flush(); c.closed || !c.blocked {
		return
	}
	if r, ok := c.Handler.(reader); ok {
		r.Reads()
	}
}

func (c *Conn) flush() {
	if c.layer != nil {
		c.seal()
	}
	if len(c.out) > 0 {
		c.burst = int32(min(len(c.out), maxBurst))
		c.loop.writes++
		n, err := write(c.fd, c.out)
		switch {
		case err == unix.EAGAIN: //nolint:errorlint // write returns a bare errno, and this is the hot path
			n = 0
		case err != nil:
			c.Close(os.NewSyscallError("write", err))
			return
		}
		c.spent(n)
		if n > 0 {
			c.progress = c.loop.now
		}
		if n < len(c.out) {
			c.out = c.out[:copy(c.out, c.out[n:])]
			if !c.blocked {
				c.blocked, c.shrunk = true, c.loop.now
			}
			c.watch()
			c.linger()
			return
		}
		c.loop.pool.Give(c.out)
		c.out = nil
	}
	c.flushed()
}

// flushed follows a write that emptied the queue.
func (c *Conn) flushed() {
	if c.lingering {
		c.Close(nil)
		return
	}
	if c.finished {
		_ = unix.Shutdown(c.fd, unix.SHUT_WR)
		if c.eof {
			c.Close(nil)
			return
		}
	}
	if c.blocked || c.tell {
		c.blocked, c.tell = false, false
		c.watch()
		c.Handler.Drained(c)
	}
}
