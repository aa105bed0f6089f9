package proxy

import (
	"slices"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// restFor is how long a connection to an HTTP endpoint is kept without a request. It is shorter than any common server
// keeps it, so that a request seldom meets a server that is just closing.
const restFor = 4 * time.Second

// maxResting connections to one endpoint are kept by one loop.
const maxResting = 64

type webHost = upstream.Host[*httpConn]

// httpConn is one connection to an HTTP endpoint. It has one exchange at a time, or rests.
type httpConn struct {
	w        *worker
	cluster  *cluster
	host     *webHost
	conn     *loop.Conn
	place    *upstream.Limit // as in upConn
	x        *exchange       // nil while resting
	idle     loop.Timer
	seen     int  // as in httpClient
	counted  bool // among its cluster's webs
	opened   bool
	used     bool // it has served before: that it is dead may show only now
	reusable bool // as the last response said
}

// web is the cluster's view of its endpoints for HTTP: connections that rest.
func (c *cluster) web() *upstream.Cluster[*httpConn] {
	if c.http == nil {
		c.http = view[*httpConn](c)
	}
	return c.http
}

func (w *worker) dialHTTP(c *cluster, h *webHost) *httpConn {
	if !c.limits.Connections.Take() && !c.first(c.webs == 0) {
		return nil
	}
	up := &httpConn{w: w, cluster: c, host: h}
	up.takePlace()
	up.idle.Owner = up
	conn, err := w.connect(c, h.Addr, up)
	if err != nil {
		up.leavePlace()
		c.unreached(&h.Peer, w.loop.Now())
		w.engine.log.V(1).Info("cannot open an upstream connection", "cluster", c.name, "reason", err.Error())
		return nil
	}
	w.count.Dialled++
	c.count.Connections++
	up.conn = conn
	w.webs[conn.ID] = up
	w.loop.Start(&up.idle, c.connectTimeout())
	return up
}

// Connected sends the request that waits.
func (u *httpConn) Connected(*loop.Conn) {
	u.opened = true
	u.w.loop.Cancel(&u.idle)
	u.host.Worked()
	if u.x == nil {
		u.rest()
		return
	}
	u.x.send()
	u.x.client.conn.Reread()
}

// Data passes the response on.
func (u *httpConn) Data(c *loop.Conn, b []byte) int {
	taken := 0
	for taken < len(b) && !c.Closed() {
		x := u.x
		if x == nil {
			c.Close(errUnasked)
			return len(b)
		}
		if x.tunnel {
			x.passOn(c, x.client.conn, b[taken:])
			return len(b)
		}
		if x.up != u {
			n := x.first.take(b[taken:])
			if taken += n; n == 0 && x.up != u {
				break // more has to come
			}
			continue
		}
		n, err := u.take(x, b[taken:])
		if err != nil {
			u.w.count.Malformed++
			if !x.answered {
				err = foreign(b[taken:], speaksHTTP1, err)
			}
			u.w.accuse(place{u.cluster.name, true}, err)
			x.claim.tell(upstream.OutcomeGateway, u.w.loop.Now())
			if x.fallBack() {
				return len(b)
			}
			x.fail(httpBadGateway, FailUpstreamClosed)
			return len(b)
		}
		taken += n
		if x.answered && !x.tunnel && x.response.Done() {
			x.finish(taken == len(b))
			return len(b)
		}
		if n == 0 {
			break
		}
	}
	return taken
}

func (u *httpConn) take(x *exchange, b []byte) (int, error) {
	if !x.answered {
		return x.headOf(b)
	}
	return x.body(b)
}

// rest keeps the connection for the next request.
func (u *httpConn) rest() {
	if u.host.Gone || u.cluster.retired || len(u.host.Conns) >= maxResting {
		u.conn.Close(nil)
		return
	}
	u.host.Conns = append(u.host.Conns, u)
	u.conn.Resume() // the end of the response may have been more than its client took at once
	u.w.loop.Start(&u.idle, restFor)
}

// Expire: the endpoint did not accept in time, or the connection has rested for long enough.
func (u *httpConn) Expire() {
	if !u.opened {
		u.conn.Close(errConnectTimeout)
		return
	}
	u.conn.Close(nil)
}

// EOF completes a response that ends with its connection, and ends a tunnel's one direction.
func (u *httpConn) EOF(c *loop.Conn) {
	x := u.x
	switch {
	case x != nil && x.tunnel:
		x.client.conn.FinishWrite()
	case x != nil && x.answered && x.response.Kind() == http1.Close:
		x.closing = true
		x.finish(false)
	default:
		c.Close(errEndpointClosed)
	}
}

// Drained lets the client's body go on.
func (u *httpConn) Drained(*loop.Conn) {
	if u.x != nil && !u.x.client.conn.Closed() {
		u.x.client.conn.Resume()
	}
}

// Closed answers the request that waits here, or sends it elsewhere when that is safe.
func (u *httpConn) Closed(c *loop.Conn, why error) {
	w := u.w
	w.loop.Cancel(&u.idle)
	delete(w.webs, c.ID)
	u.leavePlace()
	u.host.Conns = slices.DeleteFunc(u.host.Conns, func(x *httpConn) bool { return x == u })
	if !u.opened && why != nil {
		u.cluster.unreached(&u.host.Peer, w.loop.Now())
	}
	x := u.x
	if x == nil {
		return
	}
	if x.up != u {
		x.first.lost()
		return
	}
	u.x, x.up = nil, nil
	x.turn.failed, x.fresh = u.host.Addr, x.fresh || u.used
	switch {
	case x.first != nil:
		x.claim.tell(upstream.OutcomeGateway, w.loop.Now())
		x.fallBack()
	case x.tunnel:
		x.client.over = true // nobody takes what it still says
		x.client.conn.CloseAfterWrite()
	case !u.opened && !x.reconnects():
		x.fail(httpUnavailable, FailConnect)
	case !u.opened || u.used && x.repeat && !x.answered && x.attempt < x.attempts:
		x.sent = false
		w.loop.Cancel(&x.turn.timer) // the next try begins when its connection is open
		x.connect()                  // nothing of it was processed, or doing it twice does no harm
	default:
		x.lost()
	}
}

// takePlace notes that the connection has a place of its cluster's limit.
func (u *httpConn) takePlace() {
	u.place, u.counted = u.cluster.limits.Connections, true
	u.cluster.webs++
}

// leavePlace gives back what the connection holds of its cluster's limit.
func (u *httpConn) leavePlace() {
	if u.counted {
		u.cluster.webs--
	}
	u.place.Give()
	u.place, u.counted = nil, false
}
