package boltclient

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/axlemesh/axle/hack/peers/wire"
)

// link is one socket. The slot's lock guards all of it except what only its reader touches.
type link struct {
	s       *slot
	conn    net.Conn
	via     Via
	opened  time.Time
	nextID  uint32
	pending map[uint32]*call
	// calls counts the pending ones that are not heartbeats.
	calls int
	// expired are requests that were given up; their answers are late, not double.
	expired map[uint32]struct{}
	movedTo Via
	closing bool // by this client, on purpose
	down    bool
}

// call is one request that waits for its answer.
type call struct {
	seq       uint64
	sum       uint32
	start     time.Time // latency counts from here
	sent      time.Time // the timeout counts from here
	heartbeat bool
}

// install makes conn the slot's current link and starts to read it; the slot's lock is held.
func (s *slot) install(conn net.Conn, via Via) {
	s.opened++
	l := &link{s: s, conn: conn, via: via, opened: s.c.cfg.Now(), nextID: 1, pending: map[uint32]*call{}, expired: map[uint32]struct{}{}}
	s.current = l
	s.c.spawn(l.read)
}

// ready says whether one more request may be sent.
func (l *link) ready() bool { return l != nil && !l.down && l.calls < l.s.c.cfg.InFlight }

// write sends a frame that uses the next id; the slot's lock is held.
func (l *link) write(f wire.Frame, now time.Time) {
	if f.Kind != wire.Response {
		l.nextID++
	}
	_ = l.conn.SetWriteDeadline(now.Add(l.s.c.cfg.Timeout)) // it fails only when the connection is closed
	if _, err := l.conn.Write(wire.Append(nil, f)); err != nil {
		l.end(err)
	}
}

func (l *link) beat(now time.Time) {
	l.pending[l.nextID] = &call{start: now, sent: now, heartbeat: true}
	l.write(wire.Frame{Kind: wire.Request, Command: wire.Heartbeat, ID: l.nextID, Codec: wire.Hessian2, Timeout: -1}, now)
}

// read handles answers until the connection ends.
func (l *link) read() {
	in := wire.NewReader(l.conn)
	for {
		f, err := in.Next()
		now := l.s.c.cfg.Now()
		l.s.mu.Lock()
		if err != nil {
			l.end(err)
			l.s.settle()
			l.s.mu.Unlock()
			return
		}
		l.frame(f, now)
		l.s.pump()
		l.s.settle()
		l.s.mu.Unlock()
	}
}

// frame handles one frame from the other side; the slot's lock is held.
func (l *link) frame(f wire.Frame, now time.Time) {
	stats := l.s.c.stats
	if f.Kind != wire.Response {
		switch f.Command {
		case wire.Heartbeat:
			l.write(wire.Frame{Kind: wire.Response, Command: wire.Heartbeat, ID: f.ID, Codec: f.Codec}, now)
		case wire.Goaway:
			stats.Goaways.Add(1)
		default:
			stats.Fail("a request came from the server", l.s.n, now)
		}
		return
	}
	c, ok := l.pending[f.ID]
	if !ok {
		l.unexpected(f.ID, now)
		return
	}
	delete(l.pending, f.ID)
	if !c.heartbeat {
		l.calls--
	}
	if why := l.wrong(c, f); why != "" {
		stats.Fail(why, l.s.n, now)
		return
	}
	if c.heartbeat {
		stats.Heartbeats.Add(1)
		return
	}
	stats.Answered(c.start, now)
}

// wrong says what is wrong with an answer, or "".
func (l *link) wrong(c *call, f wire.Frame) string {
	if f.Status != 0 {
		return fmt.Sprintf("status %d", f.Status)
	}
	if c.heartbeat {
		if f.Command != wire.Heartbeat {
			return "a heartbeat got something else for an answer"
		}
		return ""
	}
	if f.Command != wire.Answer {
		return fmt.Sprintf("command %d for an answer", f.Command)
	}
	r, err := wire.ParseReplyContent(f.Content)
	if err != nil {
		return "bad checksum"
	}
	want := wire.Identity{Client: l.s.c.id, Conn: l.s.n, Seq: c.seq}
	if r.Identity != want || r.RequestSum != c.sum {
		return "the answer to another request"
	}
	version, _ := wire.Lookup(f.Header, wire.VersionKey)
	l.s.c.stats.ServedBy(r.Server, version)
	return ""
}

// unexpected counts an answer that nothing waits for.
func (l *link) unexpected(id uint32, now time.Time) {
	stats := l.s.c.stats
	switch _, late := l.expired[id]; {
	case late:
		delete(l.expired, id)
		stats.Late.Add(1)
	case id == 0 || id >= l.nextID:
		stats.Fail("an answer to a request that was never sent", l.s.n, now)
	default:
		stats.Duplicates.Add(1)
		stats.Note("connection %d: a second answer to request %d", l.s.n, id)
	}
}

// sweep gives up what was sent before limit; the slot's lock is held.
func (l *link) sweep(limit, now time.Time) {
	for id, c := range l.pending {
		if c.sent.After(limit) {
			continue
		}
		delete(l.pending, id)
		l.expired[id] = struct{}{}
		if c.heartbeat {
			l.s.c.stats.Fail("heartbeat timeout", l.s.n, now)
			continue
		}
		l.calls--
		l.s.c.stats.Fail("timeout", l.s.n, now)
	}
}

// end handles the end of the connection, once; the slot's lock is held.
func (l *link) end(err error) {
	if l.down {
		return
	}
	l.down = true
	_ = l.conn.Close()
	if l.closing {
		return
	}
	stats, now := l.s.c.stats, l.s.c.cfg.Now()
	var op *net.OpError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) {
		stats.Resets.Add(1)
	} else {
		stats.Fail("bytes that are not Bolt", l.s.n, now)
	}
	stats.Note("connection %d (%s, %s) ended with %d requests in flight: %v", l.s.n, l.via, l.conn.LocalAddr(), len(l.pending), err)
	for range l.pending {
		stats.Fail("its connection was lost", l.s.n, now)
	}
	clear(l.pending)
	l.calls = 0
	l.s.lost(l)
}

// close ends the connection on purpose; the slot's lock is held.
func (l *link) close() {
	l.closing = true
	_ = l.conn.Close()
}
