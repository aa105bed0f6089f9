package proxy

import "time"

// A copy of a request is sent and forgotten: what its endpoint answers is dropped, and nothing that happens to it is seen
// by the client. It is bounded by itself, so that a mirror that is slow or gone costs those who are not. Each copy that was
// due is counted once, as mirrored when its answer came (a oneway: when it was written), else as dropped. A handover moves
// no copies; those without an answer are dropped, and none is made while connections move.

// Bounds of what one loop has to do with mirrors.
const (
	mirrorTimeout  = 15 * time.Second
	maxMirrors     = 1024     // Bolt and Dubbo requests without an answer
	mirrorQueue    = 1 << 20  // bytes unsent on a Bolt or Dubbo connection, requests of clients included
	maxMirrorConns = 64       // HTTP connections
	maxMirrorBody  = 64 << 10 // bytes of an HTTP request's body, all of which has to be there with the head
)

// full says that a cluster has as many open requests as it may: copies leave the room to requests, and take none of it.
func (c *cluster) full() bool {
	return c.limits.Requests.Full()
}

// mirror sends a copy of a Bolt or Dubbo request. The frame is valid during the call only.
func (w *worker) mirror(f rpcFrame, to *goal) {
	c := to.mirror
	if w.moving || w.mirrors >= maxMirrors || c.full() {
		w.count.MirrorDropped++
		return
	}
	host := c.Pick(w.loop.Now())
	if host == nil {
		w.count.MirrorDropped++
		return
	}
	up := w.connTo(c, host, f.reply.protocol)
	switch {
	case up == nil || up.queued+len(f.raw) > mirrorQueue:
		w.count.MirrorDropped++
	case up.conn.Open():
		w.sendMirror(up, f, to)
	default:
		up.enqueue(w.keep(nil, f, goal{cluster: c, timeout: to.timeout}))
	}
}

// sendMirror writes a copy on an open connection.
func (w *worker) sendMirror(up *upConn, f rpcFrame, to *goal) {
	if up.conn.Unsent()+len(f.raw) > mirrorQueue {
		w.count.MirrorDropped++
		return
	}
	up.used = w.loop.Now()
	if f.kind == rpcOneway {
		up.conn.Write(f.raw)
		w.count.Mirrored++
		return
	}
	slot := up.slots.Take()
	if slot == nil {
		w.count.MirrorDropped++
		return
	}
	v := slot.Value.reset(up, slot)
	v.mirror = true
	w.mirrors++
	w.loop.Start(&v.timer, to.copyTimeout())
	out := up.conn.Extend(len(f.raw))
	copy(out, f.raw)
	putID(up.protocol, out, uint64(slot.ID()))
}

// mirrored takes the answer to a copy.
func (v *waiting) mirrored() {
	w := v.up.w
	v.mirror = false
	w.mirrors--
	w.count.Mirrored++
	v.up.free(v)
}

// unmirrored gives a copy up.
func (v *waiting) unmirrored() {
	w := v.up.w
	v.mirror = false
	w.mirrors--
	w.count.MirrorDropped++
}
