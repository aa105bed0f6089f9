package proxy

import (
	"slices"
	"time"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// maxHTTP2Conns is how many connections one loop opens to an endpoint when streams run out on those that are configured.
const maxHTTP2Conns = 16

// http2Early is how many requests wait for a connection whose endpoint has not said yet how many streams it allows.
const http2Early = 100

// settleTimeout is how long an endpoint may take to speak HTTP/2 when it has accepted a connection.
const settleTimeout = 5 * time.Second

type http2Host = upstream.Host[*http2Up]

// http2Up is one connection to an endpoint, shared by the requests of many clients.
type http2Up struct {
	http2Wire
	cluster *cluster
	host    *http2Host
	place   *upstream.Limit  // as in upConn
	queue   []*http2Exchange // that wait for it to open, or for a stream
	watch   loop.Timer
	used    time.Duration // last request
	opened  bool
	leaving bool // takes no further requests
}

// streams is the cluster's view of its endpoints for HTTP/2.
func (c *cluster) streams() *upstream.Cluster[*http2Up] {
	if c.http2 == nil {
		c.http2 = view[*http2Up](c)
	}
	return c.http2
}

// http2To returns the connection to h that has the fewest streams, opening one when there are fewer than configured or none
// has room; nil when none can be opened.
func (w *worker) http2To(c *cluster, h *http2Host) *http2Up {
	var best *http2Up
	for _, up := range h.Conns {
		if best == nil || up.load() < best.load() {
			best = up
		}
	}
	few := len(h.Conns) < max(c.Config.Connections, 1)
	if few || len(h.Conns) < maxHTTP2Conns && !best.roomy() {
		if up := w.dialHTTP2(c, h); up != nil {
			return up
		}
	}
	return best
}

func (u *http2Up) load() int { return u.proto.Streams() + len(u.queue) }

func (u *http2Up) roomy() bool {
	if !u.proto.Settled() {
		return len(u.queue) < http2Early
	}
	return u.proto.Room() > len(u.queue)
}

// ready says that a request can be sent at once.
func (u *http2Up) ready() bool { return u.opened && len(u.queue) == 0 && u.proto.Room() > 0 }

func (w *worker) dialHTTP2(c *cluster, h *http2Host) *http2Up {
	if !c.limits.Connections.Take() && !c.first(c.spareHTTP2() == nil) {
		return nil
	}
	up := &http2Up{cluster: c, host: h, place: c.limits.Connections, used: w.loop.Now()}
	up.w = w
	conn, err := w.connect(c, h.Addr, up)
	if err != nil {
		up.leavePlace()
		c.unreached(&h.Peer, w.loop.Now())
		w.engine.log.V(1).Info("cannot open an upstream connection", "cluster", c.name, "reason", err.Error())
		return nil
	}
	w.count.Dialled++
	c.count.Connections++
	up.adopt(conn)
	w.loop.Start(&up.watch, c.connectTimeout())
	return up
}

// adopt makes conn the connection of u and u one of its host.
func (u *http2Up) adopt(conn *loop.Conn) {
	u.conn, u.watch.Owner = conn, u
	u.w.http2.ups[conn.ID] = u
	u.join()
}

// join makes u one of its host, so that it gets requests.
func (u *http2Up) join() {
	if u.leaving = u.leaving || u.host.Gone; !u.leaving && !slices.Contains(u.host.Conns, u) {
		u.host.Conns = append(u.host.Conns, u)
	}
}

// Connected sends what has waited for the connection.
func (u *http2Up) Connected(*loop.Conn) {
	u.opened = true
	u.w.loop.Start(&u.watch, settleTimeout)
	u.w.scratch = u.proto.Start(true, u.w.scratch[:0])
	u.conn.Write(u.w.scratch)
	u.next()
}

// next sends what waits, as far as there are streams, and closes a connection that leaves and has nothing to do.
func (u *http2Up) next() {
	for u.opened && len(u.queue) > 0 && u.proto.Room() > 0 && u.conn.Open() {
		x := u.queue[0]
		u.queue = slices.Delete(u.queue, 0, 1)
		x.sendKept()
	}
	if u.leaving && u.opened && u.load() == 0 && u.conn.Open() {
		u.conn.CloseAfterWrite()
	}
}

func (u *http2Up) unqueue(x *http2Exchange) {
	u.queue = slices.DeleteFunc(u.queue, func(y *http2Exchange) bool { return x == y })
}

// Data takes every complete frame.
func (u *http2Up) Data(_ *loop.Conn, b []byte) int {
	taken, err := u.read(b, u.event)
	if err != nil {
		if !u.proto.Settled() {
			err = foreign(b, speaksHTTP2, err)
		}
		u.fail(err)
	}
	return taken
}

// fail ends the connection to an endpoint that broke the protocol.
func (u *http2Up) fail(why error) {
	u.broken(place{u.cluster.name, true}, why)
	u.giveUp(why)
}

func (u *http2Up) event(t *http2.Turn) {
	switch {
	case t.Kind == http2.GoAway:
		u.refuse(t.Last)
		return
	case t.Stream == nil:
		u.host.Worked() // it has spoken HTTP/2 with us
		u.due = true
		u.next()
		return
	}
	x, _ := t.Stream.Owner.(*http2Exchange)
	if x == nil {
		if f, _ := t.Stream.Owner.(*http2First); f != nil {
			f.event(t)
		}
		return
	}
	if x.over {
		return
	}
	switch t.Kind {
	case http2.Headers:
		x.respond(&t.Fields, t.End)
	case http2.Data:
		x.response.take(t.Data, t.End)
	case http2.Trailers:
		x.judge(&t.Fields)
		x.trail(&x.response, &t.Fields)
	case http2.Window:
		u.due = u.due || x.request.queued
	case http2.Reset:
		u.wasReset(x, t)
	}
}

// wasReset passes a reset on: the client may know better than we whether to try again. One that only says that the rest of the
// request is not wanted lets the response go on.
func (u *http2Up) wasReset(x *http2Exchange, t *http2.Turn) {
	switch {
	case x.response.end && t.Code == http2.NoError:
		x.request.drop()
		x.settle()
	case t.Local && !x.answered:
		u.w.count.Malformed++
		if x.failed(); !x.fallBack() {
			x.fail(httpBadGateway, FailUpstreamClosed)
		}
	default:
		x.failed()
		if x.fallBack() || t.Code == http2.RefusedStream && x.refusedByPeer() || t.Code != http2.RefusedStream && x.lost() {
			return
		}
		u.w.count.Failed[FailUpstreamClosed]++
		x.abort(t.Code)
	}
}

// refuse takes the connection out of use. Streams above last were not worked on: their clients may send them again.
func (u *http2Up) refuse(last uint32) {
	u.proto.Each(func(s *http2.Stream) {
		if s.ID <= last {
			return
		}
		switch x := s.Owner.(type) {
		case *http2First:
			x.lost()
		case *http2Exchange:
			if !x.fallBack() && !x.refusedByPeer() {
				u.w.count.Failed[FailUpstreamClosed]++
				x.abort(http2.RefusedStream)
			}
		}
	})
	u.leave()
}

// leave takes the connection out of use; it is closed after its last stream. What waits here goes elsewhere.
func (u *http2Up) leave() {
	u.leaving = true
	u.host.Conns = slices.DeleteFunc(u.host.Conns, func(x *http2Up) bool { return x == u })
	if u.opened {
		for _, x := range u.queue {
			x.attempt-- // this was none
		}
		u.elsewhere(false)
	}
	u.next()
}

// elsewhere has what waits here wait for another connection. failed says that this one could not be opened.
func (u *http2Up) elsewhere(failed bool) {
	queue := u.queue
	u.queue = nil
	for _, x := range queue {
		if x.up = nil; failed {
			x.avoid = u.host.Addr
		}
		if failed && x.fallBack() {
			continue
		}
		if failed && !x.reconnects() {
			x.fail(httpUnavailable, FailConnect)
			continue
		}
		x.connect(nil)
	}
}

// Expire looks after a connection: it may take too long to open, or have nothing to do.
func (u *http2Up) Expire() {
	switch {
	case !u.conn.Open(), !u.proto.Settled():
		u.conn.Close(errConnectTimeout)
		return
	case u.late():
		u.fail(errPieces)
	case u.leaving && u.load() == 0:
		u.next()
	case u.load() == 0 && u.w.loop.Now()-u.used >= idleFor:
		u.leave()
	}
	u.w.loop.Start(&u.watch, beatEvery)
}

// EOF closes: an endpoint that has ended answers nothing more.
func (u *http2Up) EOF(c *loop.Conn) { c.Close(errEndpointClosed) }

// Drained lets requests go on.
func (u *http2Up) Drained(*loop.Conn) { u.flush() }

// Closed ends what is on the connection.
func (u *http2Up) Closed(c *loop.Conn, why error) {
	w := u.w
	w.loop.Cancel(&u.watch)
	delete(w.http2.ups, c.ID)
	u.leavePlace()
	if why != nil {
		w.engine.log.V(1).Info("upstream connection ended", "cluster", u.cluster.name, "endpoint", address.String(u.host.Addr), "reason", why.Error())
	}
	u.giveUp(why)
}

// giveUp answers everything that was sent here and may not be sent again, but for what is answered completely. What was not sent
// is tried elsewhere.
func (u *http2Up) giveUp(why error) {
	u.leaving = true
	u.host.Conns = slices.DeleteFunc(u.host.Conns, func(x *http2Up) bool { return x == u })
	failed := why != nil && !u.proto.Settled()
	if failed {
		u.cluster.unreached(&u.host.Peer, u.w.loop.Now())
	}
	u.proto.Each(func(s *http2.Stream) {
		switch x := s.Owner.(type) {
		case *http2First:
			x.lost()
		case *http2Exchange:
			u.lose(x, why != nil)
		}
	})
	u.elsewhere(failed)
}

// lose ends an exchange whose connection has ended.
func (u *http2Up) lose(x *http2Exchange, failed bool) {
	if x.response.end { // what is still to go to the client is here
		u.reset(x.sent, http2.NoError)
		x.request.drop()
		x.settle()
		return
	}
	if failed {
		x.failed()
	}
	if x.fallBack() {
		return
	}
	if !failed || !x.lost() {
		x.fail(httpBadGateway, FailUpstreamClosed)
	}
}
