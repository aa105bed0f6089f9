package proxy

import (
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
)

// downstream is a client of ours that speaks Bolt or Dubbo. During a handover it may exist before its connection has arrived
// (remote), because requests of it are already here.
type downstream struct {
	w      *worker
	id     uint64
	from   *config.Listener
	fixed  *cluster // of a listener that sends everything to one
	source source
	caller caller

	conn   *loop.Conn // nil while remote
	remote bool       // its connection is with the donor: answers go there
	home   int        // the donor's loop, while remote
	gone   bool       // its connection has ended
	moved  bool       // or is the candidate's, which answers and counts what it has asked
	held   [][]byte   // answers that came while its connection was frozen

	patience loop.Timer // armed while much is unread
	pieces   pieces
}

func (w *worker) newDownstream(id uint64, from *config.Listener) *downstream {
	d := &downstream{w: w, id: id, from: from}
	d.patience.Owner = d
	w.downs[id] = d
	return d
}

// Connected is not called for accepted connections.
func (d *downstream) Connected(*loop.Conn) {}

// Data takes every complete frame.
func (d *downstream) Data(c *loop.Conn, b []byte) int {
	taken := d.w.frames(c, b, d.from.Protocol, place{name: d.from.Name}, d)
	if taken < len(b) {
		d.pieces.watch(c, d)
	}
	return taken
}

// midway is in a frame.
func (d *downstream) midway() (time.Duration, bool) { return unfinished(d.conn) }

// Partial hears of a record of TLS.
func (d *downstream) Partial(c *loop.Conn) { d.pieces.watch(c, d) }

func (d *downstream) tooLate() { d.w.malformed(d.conn, place{name: d.from.Name}, errPieces) }

func (d *downstream) frame(f rpcFrame) {
	switch f.kind {
	case rpcRequest, rpcOneway:
		d.w.request(d, f)
	case rpcHeartbeat:
		d.w.scratch = f.appendAck(d.w.scratch[:0])
		d.write(d.w.scratch)
	case rpcResponse:
		d.w.count.Late++ // we ask clients nothing, so this answers nobody
	}
}

// EOF closes: an RPC client that has ended waits for nothing.
func (d *downstream) EOF(c *loop.Conn) { c.Close(nil) }

// Drained needs nothing: a client that did not read was not held up.
func (d *downstream) Drained(*loop.Conn) {}

// Closed forgets the client; answers that are still to come are dropped.
func (d *downstream) Closed(_ *loop.Conn, why error) {
	d.gone = true
	d.stop()
	delete(d.w.downs, d.id)
	d.w.closed(d.from, why)
	if d.w.moving {
		d.w.relayClosed(d)
	}
}

// takeHeld returns the answers that came while the connection was frozen.
func (d *downstream) takeHeld() [][]byte {
	held := d.held
	d.held = nil
	return held
}

// write queues a frame for the client, as long as it reads.
func (d *downstream) write(frame []byte) {
	d.conn.Write(frame)
	if d.conn.Unsent() > maxQueue {
		d.slow()
		return
	}
	d.hurry()
}

// stop ends the clocks, start lets them run after Thaw or Restore.
func (d *downstream) stop() {
	d.w.loop.Cancel(&d.patience)
	d.pieces.stop()
}

func (d *downstream) start() {
	if d.conn.Closed() {
		return
	}
	d.hurry()
	d.pieces.resume(d.conn, d)
}

// hurry looks at a client again, after a while, that has much to read.
func (d *downstream) hurry() {
	if d.conn.Unsent() > clientQueue && !d.patience.Armed() {
		d.w.loop.Start(&d.patience, clientPatience)
	}
}

// Expire ends a client that has read nothing since.
func (d *downstream) Expire() {
	if d.conn.Unsent() > clientQueue && d.conn.Stalled() >= clientPatience {
		d.slow()
		return
	}
	d.hurry()
}

// slow ends a client that does not read its answers; others must not wait for it.
func (d *downstream) slow() {
	d.w.count.Slow++
	d.conn.Close(loop.ErrSlow)
}
