package proxy

import (
	"slices"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// http2Mirror is a connection for copies of HTTP/2 requests. It never carries a client's request, and no handover moves it.
type http2Mirror struct {
	http2Wire
	cluster *cluster
	host    *upstream.Host[*http2Mirror]
	place   *upstream.Limit // as in upConn
	queue   []*http2Copy    // not sent to their end; one after the other
	open    int             // copies on it
	timer   loop.Timer      // to open, or to rest
	opened  bool
	leaving bool // takes no further copies
}

// http2Mirrors is the cluster's view of its endpoints for copies of HTTP/2 requests.
func (c *cluster) http2Mirrors() *upstream.Cluster[*http2Mirror] {
	if c.mirrors2 == nil {
		c.mirrors2 = view[*http2Mirror](c)
	}
	return c.mirrors2
}

// http2Mirror returns a connection to an endpoint of c; nil when there is none to be had.
func (w *worker) http2Mirror(c *cluster) *http2Mirror {
	h := c.http2Mirrors().Pick(w.loop.Now())
	if h == nil {
		return nil
	}
	if len(h.Conns) > 0 {
		return h.Conns[0]
	}
	all := &w.http2.copies
	if len(all.conns) >= maxMirrorConns || !c.limits.Connections.Take() {
		return nil
	}
	m := &http2Mirror{cluster: c, host: h, place: c.limits.Connections}
	m.w, m.timer.Owner = w, m
	conn, err := w.connect(c, h.Addr, m)
	if err != nil {
		m.place.Give()
		c.unreached(&h.Peer, w.loop.Now())
		return nil
	}
	w.count.Dialled++
	c.count.Connections++
	m.conn = conn
	all.conns[conn.ID] = m
	h.Conns = append(h.Conns, m)
	w.loop.Start(&m.timer, c.connectTimeout())
	return m
}

// Connected greets the endpoint.
func (m *http2Mirror) Connected(*loop.Conn) {
	m.opened = true
	m.w.loop.Start(&m.timer, settleTimeout)
	m.w.scratch = m.proto.Start(true, m.w.scratch[:0])
	m.conn.Write(m.w.scratch)
}

// Data drops answers.
func (m *http2Mirror) Data(c *loop.Conn, b []byte) int {
	taken, err := m.read(b, m.event)
	if err != nil {
		c.Close(err)
	}
	return taken
}

func (m *http2Mirror) event(t *http2.Turn) {
	if t.Kind == http2.GoAway {
		m.leave()
		return
	}
	if t.Stream == nil { // settings or a window
		m.host.Worked()
		m.pump()
		return
	}
	k, _ := t.Stream.Owner.(*http2Copy)
	if k == nil {
		return
	}
	switch {
	case t.Kind == http2.Reset:
		k.end(t.Code == http2.NoError)
	case t.Kind == http2.Window:
		m.pump()
	case t.End:
		k.end(true)
	case t.Kind == http2.Data:
		m.credit(t.Stream, len(t.Data))
	}
}

// pump sends what waits, as far as there are streams and windows.
func (m *http2Mirror) pump() {
	for len(m.queue) > 0 && m.opened && m.conn.Open() {
		k := m.queue[0]
		if k.sent == nil && m.proto.Room() == 0 {
			return
		}
		if k.sent == nil && !k.begin() {
			k.end(false)
			return // it pumps
		}
		if !k.write() {
			return
		}
		k.whole = true
		m.queue = slices.Delete(m.queue, 0, 1)
		m.w.loop.Cancel(&m.timer)
	}
}

// forget takes a copy from the connection, which rests or ends when it was the last.
func (m *http2Mirror) forget(k *http2Copy) {
	if !k.whole {
		m.queue = slices.DeleteFunc(m.queue, func(o *http2Copy) bool { return o == k })
	}
	if k.sent != nil {
		m.reset(k.sent, http2.Cancel)
		m.proto.Recycle(k.sent)
	}
	if m.open--; m.open > 0 || !m.opened || m.conn.Closed() {
		return
	}
	if m.leaving || m.host.Gone || m.cluster.retired {
		m.conn.CloseAfterWrite()
		return
	}
	m.w.loop.Start(&m.timer, restFor)
}

// leave takes no further copies; what was not sent is given up.
func (m *http2Mirror) leave() {
	m.leaving = true
	m.host.Conns = slices.DeleteFunc(m.host.Conns, func(o *http2Mirror) bool { return o == m })
	m.giveUpQueue()
	if m.open == 0 {
		m.conn.CloseAfterWrite()
	}
}

func (m *http2Mirror) giveUpQueue() {
	queue := m.queue
	m.queue = nil
	for _, k := range queue {
		k.end(false)
	}
}

// Expire: it took too long to open, or has rested for long enough.
func (m *http2Mirror) Expire() {
	switch {
	case !m.opened || !m.proto.Settled():
		m.conn.Close(errConnectTimeout)
	case m.open == 0:
		m.conn.Close(nil)
	}
}

// EOF closes: an endpoint that has ended answers nothing more.
func (m *http2Mirror) EOF(c *loop.Conn) { c.Close(errEndpointClosed) }

// Drained lets copies go on.
func (m *http2Mirror) Drained(*loop.Conn) { m.pump() }

// Closed gives up what is on the connection.
func (m *http2Mirror) Closed(c *loop.Conn, why error) {
	w := m.w
	w.loop.Cancel(&m.timer)
	m.place.Give()
	delete(w.http2.copies.conns, c.ID)
	m.host.Conns = slices.DeleteFunc(m.host.Conns, func(o *http2Mirror) bool { return o == m })
	if why != nil && !m.proto.Settled() {
		m.cluster.unreached(&m.host.Peer, w.loop.Now())
	}
	m.giveUpQueue()
	m.proto.Each(func(s *http2.Stream) {
		if k, _ := s.Owner.(*http2Copy); k != nil {
			k.end(false)
		}
	})
}
