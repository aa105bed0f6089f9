package proxy

import (
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/trace"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// In a handover, the spans of open requests go ahead of their connections as relays, like the bodies of HTTP/2: they are no part of
// a connection's state, so that a build which knows no tracing takes the connections all the same, and drops the spans. What the
// donor still has of a span after its batch is committed, it forgets; where nobody took it, it ends it and says that it moved.

// spanPlace names a request: the connection that keeps it, and its slot or stream there; of one that is relayed, its client's
// connection and its id.
type spanPlace struct{ conn, at uint64 }

func (e *encoder) span(at spanPlace, s *trace.Span, now time.Duration) {
	e.uint(at.conn)
	e.uint(at.at)
	e.b = s.AppendBinary(e.b, now)
}

// maxRelaySpans is how much of spans one relay carries, at most a span more.
const maxRelaySpans = 32 << 10

// sendSpans sends the spans of a batch ahead of it.
func (w *worker) sendSpans(b *frozen) {
	if w.tracer == nil || w.relay == nil {
		return
	}
	var e encoder
	each := func(conn, at uint64, s *trace.Span) {
		if !s.Open() {
			return
		}
		e.span(spanPlace{conn, at}, s, w.loop.Now())
		if len(e.b) >= maxRelaySpans {
			w.relaySpans(e.b)
			e.b = nil
		}
	}
	for _, up := range b.ups {
		up.slots.Each(func(slot *upstream.Slot[waiting]) {
			if v := &slot.Value; v.down != nil && !v.down.gone {
				each(up.conn.ID, uint64(slot.ID()), v.span)
			}
		})
	}
	for _, c := range b.clients {
		each(c.conn.ID, 0, c.x.goal.span)
	}
	for _, c := range b.http2Clients {
		c.proto.Each(func(s *http2.Stream) {
			if x, _ := s.Owner.(*http2Exchange); x != nil {
				each(c.id, uint64(s.ID), x.goal.span)
			}
		})
	}
	if len(e.b) > 0 {
		w.relaySpans(e.b)
	}
}

func (w *worker) relaySpans(b []byte) {
	r := relayState{kind: relaySpans, frame: b}
	w.relay(handover.Relay{Loop: w.index, Data: r.write()})
}

// keepSpans takes back what was sent ahead of a batch that stays: a relay without spans.
func (w *worker) keepSpans() {
	if w.tracer != nil && w.relay != nil {
		w.relaySpans(nil)
	}
}

// takeSpans keeps what the donor sends ahead.
func (t *tracer) takeSpans(b []byte) {
	if t == nil {
		return
	}
	if len(b) == 0 {
		clear(t.moved)
		return
	}
	d := decoder{b: b}
	for len(d.b) > 0 {
		place := spanPlace{d.uint(), d.uint()}
		s, rest, err := t.rec.Restore(d.b, t.w.loop.Now())
		if d.bad || err != nil {
			return
		}
		t.moved[place], d.b = s, rest
	}
}

// take returns the span of a request that is being restored; nil for none.
func (t *tracer) take(conn, at uint64) *trace.Span {
	if t == nil || len(t.moved) == 0 {
		return nil
	}
	place := spanPlace{conn, at}
	s := t.moved[place]
	delete(t.moved, place)
	return s
}

// given ends or forgets the span of a request that the next owner has now.
func (w *worker) given(s *trace.Span) {
	switch {
	case s == nil:
	case w.relay != nil:
		s.Leave()
	default:
		w.tracer.endMoved(s)
	}
}

// endMoved ends the span of a request whose end is another process's.
func (t *tracer) endMoved(s *trace.Span) {
	s.Moved = true
	s.End(t.w.loop.Now())
}

// relay sends the span of a request ahead that the candidate sends for a client of ours.
func (t *tracer) relay(d *downstream, f rpcFrame, to *goal) {
	if !to.span.Open() {
		return
	}
	var e encoder
	e.span(spanPlace{d.id, f.reply.id}, to.span, t.w.loop.Now())
	t.w.relaySpans(e.b)
	to.span.Leave()
	to.span = nil
}

// endMove forgets what has come ahead of connections that have not.
func (t *tracer) endMove() {
	if t != nil {
		clear(t.moved)
	}
}
