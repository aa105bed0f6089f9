package proxy

import (
	"fmt"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/handover"
)

// http2Bound is how many connections there may be, and how many bytes they may take.
type http2Bound struct{ conns, bytes int }

var (
	// http2Part is a part of a batch: large enough that its way there and back does not count, small enough that both sides have
	// something to do at the same time. Its last connection may be heavier.
	http2Part = http2Bound{256, 1 << 20}
	// http2Whole is a batch in parts.
	http2Whole = http2Bound{handover.MaxWholeConns, handover.MaxWholeState}
)

// nextPart writes the next part of a batch down; ok is false when there is no such batch.
func (d donor) nextPart(id uint64) (_ handover.Batch, ok bool, err error) {
	d.mu.Lock()
	w := d.hand.batches[id]
	d.mu.Unlock()
	if w == nil {
		return handover.Batch{}, false, nil
	}
	batch := handover.Batch{ID: id, Loop: w.index}
	if !w.loop.Call(func() {
		b := w.frozen[id]
		batch.Conns = w.frozenHTTP2(b, nil)
		batch.More = b.unwritten()
	}) {
		err = fmt.Errorf("freeze batch %d: loop %d has ended", id, w.index)
	}
	return batch, true, err
}

// stopHTTP2 stops the connections of a batch and all their clocks. What they are does not change until they are written down.
func (w *worker) stopHTTP2(b *frozen) {
	for _, up := range b.http2Ups {
		w.loop.Cancel(&up.watch)
		up.conn.Freeze()
	}
	for _, c := range b.http2Clients {
		c.stop()
		c.conn.Freeze()
	}
}

func (c *http2Client) stop() {
	c.pieces.stop()
	c.proto.Each(func(s *http2.Stream) {
		x := s.Owner.(*http2Exchange)
		if x.timer.Armed() {
			x.left = max(x.timer.Left(c.w.loop.Now()), 1)
			c.w.loop.Cancel(&x.timer)
		}
		c.w.loop.Cancel(&x.wake.timer)
	})
}

// frozenHTTP2 writes a batch's connections down, those to endpoints first, or the next part of it.
func (w *worker) frozenHTTP2(b *frozen, out []handover.Conn) []handover.Conn {
	most, size := w.http2.part, 0
	for first := len(out); b.unwritten(); b.http2Written++ {
		if n := len(out) - first; w.http2.parts && n > 0 && (n >= most.conns || size >= most.bytes) {
			break
		}
		if b.conns[b.http2Written].Closed() { // its descriptor may be somebody else's
			continue
		}
		if i := b.http2Written; i < len(b.http2Ups) {
			out = append(out, b.http2Ups[i].frozen())
		} else {
			out = append(out, b.http2Clients[i-len(b.http2Ups)].frozen())
		}
		size += len(out[len(out)-1].State)
	}
	return out
}

// unwritten says that a further part follows.
func (b *frozen) unwritten() bool { return b.http2Written < len(b.http2Ups)+len(b.http2Clients) }

func (u *http2Up) frozen() handover.Conn {
	return u.w.frozenConn(u.conn, &connState{
		role: roleHTTP2Endpoint, cluster: u.cluster.name, endpoint: u.host.Addr, leaving: u.leaving, http2: u.proto.AppendBinary(nil),
	})
}

func (c *http2Client) frozen() handover.Conn {
	return c.w.frozenConn(c.conn, &connState{role: roleHTTP2Client, listener: *c.from, http2: c.state()})
}
