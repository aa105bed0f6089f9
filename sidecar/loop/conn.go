package loop

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Handler gives a connection its meaning. The loop calls it, one call at a time.
type Handler interface {
	// Connected is called once when a dialled connection is open.
	Connected(c *Conn)
	// Data shows every byte that was read and not yet taken, and returns how many are taken now. What is left is shown again
	// when more has come. The slice is valid during the call only.
	Data(c *Conn, b []byte) int
	// EOF says that the peer sends no more. Bytes that were not taken are gone with the connection.
	EOF(c *Conn)
	// Drained says that everything written has reached the kernel, after a write that did not at once or TellDrained.
	Drained(c *Conn)
	// Closed is the last call, once, also after Close. why is nil when the owner closed it without a reason.
	Closed(c *Conn, why error)
}

// ErrSlow closes a connection whose peer does not read.
var ErrSlow = errors.New("peer does not read")

// interest is what a connection wants to hear from epoll.
const interest = unix.EPOLLIN | unix.EPOLLRDHUP

// Conn is one connection of a loop: plain data with one owner, and so without a lock.
type Conn struct {
	// ID is unique in this process and in those that it came from and goes to.
	ID      uint64
	Handler Handler
	// Traffic counts the bytes on the wire together with those of other connections; nil counts them nowhere.
	Traffic *Traffic
	// Source is the address that somebody in front of the peer has told of it; nil when nobody has. It is no part of an Image.
	Source *netip.AddrPort

	loop       *Loop
	fd         int
	token, gen int32
	want       uint32        // what epoll watches now
	refused    uint32        // why a Unix-domain socket did not connect, an errno; 0 when it did
	burst      int32         // bytes that were queued when it was last flushed, up to a bound
	in, out    []byte        // read and not taken; written and not sent
	charged    int           // of in, to the process budget
	progress   time.Duration // when the kernel last took something
	shrunk     time.Duration // when it was last seen to have got rid of something, or began to be looked at
	begun      time.Duration // when the peer began with what in has, or when that had last grown by much
	mark       int           // how much it was then
	last       Timer         // armed while the peer does not read what it has to, and for a while after
	kernel     int           // bytes that were queued there when that was last looked at, while last is armed
	heard      uint64        // rx at that time
	rx, tx     uint64        // bytes since the connection began, over all generations
	accept     func()        // set on a listening descriptor
	layer      *layer        // nil without a cipher

	dialled    bool // we opened it: the kernel counts our SYN
	connecting bool
	shaking    bool // open for the kernel, but not for its user
	owed       bool // the handler is to be shown what was read, or the end, when reading is not paused
	eof        bool // the peer's FIN was read
	finished   bool // our FIN is sent, or is to be sent after out
	dirty      bool
	paused     bool
	frozen     bool
	closed     bool
	blocked    bool // the last write did not go through
	tell       bool // Drained is owed, whether a write blocks or not
	lingering  bool // to be closed when out is empty
	pressed    bool // its peer has to read
}

// Traffic is how many bytes were read and written, as they are on the wire.
type Traffic struct{ Read, Written uint64 }

// gained counts bytes that the kernel gave, spent those that it took.
func (c *Conn) gained(n int) {
	c.rx += uint64(n)
	if c.Traffic != nil {
		c.Traffic.Read += uint64(n)
	}
}

func (c *Conn) spent(n int) {
	c.tx += uint64(n)
	if c.Traffic != nil {
		c.Traffic.Written += uint64(n)
	}
}

// Loop that owns c.
func (c *Conn) Loop() *Loop { return c.loop }

// Open says that the connection is established and was not closed.
func (c *Conn) Open() bool { return !c.closed && !c.connecting && !c.shaking }

// Connecting says that the connection was never open.
func (c *Conn) Connecting() bool { return c.connecting || c.shaking }

// Closed says that Handler.Closed was called, or is being called.
func (c *Conn) Closed() bool { return c.closed }

// Frozen says that the connection is being given away and does no I/O.
func (c *Conn) Frozen() bool { return c.frozen }

// Unsent is the number of bytes that wait for the peer to read.
func (c *Conn) Unsent() int {
	if c.layer != nil {
		return len(c.out) + len(c.layer.plain)
	}
	return len(c.out)
}

// Stalled says for how long the peer has read nothing of what is queued; 0 when nothing is.
func (c *Conn) Stalled() time.Duration {
	if !c.blocked {
		return 0
	}
	return c.loop.now - c.progress
}

// Totals are the bytes read and written since the connection began, over all generations.
func (c *Conn) Totals() (rx, tx uint64) { return c.rx, c.tx }

// handle works off one epoll event.
func (c *Conn) handle(events uint32) {
	if c.connecting {
		c.connected()
		return
	}
	if events&unix.EPOLLOUT != 0 {
		c.flush()
	}
	if events&^uint32(unix.EPOLLOUT) != 0 && !c.closed && !c.frozen {
		c.readable(events)
	}
}

func (c *Conn) connected() {
	if c.refused != 0 {
		c.Close(fmt.Errorf("connect: %w", unix.Errno(c.refused)))
		return
	}
	code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err != nil {
		c.Close(fmt.Errorf("connect: %w", err))
		return
	}
	if _, err := unix.Getpeername(c.fd); err != nil {
		return // a spurious event: not connected yet
	}
	c.connecting = false
	if c.watch(); c.closed {
		return
	}
	c.Handler.Connected(c)
	c.flush()
}

// readable reads until the socket is empty, but at most a few buffers, and one when others wait: full of small requests it keeps
// them waiting for long enough.
func (c *Conn) readable(events uint32) {
	buffers := 4
	if c.loop.ready > 1 {
		buffers = 1
	}
	for range buffers {
		n, room, err := c.readOnce()
		switch {
		case err == unix.EAGAIN: //nolint:errorlint // read returns a bare errno, and this is the hot path
			return
		case errors.Is(err, ErrBudget):
			c.Close(err)
			return
		case err != nil:
			c.Close(os.NewSyscallError("read", err))
			return
		case n == 0 && c.eof:
			c.Close(nil) // both directions have ended, and epoll says so
			return
		case n == 0 && c.layer != nil && !c.layer.ended:
			c.Close(ErrTruncated)
			return
		case n == 0:
			c.eof = true
			c.watch()
			c.Handler.EOF(c)
			return
		}
		if c.closed || c.frozen || c.paused || c.eof || (n < room && events&(unix.EPOLLRDHUP|unix.EPOLLHUP) == 0) {
			return
		}
	}
}

// readOnce reads behind what is left of the last read, and shows it all to the handler. n is 0 at the end of the stream.
func (c *Conn) readOnce() (n, room int, err error) {
	if c.layer != nil {
		return c.readSealed()
	}
	l := c.loop
	left := len(c.in)
	if left > len(l.rbuf)/2 {
		return c.readLarge()
	}
	buf := l.rbuf
	copy(buf, c.in)
	room = len(buf) - left
	l.reads++
	n, err = read(c.fd, buf[left:])
	if n <= 0 || err != nil {
		return n, room, err
	}
	c.gained(n)
	c.keep(buf[:left+n], c.Handler.Data(c, buf[:left+n]))
	return n, room, nil
}

// keep stores what the handler did not take of all. The buffer goes back to the pool as soon as nothing is left.
func (c *Conn) keep(all []byte, taken int) {
	if c.closed {
		return
	}
	rest := all[taken:]
	if len(rest) == 0 {
		c.loop.pool.Give(c.in)
		c.in = nil
		return
	}
	c.leaves(len(rest), taken)
	c.in = append(c.loop.pool.Grow(c.in[:0], len(rest)), rest...)
}

// readLarge reads a large message in place, where copying it at every read would be quadratic.
func (c *Conn) readLarge() (n, room int, err error) {
	if c.in = c.loop.pool.Grow(c.in, readBuffer); !c.charge(cap(c.in)) {
		return 0, 0, ErrBudget
	}
	left := len(c.in)
	room = cap(c.in) - left
	c.loop.reads++
	n, err = read(c.fd, c.in[left:cap(c.in)])
	if n <= 0 || err != nil {
		return n, room, err
	}
	c.gained(n)
	c.in = c.in[:left+n]
	taken := c.Handler.Data(c, c.in)
	if c.closed {
		return n, room, nil
	}
	c.settleLarge(taken)
	return n, room, nil
}

// settleLarge keeps what the handler did not take of a large buffer.
func (c *Conn) settleLarge(taken int) {
	c.leaves(len(c.in)-taken, taken)
	rest := copy(c.in, c.in[taken:])
	c.in = c.in[:rest]
	if rest <= readBuffer/2 { // a small rest does not keep a large buffer: it is not charged any more
		large := c.in
		c.in = nil
		if rest > 0 {
			c.in = c.loop.pool.Append(nil, large)
		}
		c.loop.pool.Give(large)
		c.charge(0)
	}
}

// charge makes n bytes of the process's budget this connection's; false when they are not to be had.
func (c *Conn) charge(n int) bool {
	if n > c.charged && !c.loop.budget.take(n-c.charged) {
		return false
	}
	if n < c.charged {
		c.loop.budget.give(c.charged - n)
	}
	c.charged = n
	return true
}

// Reread shows the bytes that were not taken to the handler again, after the reason not to take them is gone.
func (c *Conn) Reread() {
	if len(c.in) == 0 || c.closed || c.frozen {
		return
	}
	all := c.in
	c.in = nil
	taken := c.Handler.Data(c, all)
	if taken == 0 && !c.closed {
		c.in = all
		return
	}
	c.keep(all, taken)
	c.loop.pool.Give(all)
}

// Pause stops reading; Resume goes on. What was read and not taken stays.
func (c *Conn) Pause() {
	c.paused = true
	c.watch()
}

// Resume undoes Pause.
func (c *Conn) Resume() {
	c.paused = false
	c.watch()
	if c.owed {
		c.Replay()
	}
}

// watch tells epoll what the connection wants now, if that has changed.
func (c *Conn) watch() {
	if c.closed || c.frozen {
		return
	}
	want := uint32(interest)
	if c.paused || c.eof {
		want = 0 // only errors and the full hang-up
	}
	if c.connecting {
		want = unix.EPOLLOUT
	}
	if c.blocked {
		want |= unix.EPOLLOUT
	}
	if want == c.want {
		return
	}
	if want&^c.want&unix.EPOLLIN != 0 {
		c.anew() // what is left is asked for only now
	}
	if err := c.loop.poller.modify(c.fd, c.token, c.gen, want); err != nil {
		c.Close(err)
		return
	}
	c.want = want
}

// Close ends the connection now; unsent bytes are lost. It may be called more than once.
func (c *Conn) Close(why error) {
	if c.closed {
		return
	}
	c.closed = true
	if !c.frozen {
		c.loop.poller.remove(c.fd)
	}
	c.loop.table.remove(c)
	if c.layer != nil && !c.frozen {
		c.farewell(why)
	}
	if !c.connecting && !c.frozen {
		// An earlier owner may still hold a duplicate, on which close alone would send nothing. A frozen connection may
		// be somebody else's already: that one says when it ends.
		_ = unix.Shutdown(c.fd, unix.SHUT_RDWR)
	}
	_ = unix.Close(c.fd)
	c.release()
	if errors.Is(why, io.EOF) {
		why = nil
	}
	c.Handler.Closed(c, why)
}

func (c *Conn) release() {
	c.loop.Cancel(&c.last)
	c.charge(0)
	c.loop.pool.Give(c.in)
	c.loop.pool.Give(c.out)
	c.in, c.out = nil, nil
	if s := c.layer; s != nil {
		c.loop.pool.Give(s.raw)
		c.loop.pool.Give(s.plain)
		s.raw, s.plain = nil, nil
	}
}
