package httpclient

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/axlemesh/axle/hack/peers/meshstate"
	"github.com/axlemesh/axle/hack/peers/pace"
	"github.com/axlemesh/axle/hack/peers/tally"
	"github.com/axlemesh/axle/hack/peers/wire"
)

// maxBacklog bounds what may wait for its turn on one connection.
const maxBacklog = 10000

// How often a connection without requests is looked at, and how long to wait before one is dialled again.
const (
	lookEvery = 50 * time.Millisecond
	redial    = 100 * time.Millisecond
)

// slot is one connection as the client thinks of it: a number, a sequence, and the socket that carries it now. Its own
// goroutine does everything; others only read what the lock guards.
type slot struct {
	c       *Client
	n       uint32
	seq     uint64
	due     chan offer
	waiting atomic.Int64 // offered and not answered

	mu     sync.Mutex
	link   *link // nil while a lost connection is opened again
	opened int
}

// offer is a request that was due. Its latency counts from start.
type offer struct{ due, start time.Time }

// offer sends a request soon. Its latency counts from when the generator woke up for it; when it has to wait, from when it
// was due.
func (s *slot) offer(due, woke time.Time) {
	o := offer{due, woke}
	if s.waiting.Add(1) > 1 {
		o.start = due
	}
	select {
	case s.due <- o:
	default:
		s.waiting.Add(-1)
		s.c.stats.Fail("backlog is full", s.n, woke)
	}
}

// first opens the first connection, trying until ctx ends.
func (s *slot) first(ctx context.Context) error {
	for {
		via, addr := s.c.target()
		conn, err := s.c.dial(ctx, addr)
		if err == nil {
			s.install(conn, via)
			return nil
		}
		if !pace.Wait(ctx, 200*time.Millisecond) {
			return err
		}
	}
}

// run does everything that the connection does, until life ends.
func (s *slot) run(life context.Context) {
	defer s.close()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-life.Done():
			return
		case <-look.C:
			s.look()
		case o := <-s.due:
			s.request(life, o)
			s.waiting.Add(-1)
		}
		s.settle(life)
	}
}

// request sends one request and waits for its answer.
func (s *slot) request(life context.Context, o offer) {
	s.look()
	for s.link == nil {
		s.settle(life)
		if s.link != nil {
			break
		}
		if s.c.cfg.Now().Sub(o.due) > s.c.cfg.Timeout || !pace.Wait(life, redial) {
			s.c.stats.Fail("no connection to send it on in time", s.n, s.c.cfg.Now())
			return
		}
	}
	s.seq++
	s.c.stats.Sent.Add(1)
	id := wire.Identity{Client: s.c.id, Conn: s.n, Seq: s.seq}
	content := wire.AppendRequestContent(nil, id, s.c.payload)
	_, sum, _ := wire.ParseRequestContent(content) // it was made the line above
	n := s.c.cfg.ChunkEvery
	head := s.c.requestHead(s.link.via, n > 0 && s.seq%uint64(n) == 0, content)
	deadline := s.c.cfg.Now().Add(s.c.cfg.Timeout)
	a, dups, err := s.link.exchange(head, id, sum, deadline)
	s.duplicate(dups)
	now := s.c.cfg.Now()
	switch {
	case err != nil:
		s.lost(err, true)
		return
	case a.fault != "":
		s.c.stats.Fail(a.fault, s.n, now)
	default:
		s.c.stats.ServedBy(a.server, a.version)
		s.c.stats.Answered(o.start, now)
	}
	if a.last {
		s.c.stats.Goaways.Add(1)
		s.c.stats.Note("connection %d (%s, %s): the answer says that the connection closes", s.n, s.link.via, s.link.conn.LocalAddr())
		s.close()
	}
}

// look notices that the connection ended, or brought what nobody asked for, while nothing was in flight.
func (s *slot) look() {
	if s.link == nil {
		return
	}
	asked, err := s.link.quiet()
	switch {
	case err != nil:
		s.lost(err, false)
	case !asked:
		now := s.c.cfg.Now()
		id, err := s.link.unasked(now.Add(s.c.cfg.Timeout))
		switch {
		case err != nil:
			s.lost(err, false)
		case id.Client == s.c.id && id.Conn == s.n && id.Seq <= s.seq:
			s.duplicate(1)
		default:
			s.c.stats.Fail("an answer to a request that was never sent", s.n, now)
		}
	}
}

func (s *slot) duplicate(n int) {
	if n > 0 {
		s.c.stats.Duplicates.Add(int64(n))
		s.c.stats.Note("connection %d: an answer twice, at the latest to request %d", s.n, s.seq)
	}
}

// lost counts the end of a connection that nobody asked for, and the request that was on it.
func (s *slot) lost(err error, asked bool) {
	now, why := s.c.cfg.Now(), "its connection was lost"
	switch kind(err) {
	case endTimeout:
		why = "timeout"
	case endBroken:
		s.c.stats.Resets.Add(1)
	case endForeign:
		asked, why = true, "bytes that are not HTTP"
	}
	s.c.stats.Note("connection %d (%s, %s) ended: %v", s.n, s.link.via, s.link.conn.LocalAddr(), err)
	if asked {
		s.c.stats.Fail(why, s.n, now)
	}
	s.close()
}

// settle brings the connection to where calls are meant to go, and opens it again when it is lost. What cannot be done now
// is tried again later; nothing has changed then.
func (s *slot) settle(life context.Context) {
	via, addr := s.c.target()
	if life.Err() != nil || s.link != nil && s.link.via == via {
		return
	}
	conn, err := s.c.dial(life, addr)
	if err != nil {
		s.c.stats.Note("cannot go to %s: %v", addr, err)
		return
	}
	if s.link != nil {
		s.close()
		s.c.stats.Moved(via)
	} else {
		s.c.stats.Reconnects.Add(1)
	}
	s.install(conn, via)
}

func (s *slot) install(conn net.Conn, via meshstate.Via) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	s.link = newLink(conn, via)
}

func (s *slot) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		_ = s.link.conn.Close()
		s.link = nil
	}
}

func (s *slot) connection() (tally.Connection, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil {
		return tally.Connection{}, false
	}
	c := s.link.conn
	return tally.Connection{Number: s.n, Via: s.link.via, Local: c.LocalAddr().String(), Remote: c.RemoteAddr().String(), Opened: s.opened}, true
}
