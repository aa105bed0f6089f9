package proxy

import (
	"errors"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/loop"
)

// Bounds of HTTP/2. What a stream's receiver does not take yet is kept here, at most what its sender was allowed to send
// (http2's window of a stream). When all streams of a loop keep more than http2Held, those are reset whose receivers have
// taken nothing for clientPatience; if that is not enough, every one that keeps more than a frame.
const (
	// http2HighWater is how many bytes of a connection may wait for the kernel before bodies wait, stream by stream.
	http2HighWater = 64 << 10
	// http2Queue is how many may wait in all, with what is not body; a peer that lets more pile up is closed.
	http2Queue = 1 << 20
	http2Held  = 32 << 20
	// http2Spare is how many exchanges are kept to be used again: a flood of requests must not stay in memory.
	http2Spare = 4096
	// http2Waiting is how many requests wait for one connection to an endpoint.
	http2Waiting = 1024
)

// http2Loop is what a worker needs for HTTP/2.
type http2Loop struct {
	clients map[uint64]*http2Client
	ups     map[uint64]*http2Up
	turn    http2.Turn   // for the frame that is being read
	fields  http2.Fields // for what is written
	spare   []*http2Exchange
	view    http2View
	copies  copies2
	held    int
	kept    int           // of requests, to be sent again
	heads   int           // bytes of http2Heads that are taken
	relief  time.Duration // when streams were last reset because of it
	bytes   int           // how heavy a batch may be in a handover, and
	most    int           // how many connections it may have
	batch   int           // as bytes, in this handover
	parts   bool          // in this handover a batch may have parts,
	part    http2Bound    // each of which has no more than this,
	whole   http2Bound    // and all of them together
	tooMuch error         // what has to move together is more than that
	moved   bool          // during a handover: the connections to endpoints are the candidate's, and so is every further request
	bodies  map[http2Place][]byte
}

func newHTTP2Loop() http2Loop {
	return http2Loop{copies: copies2{conns: map[uint64]*http2Mirror{}}, bytes: http2Batch, most: http2Most, part: http2Part, whole: http2Whole, clients: map[uint64]*http2Client{}, ups: map[uint64]*http2Up{}, bodies: map[http2Place][]byte{}}
}

// http2Wire is one connection that speaks HTTP/2, on either side of us.
type http2Wire struct {
	w       *worker
	conn    *loop.Conn
	proto   http2.Conn
	blocked []*http2Pipe // whose bytes wait for this connection
	spare   []*http2Pipe // memory for blocked
	relaxed time.Duration
	block   uint32        // as the protocol's Midway
	since   time.Duration // when it began
	body    uint32        // the stream of a frame of DATA that has begun
	dead    bool          // broken: what comes is dropped
	due     bool          // flush: a window was, of what is being read
}

// read takes every complete frame of b and gives what it means to event.
func (h *http2Wire) read(b []byte, event func(*http2.Turn)) (taken int, err error) {
	now := h.w.loop.Now()
	if now-h.relaxed >= time.Second {
		h.relaxed = now
		h.proto.Relax()
	}
	if h.dead {
		return len(b), nil
	}
	t := &h.w.http2.turn
	for taken < len(b) && !h.conn.Closed() {
		n, err := h.proto.Take(b[taken:], t)
		if len(t.Out) > 0 {
			h.conn.Write(t.Out)
			t.Out = t.Out[:0]
		}
		if err != nil {
			return len(b), err
		}
		if n == 0 {
			break
		}
		taken += n
		if h.conn.Unsent() > http2Queue {
			return len(b), loop.ErrSlow
		}
		if t.Kind != http2.Nothing {
			event(t)
		}
	}
	if h.due && !h.conn.Closed() {
		h.due = false
		h.flush() // once, however many small windows have come: each would look at every stream
	}
	if block := h.proto.Midway(); block != h.block {
		h.block, h.since = block, now
	}
	h.body = http2.Uploads(b[taken:])
	return taken, nil
}

// midway is in a frame, in a header block, or in what has to come first; without a stream, in a record of TLS. A body may take as long as it likes, here as in HTTP/1.
func (h *http2Wire) midway() (since time.Duration, ok bool) {
	switch {
	case h.dead:
		return 0, false
	case h.w.http2.moved:
		return 0, true // nothing is read for now
	case h.block == 0 && h.body != 0 && h.proto.Stream(h.body) != nil:
		return 0, true
	}
	if since, ok = h.conn.Unfinished(); !ok && h.proto.Streams() == 0 { // else the record may be of a body
		since, ok = h.conn.InRecord()
	}
	if h.block != 0 {
		return max(since, h.w.loop.Now()-h.since), true
	}
	return since, ok
}

// again gives the peer all its time again for what it is in the middle of, after Thaw or Restore.
func (h *http2Wire) again() { h.block, h.since = h.proto.Midway(), h.w.loop.Now() }

// late says that the peer does not finish what it has begun.
func (h *http2Wire) late() bool {
	since, ok := h.midway()
	return late(h.conn, since, ok)
}

// broken ends the connection of a peer that broke the protocol, and tells it why.
func (h *http2Wire) broken(at place, why error) {
	if errors.Is(why, loop.ErrSlow) {
		h.w.count.Slow++
		h.conn.Close(why)
		return
	}
	h.dead = true
	h.w.count.Malformed++
	h.w.accuse(at, why)
	code := http2.ProtocolError
	if end := (*http2.Error)(nil); errors.As(why, &end) {
		code = end.Code
	}
	h.w.scratch = h.proto.AppendGoAway(h.w.scratch[:0], code)
	h.conn.Write(h.w.scratch)
	h.conn.CloseAfterWrite()
}

// headers writes the head of a message, or its trailers.
func (h *http2Wire) headers(s *http2.Stream, f *http2.Fields, end bool) {
	h.w.scratch = h.proto.AppendHeaders(h.w.scratch[:0], s, f, end)
	h.conn.Write(h.w.scratch)
}

// reset ends a stream on both sides; it may have ended already.
func (h *http2Wire) reset(s *http2.Stream, code http2.Code) {
	h.w.scratch = h.proto.AppendReset(h.w.scratch[:0], s, code)
	if len(h.w.scratch) > 0 {
		h.conn.Write(h.w.scratch)
	}
}

// credit grants a stream's sender n bytes again, which have gone on.
func (h *http2Wire) credit(s *http2.Stream, n int) {
	h.w.scratch = h.proto.AppendCredit(h.w.scratch[:0], s, n)
	if len(h.w.scratch) > 0 {
		h.conn.Write(h.w.scratch)
	}
}

// room is how many bytes of body may be written for s now, in one frame.
func (h *http2Wire) room(s *http2.Stream) int {
	if h.conn.Unsent() >= http2HighWater {
		h.conn.TellDrained()
		return 0
	}
	return h.proto.Sendable(s)
}

// flush writes what waits for this connection, a frame of each stream in turn, as far as the peer allows.
func (h *http2Wire) flush() {
	for progress := true; progress && len(h.blocked) > 0 && !h.proto.Full(); {
		progress = false
		turn := h.blocked
		h.blocked, h.spare = h.spare[:0], nil
		for _, p := range turn {
			p.queued = false
		}
		for _, p := range turn {
			progress = p.flush() || progress
		}
		h.spare = turn
	}
}
