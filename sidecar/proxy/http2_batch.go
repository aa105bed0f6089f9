package proxy

import (
	"slices"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/loop"
)

// In a handover the HTTP/2 connections of a loop move together, so that no request has only one side moved: the first batch
// has those to endpoints and every client with a request, and as many clients without one as are not too many to be frozen at
// once. A client that comes later and asks meanwhile is read by the candidate.
//
// What streams have to pass on goes ahead of the batch as relays (at most http2Held for a loop). The rest of a connection's
// state is at most a frame that is not complete, a header block, http2HighWater that waits for the kernel and the decoder's
// table. A batch that is heavier than http2Batch all the same, or than half of that when it was too heavy for the handover,
// loses the clients that have most to read.
const (
	http2Conns = 1024
	http2Batch = 6 << 20
)

// pickHTTP2 takes every HTTP/2 connection that a request is on, and others up to the bounds.
func (w *worker) pickHTTP2(b *frozen, limit int) {
	w.giveUpDials()
	w.hurryHTTP2()
	w.http2.moved = true
	limit = max(limit, http2Conns)
	size := 0
	for _, up := range w.http2.ups {
		if up.opened && !up.conn.Frozen() {
			size += up.weight()
			b.http2Ups = append(b.http2Ups, up)
			b.conns = append(b.conns, up.conn)
		}
	}
	var idle []*http2Client
	for _, c := range w.http2.clients {
		switch {
		case c.conn.Frozen():
		case c.proto.Streams() == 0:
			idle = append(idle, c)
		default:
			size += c.weight()
			b.http2Clients = append(b.http2Clients, c)
		}
	}
	w.lighten(b, size)
	for _, c := range idle {
		if size += c.weight(); size > w.http2.batch || len(b.conns)+len(b.http2Clients) >= limit {
			break
		}
		b.http2Clients = append(b.http2Clients, c)
	}
	for _, c := range b.http2Clients {
		b.conns = append(b.conns, c.conn)
	}
}

// weight is what the connection's state takes, at most.
func (h *http2Wire) weight() int {
	const fixed = 24 << 10 // a frame that is not complete, and the decoder's table
	return fixed + h.conn.Unsent() + 200*h.proto.Streams()
}

// lighten ends the heaviest clients of a batch that is too heavy, or has too many connections for one message.
func (w *worker) lighten(b *frozen, size int) {
	most := http2Conns * 3
	if size <= w.http2.batch && len(b.conns)+len(b.http2Clients) <= most {
		return
	}
	slices.SortFunc(b.http2Clients, func(c, d *http2Client) int { return c.weight() - d.weight() })
	for n := len(b.http2Clients); n > 0 && (size > w.http2.batch || len(b.conns)+n > most); n-- {
		c := b.http2Clients[n-1]
		size -= c.weight()
		b.http2Clients = b.http2Clients[:n-1]
		w.count.Slow++
		c.conn.Close(loop.ErrSlow)
	}
}

// hurryHTTP2 ends what delays requests: that does not move.
func (w *worker) hurryHTTP2() {
	for _, c := range w.http2.clients {
		if c.conn.Frozen() {
			continue
		}
		c.proto.Each(func(s *http2.Stream) {
			if x, _ := s.Owner.(*http2Exchange); x != nil && !x.over {
				x.hurry()
			}
		})
	}
}

// giveUpDials forgets connections that are not open yet: the next owner dials.
func (w *worker) giveUpDials() {
	for _, up := range w.http2.ups {
		for _, x := range up.queue {
			x.up = nil
			x.attempt-- // this was none
		}
		up.queue = nil
		if !up.opened {
			up.conn.Close(nil)
		}
	}
}
