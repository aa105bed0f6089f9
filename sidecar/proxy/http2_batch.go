package proxy

import (
	"fmt"

	"github.com/axlemesh/axle/sidecar/codec/http2"
)

// In a handover the HTTP/2 connections of a loop move together, so that no request has only one side moved: the first batch
// has those to endpoints and every client with a request, and as many clients without one as are not too many to be frozen at
// once. A client that comes later and asks meanwhile is read by the candidate.
//
// What streams have to pass on goes ahead of the batch as relays (at most http2Held for a loop, and http2Kept to be sent again).
// Heads and trailers that are kept are in the batch, at most http2Heads. The rest of a connection's state is at most a frame that
// is not complete, a header block, http2HighWater that waits for the kernel and the decoder's table; mostly it is 1 or 2 KiB.
//
// A batch is offered in parts: all of it stands still at once, and is written down while the candidate prepares what was before, so
// neither side ever has more than a few parts in memory besides the connections. With a candidate that does not take parts a
// batch is one offer. When those with requests are heavier than a batch may be, or more than it may have, the handover is given
// up before anything has moved: everything goes on here.
const (
	http2Conns = 1024    // in a batch, when there are some without a request
	http2Most  = 4096    // in a batch, as handover has it
	http2Batch = 7 << 20 // bytes, below handover.MaxBatchState
)

// pickHTTP2 takes every HTTP/2 connection that a request is on, and others up to the bounds.
func (w *worker) pickHTTP2(b *frozen, limit int) {
	w.giveUpDials()
	w.hurryHTTP2()
	w.http2.moved = true
	size, conns, idle := w.openHTTP2(b)
	if w.http2.tooMuch = w.overHTTP2(size, conns); w.http2.tooMuch != nil {
		*b = frozen{}
		return
	}
	limit = max(limit, min(http2Conns, w.http2.most))
	for _, c := range idle {
		if size += c.weight(); size > w.http2.batch || conns >= limit {
			break
		}
		conns++
		b.http2Clients = append(b.http2Clients, c)
	}
	for _, up := range b.http2Ups {
		b.conns = append(b.conns, up.conn)
	}
	for _, c := range b.http2Clients {
		b.conns = append(b.conns, c.conn)
	}
}

// openHTTP2 adds the connections to b that have to move together, and says how heavy and how many they are. The clients that
// have no request are returned.
func (w *worker) openHTTP2(b *frozen) (size, conns int, idle []*http2Client) {
	for _, up := range w.http2.ups {
		if up.opened && !up.conn.Frozen() {
			size += up.weight()
			b.http2Ups = append(b.http2Ups, up)
		}
	}
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
	return size, len(b.http2Ups) + len(b.http2Clients), idle
}

// overHTTP2 says that connections which have to move together are too heavy, or too many.
func (w *worker) overHTTP2(size, conns int) error {
	most := http2Bound{w.http2.most, w.http2.batch}
	if w.http2.parts {
		most = w.http2.whole
	}
	if size <= most.bytes && conns <= most.conns {
		return nil
	}
	return fmt.Errorf("%d HTTP/2 connections have requests and %d KiB of state; at most %d with %d KiB move, because they move together: "+
		"everything stays as it is until fewer requests are open", conns, size>>10, most.conns, most.bytes>>10)
}

// weighHTTP2 is asked before anything moves: an error gives the handover up.
func (d donor) weighHTTP2() (err error) {
	d.mu.Lock()
	weighed := d.hand.weighed
	d.hand.weighed = true
	d.mu.Unlock()
	for _, w := range d.workers {
		if weighed || err != nil {
			break
		}
		w.loop.Call(func() {
			size, conns, _ := w.openHTTP2(&frozen{})
			err = w.overHTTP2(size, conns)
		})
	}
	return err
}

// weight is what the connection's state takes, at most.
func (h *http2Wire) weight() int {
	const fixed = 512 // names, addresses, numbers
	n := fixed + h.conn.ImageSize() + h.proto.StateSize()
	if c, ok := h.conn.Cipher().(*secured); ok {
		n += len(c.AppendBinary(nil))
		for _, cert := range c.chain {
			n += 4 + len(cert)
		}
	}
	return n
}

// weight is the wire's, and what its exchanges take.
func (c *http2Client) weight() int {
	const fixed = 128
	n := c.http2Wire.weight()
	c.proto.Each(func(s *http2.Stream) {
		x, _ := s.Owner.(*http2Exchange)
		if x == nil {
			return
		}
		n += fixed + len(x.head) + len(x.request.trailers) + len(x.response.trailers)
		if x.cluster != nil {
			n += len(x.cluster.name)
		}
		if x.planned() {
			n += len(x.goal.route.plan.key)
		}
	})
	return n
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

// endMoveHTTP2 goes on with what has stayed here.
func (w *worker) endMoveHTTP2() {
	if !w.http2.moved {
		return
	}
	w.http2.moved = false
	for _, c := range w.clients {
		c.waits()
	}
	for _, c := range w.http2.clients {
		c.start()
	}
}
