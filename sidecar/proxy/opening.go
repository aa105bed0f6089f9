package proxy

import (
	"errors"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/proxyproto"
	"github.com/axlemesh/axle/sidecar/codec/sniff"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
)

// How long a client may take to show what it is. A handover waits for it at its end.
const (
	headerPatience = 2 * time.Second
	// silence is after what time a client that has said nothing is taken for one that waits to be spoken to.
	silence = 200 * time.Millisecond
)

var errHeaderTimeout = errors.New("PROXY protocol: no header within " + headerPatience.String())

// opening is a client's connection before its protocol is known, and its handler: a PROXY header is still to come, or the first
// bytes of a client whose listener serves several protocols. Nobody else knows the connection.
type opening struct {
	w     *worker
	conn  *loop.Conn
	from  *config.Listener
	begin func(b []byte) (taken int, done func(arrival)) // done is nil while more is needed, and when the connection was closed
	late  func()
	timer loop.Timer
}

// expect waits for what a client begins with.
func (w *worker) expect(a arrival, from *config.Listener, patience time.Duration, begin func(*opening)) {
	o := &opening{w: w, from: from}
	o.timer.Owner = o
	begin(o)
	conn, err := a.add(w.loop, o)
	if o.conn = conn; err != nil {
		w.closed(from, err)
		return
	}
	w.shakes.opening++
	w.loop.Start(&o.timer, patience)
}

// header waits for a PROXY header, and serves what follows it.
func (o *opening) header() {
	o.begin = func(b []byte) (int, func(arrival)) {
		h, n, err := proxyproto.Next(b)
		switch {
		case errors.Is(err, proxyproto.ErrShort):
			return 0, nil
		case err != nil:
			o.w.malformed(o.conn, place{name: o.from.Name}, err)
			return len(b), nil
		}
		if h.Source.IsValid() {
			o.conn.Source = &h.Source
		}
		return n, func(a arrival) { o.w.secure(a, o.from) }
	}
	o.late = func() { o.w.malformed(o.conn, place{name: o.from.Name}, errHeaderTimeout) }
}

// sniffed are what first bytes tell a listener's protocol by. What is none of them is plain TCP.
var sniffed = map[sniff.Protocol]config.Protocol{
	sniff.Bolt: config.Bolt, sniff.Dubbo: config.Dubbo, sniff.HTTP1: config.HTTP1, sniff.HTTP2: config.HTTP2,
}

// sniff waits for the first bytes, and serves the protocol that they are of.
func (o *opening) sniff() {
	as := func(p config.Protocol) func(arrival) {
		from := *o.from
		from.Protocol = p
		return func(a arrival) { o.w.serve(a, &from) }
	}
	o.begin = func(b []byte) (int, func(arrival)) {
		p, known := sniff.Next(b)
		if !known {
			return 0, nil
		}
		return 0, as(sniffed[p])
	}
	o.late = func() { o.give(as(config.TCP)) }
}

// Connected is not called for accepted connections.
func (o *opening) Connected(*loop.Conn) {}

// Data looks at the first bytes.
func (o *opening) Data(_ *loop.Conn, b []byte) int {
	taken, done := o.begin(b)
	if done != nil {
		o.give(done)
	}
	return taken
}

// give passes the connection on to who serves it.
func (o *opening) give(done func(arrival)) {
	o.leave()
	done(arrival{id: o.conn.ID, conn: o.conn})
	if !o.conn.Closed() {
		o.conn.Replay()
	}
}

// leave forgets that the connection is one whose protocol is not known.
func (o *opening) leave() {
	o.w.loop.Cancel(&o.timer)
	o.w.shakes.opening--
	o.w.shakes.settle()
}

// EOF closes: it has said nothing that could be answered.
func (o *opening) EOF(c *loop.Conn) { c.Close(nil) }

// Drained needs nothing: nothing is written.
func (o *opening) Drained(*loop.Conn) {}

// Expire decides about a client that says nothing.
func (o *opening) Expire() { o.late() }

// Closed forgets the client.
func (o *opening) Closed(_ *loop.Conn, why error) {
	o.leave()
	o.w.closed(o.from, why)
}
