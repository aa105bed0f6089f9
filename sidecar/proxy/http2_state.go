package proxy

import (
	"fmt"
	"slices"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http2"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
)

// http2Place names a body that waits: a client's stream, and what it is of that.
type http2Place struct {
	client uint64
	stream uint32
	body   http2Body
}

// http2Body says what of an exchange a body is.
type http2Body byte

const (
	http2Request  http2Body = iota // to the endpoint
	http2Response                  // to the client
	http2Again                     // kept of a request, to be sent again
)

// body is what the pipe carries.
func (p *http2Pipe) body() http2Body {
	if p.response {
		return http2Response
	}
	return http2Request
}

// http2State is one exchange, written down.
type http2State struct {
	down, sent              uint32 // streams
	up                      uint64 // the endpoint's connection; 0 when it has not been sent
	grpc, answered, counted bool
	gone                    bool // the endpoint's side has ended
	cluster                 string
	head                    []byte
	attempt                 uint64
	timeout, left           time.Duration
	request, response       http2PipeState
}

type http2PipeState struct {
	end, done bool
	size      uint64 // of the body that a relay has carried
	trailers  []byte
}

func (e *encoder) http2(s *http2State) {
	e.uint(uint64(s.down))
	e.uint(uint64(s.sent))
	e.uint(s.up)
	for _, flag := range s.flags() {
		e.bool(*flag)
	}
	e.string(s.cluster)
	e.bytes(s.head)
	e.uint(s.attempt)
	e.uint(uint64(s.timeout))
	e.uint(uint64(s.left))
	for _, p := range []*http2PipeState{&s.request, &s.response} {
		e.uint(p.size)
		e.bytes(p.trailers)
	}
}

func (s *http2State) flags() []*bool {
	return []*bool{
		&s.grpc, &s.answered, &s.counted, &s.gone, &s.request.end, &s.request.done, &s.response.end, &s.response.done,
	}
}

func (d *decoder) http2(s *http2State) {
	s.down, s.sent, s.up = uint32(d.uint()), uint32(d.uint()), d.uint()
	for _, flag := range s.flags() {
		*flag = d.bool()
	}
	s.cluster, s.head, s.attempt = d.string(), d.bytes(), d.uint()
	s.timeout, s.left = time.Duration(d.uint()), time.Duration(d.uint())
	for _, p := range []*http2PipeState{&s.request, &s.response} {
		p.size, p.trailers = d.uint(), d.bytes()
	}
	d.bad = d.bad || s.left < 0 || s.timeout < 0 || s.attempt > config.MaxAttempts
}

// state writes a client's protocol and exchanges down.
func (c *http2Client) state() []byte {
	e := encoder{b: c.proto.AppendBinary(nil)}
	e.uint(uint64(c.proto.Streams()))
	c.proto.Each(func(s *http2.Stream) {
		x := s.Owner.(*http2Exchange)
		state := http2State{
			down: s.ID, grpc: x.grpc, answered: x.answered, counted: x.claim.admitted, head: x.head,
			attempt: uint64(max(x.attempt, 0)), timeout: x.timeout, left: x.left, request: x.request.state(), response: x.response.state(),
		}
		if x.cluster != nil {
			state.cluster = x.cluster.name
		}
		if state.gone = x.gone || x.sent != nil && x.sent.Closed(); x.sent != nil && !state.gone {
			state.up, state.sent = x.up.conn.ID, x.sent.ID
		}
		e.http2(&state)
	})
	c.plans(&e)
	return e.b
}

// state writes a pipe down; what is in it goes ahead.
func (p *http2Pipe) state() http2PipeState {
	rest := p.buf[p.at:]
	p.x.relayBody(p.body(), rest)
	return http2PipeState{end: p.end, done: p.done, size: uint64(len(rest)), trailers: p.trailers}
}

// relayBody sends a body ahead of its connection.
func (x *http2Exchange) relayBody(what http2Body, all []byte) {
	w, c := x.w, x.client
	for from := 0; from < len(all) && w.relay != nil; from += maxRelayBody {
		e := encoder{}
		e.uint(c.id)
		e.uint(uint64(x.down.ID))
		e.byte(byte(what))
		e.uint(uint64(from))
		e.bytes(all[from:min(from+maxRelayBody, len(all))])
		r := relayState{kind: relayBody, down: c.id, frame: e.b}
		w.relay(handover.Relay{Loop: w.index, Data: r.write()})
	}
}

// maxRelayBody is how much of a body one relay carries.
const maxRelayBody = 32 << 10

// takeBody keeps what a stream has to pass on until its connection comes.
func (w *worker) takeBody(b []byte) {
	d := decoder{b: b}
	place := http2Place{client: d.uint(), stream: uint32(d.uint()), body: http2Body(d.byte())}
	from, data := d.uint(), d.bytes()
	if d.bad || place.body > http2Again {
		return
	}
	all := w.http2.bodies[place]
	if from == 0 {
		all = all[:0] // it was frozen before
	}
	if uint64(len(all)) == from {
		w.http2.bodies[place] = append(all, data...)
	}
}

func (w *worker) thawHTTP2(b *frozen) {
	if len(b.http2Ups)+len(b.http2Clients) > 0 {
		w.http2.batch /= 2 // perhaps it was too heavy all the same
	}
	for _, up := range b.http2Ups {
		up.start()
	}
	for _, c := range b.http2Clients {
		c.start()
	}
}

// start looks after the connection again after Thaw or Restore, and sends what could not be.
func (u *http2Up) start() {
	if u.conn.Closed() {
		return
	}
	u.join()
	u.again()
	u.w.loop.Start(&u.watch, beatEvery)
	u.flush()
	u.next()
}

// start lets a client's exchanges go on after Thaw or Restore.
func (c *http2Client) start() {
	if c.conn.Closed() {
		return
	}
	c.again()
	var unsent []*http2Exchange
	c.proto.Each(func(s *http2.Stream) {
		x := s.Owner.(*http2Exchange)
		if x.left > 0 {
			c.w.loop.Start(&x.timer, x.left)
			x.left = 0
		}
		if x.up == nil && !x.gone {
			unsent = append(unsent, x)
		}
		x.watchTry()
	})
	for _, x := range unsent {
		c.w.loop.Cancel(&x.wake.timer)
		x.fresh()
		x.connect(nil)
	}
	c.flush()
	c.conn.Resume()
	c.conn.Reread()
	c.pieces.resume(c.conn, c)
}

func (w *worker) releaseHTTP2(b *frozen) {
	for _, up := range b.http2Ups {
		delete(w.http2.ups, up.conn.ID)
		up.leaving = true
		up.leavePlace()
		up.host.Conns = slices.DeleteFunc(up.host.Conns, func(x *http2Up) bool { return x == up })
	}
	for _, c := range b.http2Clients {
		c.release()
		w.givenAway(c.from)
	}
}

// release forgets an exchange that has another owner.
func (x *http2Exchange) release() {
	x.over = true
	x.goal.forget() // the next owner counts how it ends
	x.part.close()
	x.w.given(x.goal.span)
	x.goal.span = nil
	x.request.release()
	x.request.setTrailers(nil)
	x.response.release()
	x.response.setTrailers(nil)
	x.uncopy()
	x.unkeep()
	x.forget()
	x.claim.release()
}

func (w *worker) restoreHTTP2Endpoint(fd int, s *connState) (restored, error) {
	c := w.clusterNamed(s.cluster)
	up := &http2Up{cluster: c, opened: true, leaving: s.leaving, used: w.loop.Now()}
	up.w, up.dead = w, s.image.Lingering
	if rest, err := up.proto.Parse(s.http2); err != nil || len(rest) > 0 {
		return restored{}, fmt.Errorf("%w: endpoint connection %x: %d bytes too many, %w", errState, s.image.ID, len(rest), err)
	}
	up.host, up.place = c.streams().Adopt(s.endpoint), c.limits.Connections
	up.place.Force()
	up.conn, up.watch.Owner = w.loop.Restore(fd, s.image, up), up
	w.http2.ups[up.conn.ID] = up
	return restored{conn: up.conn, http2Up: up}, nil
}

func (w *worker) restoreHTTP2Client(fd int, s *connState) (restored, error) {
	c := w.newHTTP2Client(s.image.ID, w.current(&s.listener))
	c.dead = s.image.Lingering // it has broken the protocol, or was dismissed
	rest, err := c.proto.Parse(s.http2)
	if err == nil {
		err = c.restoreExchanges(rest)
	}
	if err != nil {
		c.release()
		return restored{}, fmt.Errorf("client connection %x: %w", s.image.ID, err)
	}
	c.conn = w.loop.Restore(fd, s.image, c)
	c.conn.Press(true)
	return restored{conn: c.conn, http2Client: c}, nil
}

// release forgets a client that has another owner.
func (c *http2Client) release() {
	delete(c.w.http2.clients, c.id)
	c.proto.Each(func(s *http2.Stream) {
		if x, _ := s.Owner.(*http2Exchange); x != nil {
			x.release()
		}
	})
}

func (c *http2Client) restoreExchanges(b []byte) error {
	d := decoder{b: b}
	n := d.uint()
	for ; n > 0 && !d.bad; n-- {
		var s http2State
		d.http2(&s)
		if d.bad || !c.restoreExchange(&s) {
			return errState
		}
	}
	if !d.bad && len(d.b) > 0 {
		c.restorePlans(&d)
	}
	bare := false
	c.proto.Each(func(s *http2.Stream) {
		if x, _ := s.Owner.(*http2Exchange); x != nil {
			x.presume()
		} else {
			bare = true
		}
	})
	if d.bad || bare || len(d.b) > 0 {
		return errState
	}
	return nil
}

func (c *http2Client) restoreExchange(s *http2State) bool {
	w := c.w
	down := c.proto.Stream(s.down)
	if down == nil || down.Owner != nil {
		return false
	}
	x := w.newHTTP2Exchange(c, down)
	x.grpc, x.answered, x.gone, x.cluster = s.grpc, s.answered, s.gone, w.clusterNamed(s.cluster)
	x.goal.span = w.tracer.take(c.id, uint64(s.down))
	x.code, x.flag = w.recorded(&x.goal.account, c.id, uint64(s.down))
	x.attempt, x.attempts, x.timeout, x.left = int(s.attempt), config.DefaultAttempts, s.timeout, s.left
	if len(s.head) > 0 {
		x.head = w.loop.Pool().Append(nil, s.head)
		c.addHeads(len(x.head))
	}
	if s.up != 0 {
		if x.up = w.http2.ups[s.up]; x.up == nil {
			return false
		}
		if x.sent = x.up.proto.Stream(s.sent); x.sent == nil || x.sent.Owner != nil {
			return false
		}
		x.sent.Owner = x
		x.claim.stay(&x.up.host.Peer)
		x.claim.told = x.answered && !x.grpc
	}
	if s.counted {
		x.claim.readmit(x.cluster, config.PriorityDefault) // of a stream nothing says which priority it had
	}
	return x.request.restore(&s.request) && x.response.restore(&s.response)
}

func (p *http2Pipe) restore(s *http2PipeState) bool {
	w, place := p.x.w, http2Place{p.x.client.id, p.x.down.ID, p.body()}
	body := w.http2.bodies[place]
	delete(w.http2.bodies, place)
	if uint64(len(body)) < s.size {
		return false
	}
	p.end, p.done = s.end, s.done
	if len(s.trailers) > 0 {
		p.setTrailers(slices.Clone(s.trailers))
	}
	if s.size > 0 {
		p.buf = w.loop.Pool().Append(nil, body[:s.size])
		w.http2.held += int(s.size)
		p.moved = w.loop.Now()
	}
	if s.size > 0 || p.end && !p.done {
		p.block()
	}
	return true
}

// dropHTTP2 forgets what was prepared and stays with the donor.
func (w *worker) dropHTTP2(r restored) {
	switch {
	case r.http2Up != nil:
		delete(w.http2.ups, r.http2Up.conn.ID)
		r.http2Up.leavePlace()
	case r.http2Client != nil:
		r.http2Client.release()
	}
}
