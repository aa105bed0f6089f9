package proxy

import (
	"errors"
	"slices"

	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// mirrorConn is a connection for copies of HTTP requests, one at a time. It never carries a client's request, and no
// handover moves it. See mirror.go.
type mirrorConn struct {
	w        *worker
	host     *upstream.Host[*mirrorConn]
	conn     *loop.Conn
	place    *upstream.Limit // as in upConn
	timer    loop.Timer      // to connect, to answer, or to rest
	to       goal
	exchange http1.Exchange
	unsent   []byte // the copy, while the connection is not open
	response http1.Body
	seen     int // as in httpClient
	opened   bool
	busy     bool // a copy is on it
	answered bool // the response's head is here
	reusable bool
}

// copies is the cluster's view of its endpoints for mirrors: connections that rest.
func (c *cluster) copies() *upstream.Cluster[*mirrorConn] {
	if c.mirrors == nil {
		c.mirrors = view[*mirrorConn](c)
	}
	return c.mirrors
}

// mirror sends a copy of a request: its head as it is forwarded, and rest, which begins with the body. A request whose body
// is not all there is not copied, and neither is one that makes a tunnel.
func (c *httpClient) mirror(req *http1.Request, head, rest []byte, to *goal) {
	w, x := c.w, req.Exchange()
	body := req.Body
	n, err := body.Take(rest)
	if err != nil || !body.Done() || n > maxMirrorBody || x.Connect || x.Upgrade || w.moving || to.mirror.full() {
		w.count.MirrorDropped++
		return
	}
	m := w.mirrorConn(to.mirror)
	if m == nil {
		w.count.MirrorDropped++
		return
	}
	x.KeepAlive, x.Minor = true, 1 // as it is forwarded
	m.to, m.exchange, m.busy, m.answered, m.seen = *to, x, true, false, 0
	if m.opened {
		w.loop.Start(&m.timer, to.copyTimeout())
		m.conn.Write(head)
		m.conn.Write(rest[:n])
		return
	}
	m.unsent = w.loop.Pool().Append(w.loop.Pool().Append(m.unsent[:0], head), rest[:n])
}

// mirrorConn returns a connection that rests, or a new one; nil when there is none to be had.
func (w *worker) mirrorConn(c *cluster) *mirrorConn {
	h := c.copies().Pick(w.loop.Now())
	if h == nil {
		return nil
	}
	if last := len(h.Conns) - 1; last >= 0 {
		m := h.Conns[last]
		h.Conns = h.Conns[:last]
		return m
	}
	if len(w.mirrorConns) >= maxMirrorConns || !c.limits.Connections.Take() {
		return nil
	}
	m := &mirrorConn{w: w, host: h, place: c.limits.Connections, to: goal{mirror: c}}
	m.timer.Owner = m
	conn, err := w.connect(c, h.Addr, m)
	if err != nil {
		m.place.Give()
		c.unreached(&h.Peer, w.loop.Now())
		return nil
	}
	w.count.Dialled++
	c.count.Connections++
	m.conn = conn
	w.mirrorConns[conn.ID] = m
	w.loop.Start(&m.timer, c.connectTimeout())
	return m
}

// Connected sends the copy.
func (m *mirrorConn) Connected(c *loop.Conn) {
	m.opened = true
	m.host.Worked()
	m.w.loop.Start(&m.timer, m.to.copyTimeout())
	c.Write(m.unsent)
	m.w.loop.Pool().Give(m.unsent)
	m.unsent = nil
}

// Data drops the response.
func (m *mirrorConn) Data(c *loop.Conn, b []byte) int {
	taken := 0
	for taken < len(b) && !c.Closed() {
		if !m.busy {
			c.Close(errUnasked)
			return len(b)
		}
		n, err := m.take(b[taken:])
		if err != nil {
			c.Close(err)
			return len(b)
		}
		taken += n
		if m.answered && m.response.Done() {
			m.finish(taken == len(b))
			return len(b)
		}
		if n == 0 {
			break
		}
	}
	return taken
}

func (m *mirrorConn) take(b []byte) (int, error) {
	if m.answered {
		return m.response.Take(b)
	}
	if !(http1.Limits{}).More(b, m.seen) {
		return 0, nil
	}
	res := &m.w.httpResponse
	res.Reset()
	n, err := res.Decode(b, http1.Limits{}, m.exchange)
	if m.seen = 0; errors.Is(err, http1.ErrShort) {
		m.seen = len(b)
		return 0, nil
	}
	if err != nil || res.Interim() {
		return n, err
	}
	m.answered, m.response, m.reusable = true, res.Body, res.Reusable()
	return n, nil
}

// finish rests when the connection may serve again. clean says that nothing came behind the response.
func (m *mirrorConn) finish(clean bool) {
	m.busy = false
	m.w.count.Mirrored++
	if !clean || !m.reusable || m.host.Gone || m.to.mirror.retired {
		m.conn.Close(nil)
		return
	}
	m.host.Conns = append(m.host.Conns, m)
	m.w.loop.Start(&m.timer, restFor)
}

// Expire: it took too long to connect or to answer, or has rested for long enough.
func (m *mirrorConn) Expire() {
	switch {
	case !m.opened:
		m.conn.Close(errConnectTimeout)
	case m.busy:
		m.conn.Close(errMirrorTimeout)
	default:
		m.conn.Close(nil)
	}
}

var errMirrorTimeout = errors.New("a mirror has not answered in time")

// EOF completes a response that ends with its connection.
func (m *mirrorConn) EOF(c *loop.Conn) {
	if m.busy && m.answered && m.response.Kind() == http1.Close {
		m.finish(false)
		return
	}
	c.Close(errEndpointClosed)
}

// Drained needs nothing: a copy is small, and alone on its connection.
func (m *mirrorConn) Drained(*loop.Conn) {}

// Closed gives up the copy that is on it.
func (m *mirrorConn) Closed(c *loop.Conn, why error) {
	w := m.w
	w.loop.Cancel(&m.timer)
	m.place.Give()
	w.loop.Pool().Give(m.unsent)
	m.unsent = nil
	delete(w.mirrorConns, c.ID)
	m.host.Conns = slices.DeleteFunc(m.host.Conns, func(x *mirrorConn) bool { return x == m })
	if !m.opened && why != nil {
		m.to.mirror.unreached(&m.host.Peer, w.loop.Now())
	}
	if m.busy {
		m.busy = false
		w.count.MirrorDropped++
	}
}

// closeMirrors ends all connections for copies: they do not move.
func (w *worker) closeMirrors() {
	for _, m := range w.mirrorConns {
		m.conn.Close(nil)
	}
}
