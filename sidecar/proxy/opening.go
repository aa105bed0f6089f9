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

var (
	errHeaderTimeout = errors.New("PROXY protocol: no header within " + headerPatience.String())
	errUnknown       = errors.New("its first bytes are none of Bolt, Dubbo, HTTP/1 and HTTP/2, and the listener has no cluster for what is left")
	errUnknownTLS    = errors.New("it begins a TLS handshake where none is expected, and the listener has no cluster for it")
)

// opening is a client's connection before its protocol is known, and its handler: a PROXY header is still to come, or the first
// bytes of a client whose listener serves several protocols. Nobody else knows the connection. An undecided one may be silent
// for as long as it likes, and moves in a handover; for the others a handover waits.
type opening struct {
	w     *worker
	conn  *loop.Conn
	from  *config.Listener
	begin func(b []byte) (taken int, done func(arrival)) // done is nil while more is needed, and when the connection was closed
	late  func()
	timer loop.Timer

	undecided bool
	pieces    pieces // of an undecided one, which may not take for ever over its first bytes
}

// expect waits for what a client begins with; without a deadline when patience is 0.
func (w *worker) expect(a arrival, from *config.Listener, patience time.Duration, begin func(*opening)) {
	o := &opening{w: w, from: from}
	o.timer.Owner = o
	begin(o)
	conn, err := a.add(w.loop, o)
	if o.conn = conn; err != nil {
		w.closed(from, err)
		return
	}
	if patience == 0 {
		o.wait()
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

// sniffed are what first bytes tell a listener's protocol by. What is none of them is plain TCP, which cannot be routed.
var sniffed = map[sniff.Protocol]config.Protocol{
	sniff.Bolt: config.Bolt, sniff.Dubbo: config.Dubbo, sniff.HTTP1: config.HTTP1, sniff.HTTP2: config.HTTP2,
}

// sniff waits for the first bytes, and serves the protocol that they are of. Who is silent is taken for plain TCP only where that has
// a cluster to go to.
func (o *opening) sniff() {
	as := func(p config.Protocol) func(arrival) {
		from := *o.from
		from.Protocol = p
		return func(a arrival) { o.w.serve(a, &from) }
	}
	o.begin = func(b []byte) (int, func(arrival)) {
		p, known := sniff.Next(b)
		switch {
		case !known:
			if o.undecided {
				o.pieces.watch(o.conn, o)
			}
			return 0, nil
		case sniffed[p] == config.TCP && o.w.current(o.from).Cluster == "":
			why := errUnknown
			if p == sniff.TLS {
				why = errUnknownTLS
			}
			o.w.malformed(o.conn, place{name: o.from.Name}, why)
			return len(b), nil
		}
		return 0, as(sniffed[p])
	}
	o.late = func() {
		if now := o.w.current(o.from); now.Cluster == "" { // there was one when the client came
			o.leave()
			o.from = now
			o.wait()
			o.pieces.resume(o.conn, o)
			return
		}
		o.give(as(config.TCP))
	}
}

// wait makes the client an undecided one.
func (o *opening) wait() {
	o.undecided = true
	o.w.shakes.undecided[o.conn.ID] = o
}

// midway is in the first bytes, or in a record of TLS.
func (o *opening) midway() (time.Duration, bool) { return unfinished(o.conn) }

// Partial is a record of TLS that has begun.
func (o *opening) Partial(c *loop.Conn) {
	if o.undecided {
		o.pieces.watch(c, o)
	}
}

// tooLate ends a client that does not finish: what it would be told in is not known.
func (o *opening) tooLate() { o.w.malformed(o.conn, place{name: o.from.Name}, errPieces) }

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
	if o.undecided {
		o.pieces.stop()
		delete(o.w.shakes.undecided, o.conn.ID)
		return
	}
	o.w.loop.Cancel(&o.timer)
	o.w.shakes.opening--
	o.w.shakes.settle()
}

// EOF closes: it has said nothing that could be answered, but what a release before this one has answered may not be sent yet.
func (o *opening) EOF(c *loop.Conn) {
	if c.Unsent() > 0 {
		c.CloseAfterWrite()
		return
	}
	c.Close(nil)
}

// Drained needs nothing: nothing is written.
func (o *opening) Drained(*loop.Conn) {}

// Expire decides about a client that says nothing.
func (o *opening) Expire() { o.late() }

// Closed forgets the client.
func (o *opening) Closed(_ *loop.Conn, why error) {
	o.leave()
	o.w.closed(o.from, why)
}

// state is that of a client which has just been accepted: whoever owns it looks at its first bytes, as many as there are, and
// releases before this one do so, too. Under TLS they would want another handshake: to them it is a client of HTTP/1, or HTTP/2 when it
// begins so.
func (o *opening) state() *connState {
	o.pieces.stop()
	s := &connState{role: roleAccepted, listener: *o.from}
	if o.conn.Cipher() != nil {
		s.role = roleHTTPClient
	}
	return s
}

func (o *opening) listener() *config.Listener { return o.from }

// resume goes on after Thaw or Restore.
func (o *opening) resume() {
	if !o.conn.Closed() {
		o.pieces.resume(o.conn, o)
		o.conn.Replay()
	}
}

// restoreUndecided prepares a client that is undecided behind its TLS handshake.
func (w *worker) restoreUndecided(fd int, s *connState) restored {
	o := &opening{w: w, from: w.current(&s.listener)}
	o.timer.Owner = o
	o.sniff()
	o.conn = w.loop.Restore(fd, s.image, o)
	o.wait()
	return restored{conn: o.conn, accepted: o}
}
