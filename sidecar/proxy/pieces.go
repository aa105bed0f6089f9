package proxy

import (
	"errors"
	"time"

	"github.com/axlemesh/axle/sidecar/loop"
)

// wholeWithin is how long a client may take for what it has begun to say: a head of HTTP/1, a header block or a frame of HTTP/2
// but for one of a body, a frame of Bolt or Dubbo, the last as long as it does not get on either.
const wholeWithin = 60 * time.Second

var errPieces = errors.New("what it has begun is not complete after " + wholeWithin.String())

// late says that the peer of c has been in the middle of what it says for too long, and that it is not we who have not read on:
// a process that has stood still finds what has come meanwhile together with its timers.
func late(c *loop.Conn, since time.Duration, ok bool) bool {
	return ok && since >= wholeWithin && !c.Unread()
}

// unfinished is for how long the peer of c has been in the middle of a message, or of a record of TLS.
func unfinished(c *loop.Conn) (since time.Duration, ok bool) {
	message, inMessage := c.Unfinished()
	record, inRecord := c.InRecord()
	return max(message, record), inMessage || inRecord
}

// speaker is a client whose messages may come in pieces.
type speaker interface {
	// midway says for how long the client is in the middle of what it says; ok is false when it is not.
	midway() (since time.Duration, ok bool)
	// tooLate ends it.
	tooLate()
}

// pieces watches a client that has said something and not all of it. What comes whole costs nothing.
type pieces struct {
	of    speaker
	conn  *loop.Conn
	timer loop.Timer
}

// watch begins when it has not begun yet: what is watched is found out when the time is over.
func (p *pieces) watch(c *loop.Conn, of speaker) {
	if p.timer.Armed() || c.Closed() {
		return
	}
	p.of, p.conn, p.timer.Owner = of, c, p
	c.Loop().Start(&p.timer, wholeWithin)
}

// resume is for a client that has stopped, and may be in the middle of something.
func (p *pieces) resume(c *loop.Conn, of speaker) {
	if _, ok := of.midway(); ok {
		p.watch(c, of)
	}
}

// stop is for a client that ends, or is somebody else's.
func (p *pieces) stop() {
	if p.timer.Armed() {
		p.conn.Loop().Cancel(&p.timer)
	}
}

// Expire ends a client that is still in the middle of the same thing.
func (p *pieces) Expire() {
	since, ok := p.of.midway()
	switch {
	case late(p.conn, since, ok):
		p.of.tooLate()
	case ok:
		p.conn.Loop().Start(&p.timer, max(wholeWithin-since, time.Second))
	}
}
