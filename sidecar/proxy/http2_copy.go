package proxy

import (
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
)

// http2Copy is a copy of an HTTP/2 request. It is made while the request passes, and sent when that has come to its end; one
// that is longer than maxMirrorBody is not copied. See mirror.go.
type http2Copy struct {
	w       *worker
	cluster *cluster
	timeout time.Duration // for the answer
	head    []byte        // written down
	body    []byte
	rest    []byte        // trailers, written down
	on      *http2Mirror  // that it is on, once it is complete
	sent    *http2.Stream // of that
	at      int           // of body that was sent
	whole   bool          // all of it was sent
	timer   loop.Timer
	next    *http2Copy // while it is free
}

// http2CopyBytes is how many bytes of bodies one loop keeps for mirrors.
const http2CopyBytes = 16 << 20

// copies2 are what a loop has of copies.
type copies2 struct {
	conns map[uint64]*http2Mirror
	open  int // copies
	bytes int // of their bodies
	free  *http2Copy
}

// copied begins a copy of the exchange's request, whose head is f; when that is nil its own head.
func (x *http2Exchange) copied(f *http2.Fields) {
	w, to := x.w, &x.goal
	if to.mirror == nil {
		return
	}
	all := &w.http2.copies
	if w.moving || all.open >= maxMirrors || to.mirror.full() || f != nil && string(f.Method()) == "CONNECT" {
		w.count.MirrorDropped++
		return
	}
	k := all.free
	if k == nil {
		k = &http2Copy{w: w}
		k.timer.Owner = k
	} else {
		all.free, k.next = k.next, nil
	}
	all.open++
	k.cluster, k.timeout = to.mirror, to.copyTimeout()
	if f != nil {
		k.head = f.AppendBinary(w.loop.Pool().Take(1 << 10))
	} else {
		k.head = w.loop.Pool().Append(nil, x.head)
	}
	x.copy = k
	k.rest = append(k.rest[:0], x.request.trailers...)
	x.copyData(x.request.buf, x.request.end) // what has come during a delay
}

// copyData adds to the copy what has come of the body.
func (x *http2Exchange) copyData(data []byte, end bool) {
	k := x.copy
	if k == nil {
		return
	}
	if !k.add(data) {
		x.uncopy()
		return
	}
	if end {
		x.copyEnds()
	}
}

// copyTrailers adds the trailers.
func (x *http2Exchange) copyTrailers(f *http2.Fields) {
	if k := x.copy; k != nil {
		k.rest = f.AppendBinary(k.rest[:0])
		x.copyEnds()
	}
}

// copyEnds sends the copy: it is complete.
func (x *http2Exchange) copyEnds() {
	k := x.copy
	x.copy = nil
	k.send()
}

// uncopy gives up a copy of what was not complete.
func (x *http2Exchange) uncopy() {
	if k := x.copy; k != nil {
		x.copy = nil
		k.end(false)
	}
}

func (k *http2Copy) add(data []byte) bool {
	all := &k.w.http2.copies
	if len(k.body)+len(data) > maxMirrorBody || all.bytes+len(data) > http2CopyBytes {
		return false
	}
	all.bytes += len(data)
	k.body = k.w.loop.Pool().Append(k.body, data)
	return true
}

// send has the copy wait for its turn on a connection.
func (k *http2Copy) send() {
	m := k.w.http2Mirror(k.cluster)
	if m == nil {
		k.end(false)
		return
	}
	k.on = m
	m.open++
	m.queue = append(m.queue, k)
	k.w.loop.Start(&k.timer, k.timeout)
	m.pump()
}

// end forgets the copy. answered says that it has an answer.
func (k *http2Copy) end(answered bool) {
	w := k.w
	w.loop.Cancel(&k.timer)
	if answered {
		w.count.Mirrored++
	} else {
		w.count.MirrorDropped++
	}
	m, all := k.on, &w.http2.copies
	if m != nil {
		m.forget(k)
	}
	all.open--
	all.bytes -= len(k.body)
	w.loop.Pool().Give(k.head)
	w.loop.Pool().Give(k.body)
	*k = http2Copy{w: w, rest: k.rest[:0], next: all.free}
	k.timer.Owner = k
	all.free = k
	if m != nil {
		m.pump()
	}
}

// Expire: it takes too long.
func (k *http2Copy) Expire() { k.end(false) }

// write sends what may be sent of the copy; true when that is all of it.
func (k *http2Copy) write() bool {
	m, s := k.on, k.sent
	for k.at < len(k.body) && !s.LocalEnded() {
		n := min(m.room(s), len(k.body)-k.at)
		if n == 0 {
			return false
		}
		h := m.proto.DataHeader(s, n, k.at+n == len(k.body) && len(k.rest) == 0)
		m.conn.Write(h[:])
		m.conn.Write(k.body[k.at : k.at+n])
		k.at += n
	}
	if len(k.rest) > 0 && !s.LocalEnded() {
		f := &k.w.http2.fields
		if _, err := f.Parse(k.rest); err == nil {
			m.headers(s, f, true)
		}
	}
	return true
}

// begin opens a stream for the copy; false when it cannot be read.
func (k *http2Copy) begin() bool {
	f := &k.w.http2.fields
	if _, err := f.Parse(k.head); err != nil {
		return false
	}
	m := k.on
	k.sent = m.proto.Open()
	k.sent.Owner = k
	m.headers(k.sent, f, len(k.body) == 0 && len(k.rest) == 0)
	return true
}

// dropCopies gives up all copies, also of what is still coming: a handover moves none.
func (w *worker) dropCopies() {
	for _, c := range w.http2.clients {
		c.proto.Each(func(s *http2.Stream) {
			if x, _ := s.Owner.(*http2Exchange); x != nil {
				x.uncopy()
			}
		})
	}
	for _, m := range w.http2.copies.conns {
		m.conn.Close(nil)
	}
}

// updateCopies takes over a cluster's endpoints.
func (c *cluster) updateCopies(cfg *config.Cluster, seed uint64) {
	if c.mirrors2 == nil {
		return
	}
	for _, h := range c.mirrors2.Update(cfg, seed) {
		for len(h.Conns) > 0 {
			h.Conns[0].conn.Close(nil)
		}
	}
}
