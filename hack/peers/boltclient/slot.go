package boltclient

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/axlemesh/axle/hack/peers/pace"
	"github.com/axlemesh/axle/hack/peers/wire"
)

// maxBacklog bounds what may wait for its turn on one connection.
const maxBacklog = 10000

// slot is one connection as the client thinks of it: a number, a sequence, and the socket that carries it now. While
// its calls move, the previous socket stays until its last answer has come.
type slot struct {
	c *Client
	n uint32

	mu      sync.Mutex
	seq     uint64
	current *link   // nil while a lost connection is opened again
	leaving []*link // no new calls, waiting for answers
	backlog []time.Time
	opened  int
	done    bool
	life    context.Context
}

// open makes the first connection, trying until ctx ends. life bounds what the connection does later.
func (s *slot) open(ctx, life context.Context) error {
	for {
		via, addr := s.c.target()
		conn, err := s.c.dial(ctx, addr)
		if err == nil {
			s.mu.Lock()
			s.life = life
			s.install(conn, via)
			s.mu.Unlock()
			return nil
		}
		if !pace.Wait(ctx, 200*time.Millisecond) {
			return err
		}
	}
}

// offer sends a request that was due, or lets it wait for its turn. Its latency counts from when the generator woke up
// for it; when it has to wait, from when it was due.
func (s *slot) offer(due, woke time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return
	}
	if len(s.backlog) == 0 && s.current.ready() {
		s.send(woke)
		return
	}
	if len(s.backlog) >= maxBacklog {
		s.c.stats.Fail("backlog is full", s.n, woke)
		return
	}
	s.backlog = append(s.backlog, due)
}

// send writes one message on the current link; s.mu is held.
func (s *slot) send(start time.Time) {
	s.seq++
	l, now := s.current, s.c.cfg.Now()
	id := wire.Identity{Client: s.c.id, Conn: s.n, Seq: s.seq}
	f := wire.Frame{
		Kind: wire.Request, Command: wire.Call, ID: l.nextID, Codec: wire.Hessian2,
		Timeout: int32(s.c.cfg.Timeout / time.Millisecond),
		Class:   requestClass, Header: s.c.header,
		Content: wire.AppendRequestContent(nil, id, s.c.payload),
	}
	if n := s.c.cfg.OnewayEvery; n > 0 && s.seq%uint64(n) == 0 {
		f.Kind, f.Timeout = wire.Oneway, -1
		s.c.stats.Oneways.Add(1)
	} else {
		_, sum, _ := wire.ParseRequestContent(f.Content) // it was made two lines above
		l.pending[f.ID] = &call{seq: s.seq, sum: sum, start: start, sent: now}
		l.calls++
		s.c.stats.Sent.Add(1)
	}
	l.write(f, now)
}

// pump sends what waits, as far as the limit of requests in flight allows; s.mu is held.
func (s *slot) pump() {
	for len(s.backlog) > 0 && s.current.ready() && !s.done {
		due := s.backlog[0]
		s.backlog = s.backlog[1:]
		s.send(due)
	}
}

// sweep fails what has waited for too long, and sends a heartbeat when it is time.
func (s *slot) sweep(now time.Time, beat bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := now.Add(-s.c.cfg.Timeout)
	for len(s.backlog) > 0 && s.backlog[0].Before(limit) {
		s.backlog = s.backlog[1:]
		s.c.stats.Fail("no connection to send it on in time", s.n, now)
	}
	if s.current != nil {
		s.current.sweep(limit, now)
		if beat {
			s.current.beat(now)
		}
	}
	for _, l := range append([]*link(nil), s.leaving...) {
		l.sweep(limit, now)
	}
	s.pump()
	s.settle()
}

// settle closes links that were left and have had their last answer; s.mu is held.
func (s *slot) settle() {
	kept := s.leaving[:0]
	for _, l := range s.leaving {
		switch {
		case l.down:
		case len(l.pending) > 0:
			kept = append(kept, l)
			continue
		default:
			l.close()
		}
		s.c.stats.Moved(l.movedTo)
	}
	s.leaving = kept
}

// move opens a connection on the other way, sends new calls there, and leaves the old one. It returns false when the new
// connection could not be opened; nothing has changed then.
func (s *slot) move(ctx context.Context, to Via, addr string) bool {
	s.mu.Lock()
	there := s.done || s.current != nil && s.current.via == to
	s.mu.Unlock()
	if there {
		return true
	}
	conn, err := s.c.dial(ctx, addr)
	if err != nil {
		s.c.stats.Note("cannot move to %s: %v", addr, err)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		_ = conn.Close()
		return true
	}
	if old := s.current; old != nil {
		old.movedTo = to
		s.leaving = append(s.leaving, old)
	} else {
		s.c.stats.Reconnects.Add(1) // it was lost before it could move
	}
	s.install(conn, to)
	s.pump()
	s.settle()
	return true
}

// lost opens a connection again that ended without being asked to; s.mu is held.
func (s *slot) lost(l *link) {
	if s.current != l || s.done {
		return
	}
	s.current = nil
	s.c.spawn(func() {
		for {
			via, addr := s.c.target()
			conn, err := s.c.dial(s.life, addr)
			if err == nil {
				s.replace(conn, via)
				return
			}
			if !pace.Wait(s.life, 100*time.Millisecond) {
				return
			}
		}
	})
}

func (s *slot) replace(conn net.Conn, via Via) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil || s.done {
		_ = conn.Close()
		return
	}
	s.c.stats.Reconnects.Add(1)
	s.install(conn, via)
	s.pump()
}

// shut ends the slot.
func (s *slot) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	if s.current != nil {
		s.current.close()
	}
	for _, l := range s.leaving {
		l.close()
	}
}

func (s *slot) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.backlog) > 0 || len(s.leaving) > 0 || s.current != nil && len(s.current.pending) > 0
}

var requestClass = []byte("com.alipay.sofa.rpc.core.request.SofaRequest")
