package proxy

import (
	"errors"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
)

// http2Client is a client that speaks HTTP/2.
type http2Client struct {
	http2Wire
	id     uint64
	from   *config.Listener
	fixed  *cluster
	source source
	rested time.Duration // since when it has no stream, if it has none
	heads  int           // bytes of clientHeads that are taken
	caller caller
	pieces pieces
}

func (w *worker) newHTTP2Client(id uint64, from *config.Listener) *http2Client {
	c := &http2Client{id: id, from: from, rested: w.loop.Now()}
	c.w = w
	w.http2.clients[id] = c
	return c
}

// greeted says that b, with which a client begins, may be HTTP/2's preface; whole that it is.
func greeted(b []byte) (may, whole bool) {
	n := min(len(b), len(http2.Preface))
	return string(b[:n]) == http2.Preface[:n], n == len(http2.Preface)
}

// upgrade goes on with HTTP/2 on a connection that was taken for HTTP/1 until now.
func (c *httpClient) upgrade(b []byte) int { return c.greet().Data(c.conn, b) }

func (c *httpClient) greet() *http2Client {
	to := c.w.newHTTP2Client(c.conn.ID, c.from)
	c.become(to)
	to.w.scratch = to.proto.Start(false, to.w.scratch[:0])
	to.conn.Write(to.w.scratch)
	return to
}

// Connected is not called for accepted connections.
func (c *http2Client) Connected(*loop.Conn) {}

// Data takes every complete frame.
func (c *http2Client) Data(conn *loop.Conn, b []byte) int {
	if c.w.http2.moved {
		conn.Pause() // whoever owns the connection after the handover reads on
		return 0
	}
	taken, err := c.read(b, c.event)
	if err != nil {
		c.fail(err)
	}
	if taken < len(b) || c.block != 0 {
		c.pieces.watch(conn, c)
	}
	return taken
}

// Partial hears of a record of TLS.
func (c *http2Client) Partial(conn *loop.Conn) {
	if c.proto.Streams() == 0 {
		c.pieces.watch(conn, c)
	}
}

// fail ends the connection of a client that broke the protocol.
func (c *http2Client) fail(why error) {
	c.broken(place{name: c.from.Name}, why)
	c.giveUp()
}

func (c *http2Client) tooLate() { c.fail(errPieces) }

func (c *http2Client) event(t *http2.Turn) {
	if t.Kind == http2.Headers {
		c.begin(t)
		return
	}
	if t.Stream == nil {
		c.due = true
		return
	}
	x, _ := t.Stream.Owner.(*http2Exchange)
	if x == nil || x.over {
		return
	}
	switch t.Kind {
	case http2.Data:
		x.keep(t.Data)
		x.copyData(t.Data, t.End)
		x.request.take(t.Data, t.End)
		x.settle()
	case http2.Trailers:
		x.copyTrailers(&t.Fields)
		x.trail(&x.request, &t.Fields)
		x.settle()
	case http2.Window:
		c.due = c.due || x.response.queued
	case http2.Reset:
		x.leaveEndpoint(http2.Cancel)
		x.finish()
	}
}

// begin takes a request.
func (c *http2Client) begin(t *http2.Turn) {
	w := c.w
	w.count.Requests[c.from.Direction]++
	x := w.newHTTP2Exchange(c, t.Stream)
	x.request.end = t.End
	if t.Fields.Over() {
		w.count.Malformed++
		if w.enter(&x.goal, c.from, SpokenHTTP2); w.log != nil {
			x.logHTTP2(&x.goal, &t.Fields)
		}
		x.blame(FlagMalformed)
		x.reply(httpFieldsTooLarge)
		c.reset(x.down, http2.NoError)
		x.finish()
		return
	}
	x.begin(&t.Fields)
}

const httpFieldsTooLarge = 431

// EOF ends the connection: a client that sends nothing more cannot even grant a window.
func (c *http2Client) EOF(conn *loop.Conn) { conn.Close(nil) }

// Drained lets responses go on.
func (c *http2Client) Drained(*loop.Conn) { c.flush() }

// Closed gives up all exchanges.
func (c *http2Client) Closed(conn *loop.Conn, why error) {
	delete(c.w.http2.clients, conn.ID)
	c.pieces.stop()
	if errors.Is(why, loop.ErrSlow) {
		c.blame(FlagSlow)
	}
	c.giveUp()
	c.w.closed(c.from, why)
}

// blame says of all exchanges what is wrong with their client.
func (c *http2Client) blame(flag Flag) {
	c.proto.Each(func(s *http2.Stream) {
		if x, _ := s.Owner.(*http2Exchange); x != nil && !x.over {
			x.blame(flag)
		}
	})
}

// giveUp calls all requests off. No stream is left: a client that does not read stays until it has read what it did wrong, and may move.
func (c *http2Client) giveUp() {
	c.proto.Each(func(s *http2.Stream) {
		x, _ := s.Owner.(*http2Exchange)
		if c.reset(s, http2.Cancel); x != nil && !x.over {
			x.leaveEndpoint(http2.Cancel)
			x.finish()
		}
		s.Owner = nil
	})
}
