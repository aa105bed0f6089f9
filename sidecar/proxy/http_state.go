package proxy

import (
	"fmt"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
)

// exchangeState is an HTTP client's exchange, written down.
type exchangeState struct {
	over, active bool
	exchange     http1.Exchange
	request      http1.Body
	response     http1.Body
	cluster      string
	head         []byte
	sent         bool
	answered     bool
	tunnel       bool
	decode       bool
	closing      bool
	repeat       bool
	attempt      uint64
	left         time.Duration // until it times out; 0 when it does not

	route string        // key of its route, when that has a plan
	age   time.Duration // since the request came
	abort uint64        // status that it is to be answered with; 0 sends it
	again bool          // it is being tried again
}

// planned says that the next owner has to know more than how to pass bytes on.
func (s *exchangeState) planned() bool { return s.active && s.route != "" }

func (s *exchangeState) flags() []*bool {
	return []*bool{&s.over, &s.active, &s.sent, &s.answered, &s.tunnel, &s.decode, &s.closing, &s.repeat}
}

func (e *encoder) exchange(s *exchangeState) {
	for _, flag := range s.flags() {
		e.bool(*flag)
	}
	if !s.active {
		return
	}
	e.b = s.exchange.AppendBinary(e.b)
	e.b = s.request.AppendBinary(e.b)
	e.b = s.response.AppendBinary(e.b)
	e.string(s.cluster)
	e.bytes(s.head)
	e.uint(s.attempt)
	e.uint(uint64(s.left))
	if e.planned {
		e.string(s.route)
		e.uint(uint64(s.age))
		e.uint(s.abort)
		e.bool(s.again)
	}
}

func (d *decoder) exchange(s *exchangeState) {
	for _, flag := range s.flags() {
		*flag = d.bool()
	}
	if !s.active || d.bad {
		return
	}
	var err error
	if s.exchange, d.b, err = http1.ParseExchange(d.b); err == nil {
		if s.request, d.b, err = http1.ParseBody(d.b); err == nil {
			s.response, d.b, err = http1.ParseBody(d.b)
		}
	}
	d.bad = d.bad || err != nil
	s.cluster, s.head, s.attempt, s.left = d.string(), d.bytes(), d.uint(), time.Duration(d.uint())
	if d.planned {
		s.route, s.age, s.abort, s.again = d.string(), time.Duration(d.uint()), d.uint(), d.bool()
		d.bad = d.bad || s.route == "" || s.age < 0 || s.abort > 599
	}
	d.bad = d.bad || s.left < 0 || s.attempt > config.MaxAttempts
}

// state writes an HTTP client down and stops its clocks.
func (c *httpClient) state() *connState {
	x := &c.x
	c.pieces.stop()
	s := &connState{role: roleHTTPClient, listener: *c.from}
	s.exchange = exchangeState{over: c.over, active: x.active}
	if !x.active {
		return s
	}
	if x.left = 0; x.due > 0 {
		x.left = max(x.due-c.w.loop.Now(), 1)
	}
	if x.turn.kind == turnDelay && x.turn.timer.Armed() {
		x.left = x.goal.timeout // it begins behind the delay, which ends here
	}
	x.stop()
	s.exchange = exchangeState{
		over: c.over, active: true, exchange: x.Exchange, request: x.request, response: x.response,
		head: x.head, sent: x.sent && x.up != nil, answered: x.answered, tunnel: x.tunnel, decode: x.decode, closing: x.closing,
		repeat: x.repeat, attempt: uint64(x.attempt), left: x.left,
	}
	if x.cluster != nil {
		s.exchange.cluster = x.cluster.name
	}
	if t := x.goal.route; t != nil && t.plan != nil {
		s.exchange.route, s.exchange.age = t.plan.key, c.w.loop.Now()-x.goal.began
		s.exchange.abort, s.exchange.again = uint64(x.turn.abort), x.turn.part.second
	}
	return s
}

// pickHTTP takes clients with the connections that their exchanges are on.
func (w *worker) pickHTTP(b *frozen, limit int) {
	for _, c := range w.clients {
		if len(b.conns) >= limit || c.conn.Frozen() {
			continue
		}
		c.x.giveUpDial()
		b.clients = append(b.clients, c)
		b.conns = append(b.conns, c.conn)
		if up := c.x.up; up != nil {
			b.conns = append(b.conns, up.conn)
		}
	}
}

// giveUpDial forgets a connection that is not open yet: the next owner dials.
func (x *exchange) giveUpDial() {
	if up := x.up; up != nil && !up.opened {
		x.up, up.x = nil, nil
		up.conn.Close(nil)
		x.attempt--
	}
}

// frozenHTTP writes the clients of a batch down, each before its endpoint's connection.
func (w *worker) frozenHTTP(b *frozen, out []handover.Conn) []handover.Conn {
	for _, c := range b.clients {
		out = append(out, w.frozenConn(c.conn, c.state()))
		if up := c.x.up; up != nil {
			out = append(out, w.frozenConn(up.conn, &connState{
				role: roleHTTPEndpoint, cluster: up.cluster.name, endpoint: up.host.Addr, client: c.conn.ID,
				used: up.used, reusable: up.reusable,
			}))
		}
	}
	return out
}

func (w *worker) thawHTTP(b *frozen) {
	for _, c := range b.clients {
		c.start()
	}
}

// start lets a client's exchange go on after Thaw or Restore.
func (c *httpClient) start() {
	x := &c.x
	c.waits()
	c.pieces.resume(c.conn, c)
	if !x.active || c.conn.Closed() {
		return
	}
	if !x.tunnel {
		x.limit(x.left)
	}
	retry := x.goal.retry()
	switch {
	case c.over:
	case x.up != nil && retry != nil && retry.PerTry > 0 && x.sent && !x.answered:
		x.turn.start(x, turnTry, retry.PerTry)
	case x.up != nil:
	case x.turn.abort != 0:
		x.fail(int(x.turn.abort), FailFault)
	default:
		if x.sent = false; retry == nil {
			x.attempt = 0
		}
		x.connect()
	}
}

func (w *worker) releaseHTTP(b *frozen) {
	for _, c := range b.clients {
		delete(w.clients, c.conn.ID)
		c.x.claim.release()
		if up := c.x.up; up != nil {
			delete(w.webs, up.conn.ID)
			up.leavePlace()
		}
		c.x.goal.forget() // the next owner counts how it ends
		c.x.ended(FlagNone)
		w.given(c.x.goal.span)
		w.givenAway(c.from)
	}
}

func (w *worker) restoreHTTPClient(fd int, s *connState) restored {
	c := w.newHTTPClient(s.image.ID, w.current(&s.listener))
	e, x := &s.exchange, &c.x
	c.over, x.active = e.over || s.image.Lingering, e.active // releases before this one did not say it of tunnels
	c.asked = e.active || c.over
	if e.active {
		x.Exchange, x.request, x.response = e.exchange, e.request, e.response
		x.sent, x.answered, x.tunnel, x.decode, x.closing, x.repeat = e.sent, e.answered, e.tunnel, e.decode, e.closing, e.repeat
		x.attempt, x.left, x.cluster = int(e.attempt), e.left, w.clusterNamed(e.cluster)
		x.attempts = config.DefaultAttempts
		x.goal.priority = w.rank(e.route)
		x.claim.readmit(x.cluster, x.goal.priority)
		x.resume(w, e)
		x.goal.span = w.tracer.take(s.image.ID, 0)
		x.code, x.flag = w.recorded(&x.goal.account, s.image.ID, 0)
		x.presume()
		if len(e.head) > 0 {
			x.head = w.loop.Pool().Append(nil, e.head)
		}
	}
	c.conn = w.loop.Restore(fd, s.image, c)
	c.conn.Press(!x.tunnel)
	return restored{conn: c.conn, client: c}
}

func (w *worker) restoreHTTPEndpoint(fd int, s *connState) (restored, error) {
	c := w.clients[s.client]
	if c == nil || !c.x.active || c.x.up != nil {
		return restored{}, fmt.Errorf("endpoint connection %x has no client's exchange before it", s.image.ID)
	}
	up := &httpConn{w: w, cluster: c.x.cluster, opened: true, used: s.used, reusable: s.reusable, x: &c.x}
	up.idle.Owner = up
	up.host = up.cluster.web().Adopt(s.endpoint)
	up.takePlace()
	up.place.Force()
	c.x.claim.stay(&up.host.Peer)
	up.conn = w.loop.Restore(fd, s.image, up)
	w.webs[up.conn.ID] = up
	c.x.up = up
	return restored{conn: up.conn}, nil
}

// closeResting closes the connections that no exchange is on: they do not move.
func (w *worker) closeResting() {
	for _, up := range w.webs {
		if up.x == nil {
			up.conn.Close(nil)
		}
	}
}

// resume takes over what a route's plan needs of an exchange, if the route is still there.
func (x *exchange) resume(w *worker, e *exchangeState) {
	x.turn.abort = int16(e.abort)
	t := w.planned[e.route]
	if t == nil {
		return
	}
	x.goal = goal{cluster: x.cluster, route: t, account: account{began: w.loop.Now() - e.age}, priority: x.goal.priority}
	if t.plan.retry == nil {
		return
	}
	x.attempts = t.plan.attempts
	if x.turn.part.open(t.plan.budget); e.again {
		x.turn.part.again(t.plan.retry)
	}
}

// dropHTTP forgets a client that was prepared and stays with the donor.
func (w *worker) dropHTTP(c *httpClient) {
	c.x.turn.part.close()
	delete(w.clients, c.conn.ID)
	c.x.claim.release()
	if up := c.x.up; up != nil {
		delete(w.webs, up.conn.ID)
		up.leavePlace()
	}
}
