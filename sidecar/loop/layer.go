package loop

import (
	"errors"
	"io"
	"time"
)

// Cipher stands between the bytes of a connection on the wire and those that its handler reads and writes. The loop calls
// it, one call at a time.
type Cipher interface {
	// Open decrypts the first record of b, in place. n is its length, 0 when b ends inside it; plain is the part of b that
	// is for the handler, nothing for a record that is the cipher's own. io.EOF means that the peer sends no more; another
	// error closes the connection.
	Open(b []byte) (plain []byte, n int, err error)
	// Seal appends b to dst as records, behind what the peer is owed. b may be empty.
	Seal(dst, b []byte) []byte
	// End appends what the peer is told last: that no more comes, or what was wrong. It appends nothing the second time.
	End(dst []byte, why error) []byte
}

// ErrTruncated closes a connection whose peer has ended it without saying so under its key: somebody else may have.
var ErrTruncated = errors.New("the peer's stream ends without a close_notify")

// layer is what a connection with a cipher has besides. Its in and the handler's bytes are plain, its out is not.
type layer struct {
	cipher Cipher
	raw    []byte        // read and not decrypted: the beginning of a record
	plain  []byte        // written by the handler and not encrypted
	since  time.Duration // when the peer began with what raw has
	ended  bool          // the peer sends no more
	asked  bool          // a record came that the cipher may have an answer to
}

// Shake keeps a connection from being Open until Secure or Bare: its handler exchanges bytes that are not the user's yet.
func (c *Conn) Shake() { c.shaking = true }

// Bare ends Shake without a cipher: what was read and not taken is the user's. Replay shows it.
func (c *Conn) Bare() { c.shaking = false }

// Secure ends Shake: from here on the handler's bytes go through a cipher. rest are bytes of the peer that were taken and
// belong to it. Replay shows them.
func (c *Conn) Secure(cipher Cipher, rest []byte) {
	if c.closed {
		return
	}
	c.shaking = false
	c.layer = &layer{cipher: cipher, since: c.loop.now}
	if len(rest) > 0 {
		c.layer.raw = c.loop.pool.Append(nil, rest)
	}
}

// Cipher is what Secure was given; nil without one.
func (c *Conn) Cipher() Cipher {
	if c.layer == nil {
		return nil
	}
	return c.layer.cipher
}

// Replay shows what was read and not taken to the handler soon, but not before Resume when reading is paused.
func (c *Conn) Replay() {
	c.owed = true
	c.loop.Post(c.replay)
}

func (c *Conn) replay() {
	if !c.owed || c.closed || c.frozen || c.paused {
		return
	}
	c.owed = false
	s := c.layer
	if s == nil {
		c.Reread()
		return
	}
	buf := c.loop.pool.Take(len(c.in) + len(s.raw))
	buf = append(append(buf, c.in...), s.raw...)
	c.took(c.show(buf, len(c.in), true, false), false)
	c.loop.pool.Give(buf)
	if s.ended {
		c.ended()
	}
}

// readSealed is readOnce for a connection with a cipher. What the handler has left is kept before the bytes that cannot
// be decrypted yet.
func (c *Conn) readSealed() (n, room int, err error) {
	l, s := c.loop, c.layer
	left, raw := len(c.in), len(s.raw)
	buf, large := l.rbuf, left+raw > len(l.rbuf)/2
	if large {
		if c.in = l.pool.Grow(c.in, raw+readBuffer); !c.charge(cap(c.in)) {
			return 0, 0, ErrBudget
		}
		buf = c.in[:cap(c.in)]
	} else {
		copy(buf, c.in)
	}
	copy(buf[left:], s.raw)
	room = len(buf) - left - raw
	l.reads++
	n, err = read(c.fd, buf[left+raw:])
	if n <= 0 || err != nil {
		return n, room, err
	}
	c.gained(n)
	c.took(c.show(buf[:left+raw+n], left, false, large), large)
	return n, room, nil
}

// shown is what became of a buffer: all of it that is plain, and how much of that the handler took.
type shown struct {
	all   []byte
	taken int
	err   error
}

// show decrypts buf behind its first left bytes, which are plain, and shows everything that is plain to the handler, if
// there is more of it than before or always is set. With large all of it is made to begin where buf begins.
func (c *Conn) show(buf []byte, left int, always, large bool) (r shown) {
	s := c.layer
	r.all = buf[:left]
	rest := buf[left:]
	for len(rest) > 0 {
		plain, n, err := s.cipher.Open(rest)
		rest = rest[n:]
		if err != nil {
			r.err = err
			break
		}
		if n == 0 {
			break
		}
		switch {
		case len(plain) == 0:
			s.asked = true
			c.touch()
		case len(r.all) == 0 && !large:
			r.all = plain // where it is
		default:
			r.all = append(r.all, plain...) // a plain text is shorter than its record: it never overtakes rest
		}
	}
	if r.err != nil {
		rest = nil // nothing behind the end counts
	}
	if len(s.raw) == 0 || len(rest) < len(buf)-left {
		s.since = c.loop.now
	}
	c.keepRaw(rest)
	if len(r.all) > left || always && len(r.all) > 0 {
		r.taken = c.Handler.Data(c, r.all)
	}
	return r
}

// keepRaw stores the beginning of a record. It may be a part of what is stored now.
func (c *Conn) keepRaw(rest []byte) {
	s := c.layer
	if len(rest) == 0 {
		c.loop.pool.Give(s.raw)
		s.raw = nil
		return
	}
	s.raw = append(c.loop.pool.Grow(s.raw[:0], len(rest)), rest...)
}

// took stores what the handler has left, and acts on the end of the peer's stream. large says that the bytes are in c.in
// itself.
func (c *Conn) took(r shown, large bool) {
	if c.closed {
		return
	}
	if large {
		c.in = c.in[:len(r.all)]
		c.settleLarge(r.taken)
	} else {
		c.keep(r.all, r.taken)
	}
	switch {
	case errors.Is(r.err, io.EOF):
		c.layer.ended = true
		c.ended()
	case r.err != nil:
		c.Close(r.err)
	case len(c.layer.raw) > 0:
		if p, ok := c.Handler.(partial); ok {
			p.Partial(c)
		}
	}
}

// ended tells the handler that the peer sends no more, once, and not while reading is paused: what came before may not
// have been taken yet.
func (c *Conn) ended() {
	if c.closed || c.eof {
		return
	}
	if c.paused || c.frozen {
		c.owed = true
		return
	}
	c.eof = true
	c.watch()
	c.Handler.EOF(c)
}

// seal encrypts what the handler has written, and says goodbye when it has written its last.
func (c *Conn) seal() {
	s := c.layer
	last := c.finished || c.lingering
	if len(s.plain) == 0 && !s.asked && !last {
		return
	}
	c.out = c.loop.pool.Grow(c.out, len(s.plain)+len(s.plain)/64+256) // more than records and their ends add
	c.out = s.cipher.Seal(c.out, s.plain)
	c.loop.pool.Give(s.plain)
	s.plain, s.asked = nil, false
	if last {
		c.out = s.cipher.End(c.out, nil)
	}
	if len(c.out) == 0 {
		c.loop.pool.Give(c.out)
		c.out = nil
	}
}

// farewell says why a connection ends, as far as that goes without waiting. Where bytes are lost it does not say that
// there are no more: the peer must not take what it has for everything.
func (c *Conn) farewell(why error) {
	if len(c.out) > 0 || why == nil && len(c.layer.plain) > 0 {
		return
	}
	if b := c.layer.cipher.End(c.loop.last[:0], why); len(b) > 0 {
		if n, err := write(c.fd, b); err == nil {
			c.spent(n)
		}
	}
}

// Fail closes the connection like Close, after what is queued was given to the kernel as far as that goes at once.
func (c *Conn) Fail(why error) {
	if c.flush(); !c.closed {
		c.Close(why)
	}
}
