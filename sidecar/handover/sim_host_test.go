package handover

import (
	"encoding/binary"
	"slices"
)

const (
	connActive = iota
	connFrozen
	connPrepared
)

// pconn is a process's view of a connection.
type pconn struct {
	id, state int
	batch     uint64
	open      []reqID // down: read, not answered
	pending   []reqID // up: forwarded, not answered
	held      []frame // for a frozen connection
}

// frame is what crosses between generations: a request to an upstream connection, or the answer to one.
type frame struct {
	answer bool
	up     int
	req    reqID
}

func (f frame) encode() []byte {
	a := byte(0)
	if f.answer {
		a = 1
	}
	return []byte{a, byte(f.up), byte(f.req.down), byte(f.req.seq)}
}

func decodeFrame(b []byte) frame {
	return frame{answer: b[0] == 1, up: int(b[1]), req: reqID{int(b[2]), int(b[3])}}
}

// proc is one process: a machine, and a host in the role of donor or candidate.
type proc struct {
	w         *world
	id        int
	m         machine
	inbox     []Event
	answers   []Event  // of the host, to be seen before the inbox
	acts      []Action // to do before anything else
	timer     uint64   // armed
	conns     []*pconn
	accepting bool
	moving    bool  // relays may go
	cut       bool  // relays cannot go any more
	parts     bool  // batches may have some
	rest      []int // of the batch that is frozen: what has not been offered
	failNext  bool
	hungUp    bool // its end of the socket is closed
	dead      bool
	result    *Result
}

// left reports whether the process has exited in good order.
func (p *proc) left() bool {
	return p.id == 0 && p.result != nil && p.result.OK && p.hungUp && p.w.dirs[0].ended
}
func (p *proc) alive() bool { return !p.dead && !p.left() }

func (p *proc) conn(id int) *pconn {
	if id < len(p.conns) {
		return p.conns[id]
	}
	return nil
}

func (p *proc) put(c *pconn) {
	for len(p.conns) <= c.id {
		p.conns = append(p.conns, nil)
	}
	p.conns[c.id] = c
}

// open makes a fresh connection this process's own.
func (p *proc) open(id int) {
	p.w.socks[id].owner = p.id
	p.put(&pconn{id: id})
}

// io checks that this process alone may touch a connection.
func (p *proc) io(id int) *sock {
	s := p.w.socks[id]
	if s.owner != p.id || s.closed {
		p.w.failf("process %d touches connection %d of process %d (closed %v)", p.id, id, s.owner, s.closed)
	}
	return s
}

// busy reports whether the process's handover has something to do.
func (p *proc) busy() bool { return !p.hungUp && len(p.acts)+len(p.answers)+len(p.inbox) > 0 }

// step does the next action, or handles the next event: answers of the host first. The traffic goes on in between, unless
// the world is coarse.
func (p *proc) step() {
	p.stepOnce()
	for p.w.coarse && p.busy() {
		p.stepOnce()
	}
}

func (p *proc) stepOnce() {
	switch {
	case len(p.acts) > 0:
		a := p.acts[0]
		p.acts = p.acts[1:]
		p.w.log("  %d: %s", p.id, a)
		if ans := p.do(a); ans != nil {
			p.answers = append(p.answers, *ans)
		}
	case len(p.answers) > 0:
		e := p.answers[0]
		p.answers = p.answers[1:]
		p.acts = slices.Clone(p.m.Step(e))
	default:
		e := p.inbox[0]
		p.inbox = p.inbox[1:]
		p.acts = slices.Clone(p.m.Step(e))
	}
	if p.result != nil && len(p.acts) == 0 {
		p.hungUp = true
		p.inbox = nil
		p.w.dirs[1-p.id].kernel = nil
		p.w.dirs[p.id].closing = true
	}
}

func (p *proc) do(a Action) *Event {
	d := p.w.dirs[p.id]
	switch a.Kind {
	case ActSend:
		if !d.ended && !d.closing {
			d.queue = append(d.queue, a.Message)
		}
	case ActTimer:
		p.timer = 0
		if a.After > 0 {
			p.timer = a.Seq
		}
	case ActFence:
		p.w.dirs[1-p.id].fenced = true
	case ActCloseSend:
		d.closing = true
	case ActLife:
		return &Event{Kind: EventLife, Sure: true, Dead: p.w.procs[1-p.id].dead || p.w.procs[1-p.id].left()}
	case ActEnd:
		if p.result != nil {
			p.w.failf("process %d ended twice", p.id)
		}
		r := a.Result
		p.result = &r
	case ActDiscard, ActPhase, ActPlan:
	default:
		return p.host(a)
	}
	return nil
}

// fails reports, once, that the host was told to fail.
func (p *proc) fails() string {
	if !p.failNext {
		return ""
	}
	p.failNext = false
	return "told to fail"
}

func (p *proc) host(a Action) *Event {
	switch a.Kind {
	case ActWarm:
		return &Event{Kind: EventWarmed, Err: p.fails()}
	case ActReady:
		return &Event{Kind: EventReady, Err: p.fails()}
	case ActPauseAccept, ActStopAccept:
		p.accepting = false
	case ActResumeAccept, ActAccept:
		p.accepting = true
	case ActBeginMove:
		p.moving, p.parts = true, a.Parts
	case ActEndMove:
		p.endMove()
	case ActFreeze:
		if err := p.fails(); err != "" {
			return &Event{Kind: EventFrozen, Err: err}
		}
		if len(p.rest) == 0 {
			p.rest = p.freeze(a.ID, a.Limit)
		}
		return &Event{Kind: EventFrozen, Batch: p.part(a.ID)}
	case ActThaw:
		p.rest = nil
		p.each(a.ID, func(c *pconn) { c.state = connActive })
	case ActRelease, ActDrop:
		p.each(a.ID, func(c *pconn) { p.conns[c.id] = nil })
	case ActPrepare:
		if err := p.fails(); err != "" {
			return &Event{Kind: EventPrepared, ID: a.ID, Err: err}
		}
		for _, c := range a.Message.Batch.Conns {
			s := p.w.states[binary.BigEndian.Uint64(c.State)]
			p.put(&pconn{id: s.id, state: connPrepared, batch: a.ID, open: slices.Clone(s.open), pending: slices.Clone(s.pending)})
		}
		return &Event{Kind: EventPrepared, ID: a.ID}
	case ActActivate:
		p.each(a.ID, func(c *pconn) { c.state = connActive })
	case ActRelayed:
		for _, r := range a.Message.Relays {
			p.relayed(decodeFrame(r.Data))
		}
	}
	return nil
}

// each calls f for the connections of a batch, then works off what was held for them.
func (p *proc) each(batch uint64, f func(*pconn)) {
	var held []frame
	for _, c := range p.conns {
		if c == nil || c.batch != batch || c.state == connActive {
			continue
		}
		f(c)
		held = append(held, c.held...)
		c.held = nil
	}
	for _, fr := range held {
		p.handle(fr)
	}
}

// freeze takes upstream connections first: they have the lower numbers.
func (p *proc) freeze(id uint64, limit int) (all []int) {
	for _, c := range p.conns {
		if c == nil || c.state != connActive || len(all) == limit {
			continue
		}
		if len(all) > 0 && p.w.socks[c.id].up != p.w.socks[all[0]].up {
			break
		}
		c.state, c.batch = connFrozen, id
		all = append(all, c.id)
	}
	return all
}

// part writes down what is frozen, or one connection of it.
func (p *proc) part(id uint64) Batch {
	n := len(p.rest)
	if p.parts {
		n = min(n, 1)
	}
	b := Batch{ID: id, More: n < len(p.rest)}
	for _, i := range p.rest[:n] {
		c := p.conns[i]
		p.w.states = append(p.w.states, pconn{id: c.id, open: slices.Clone(c.open), pending: slices.Clone(c.pending)})
		state := binary.BigEndian.AppendUint64(nil, uint64(len(p.w.states)-1))
		b.Conns = append(b.Conns, Conn{FD: c.id, State: state})
	}
	p.rest = p.rest[n:]
	return b
}

// read takes one unit from a connection: a request from a client, or an answer from a server.
func (p *proc) read(id int) {
	s, c := p.io(id), p.conn(id)
	req := s.toProxy[0]
	s.toProxy = s.toProxy[1:]
	if !s.up {
		c.open = append(c.open, req)
		p.handle(frame{up: id % p.ups(), req: req})
		return
	}
	i := slices.Index(c.pending, req)
	if i < 0 {
		p.w.failf("process %d got an answer on %d to a request %v that it does not know", p.id, id, req)
		return
	}
	c.pending = slices.Delete(c.pending, i, i+1)
	p.handle(frame{answer: true, up: id, req: req})
}

// ups is how many upstream connections there are; every client's requests go to one of them.
func (p *proc) ups() int {
	n := 0
	for n < len(p.w.socks) && p.w.socks[n].up {
		n++
	}
	return max(1, n)
}

// relayed takes a frame from the other generation. What the candidate is sent must be here: only the donor bounces.
func (p *proc) relayed(f frame) {
	id := f.up
	if f.answer {
		id = f.req.down
	}
	if c := p.conn(id); p.id == 1 && (c == nil || c.state != connActive) {
		p.w.failf("the candidate got a frame %+v for a connection that it does not serve", f)
	}
	p.handle(f)
}

// handle brings a frame to its connection, here or there.
func (p *proc) handle(f frame) {
	id := f.up
	if f.answer {
		id = f.req.down
	}
	c := p.conn(id)
	switch {
	case c != nil && c.state == connFrozen:
		c.held = append(c.held, f)
	case c != nil && c.state == connActive && f.answer:
		p.reply(c, f.req, false)
	case c != nil && c.state == connActive:
		s := p.io(id)
		p.w.served[f.req]++
		s.toServer = append(s.toServer, f.req)
		c.pending = append(c.pending, f.req)
	case p.moving:
		d := p.w.dirs[p.id]
		if !d.closing && !d.ended {
			d.queue = append(d.queue, Message{Kind: KindRelay, Version: 1, Relays: []Relay{{Data: f.encode()}}})
		}
	case !f.answer: // nobody can be asked any more: an error reply
		if dc := p.conn(f.req.down); dc != nil && dc.state == connActive {
			p.reply(dc, f.req, true)
		}
	case !p.cut:
		p.w.failf("process %d has nowhere to take %+v", p.id, f)
	}
}

// reply answers a client, unless that was done before the link was cut.
func (p *proc) reply(c *pconn, req reqID, isError bool) {
	i := slices.Index(c.open, req)
	if i < 0 {
		if !p.cut {
			p.w.failf("process %d answers %v twice", p.id, req)
		}
		return
	}
	c.open = slices.Delete(c.open, i, i+1)
	s := p.io(c.id)
	s.answers[req.seq]++
	if isError {
		s.errors++
	}
}

// endMove cuts the link: what waits for the other side is answered with an error.
func (p *proc) endMove() {
	p.moving, p.cut = false, true
	for _, c := range p.conns {
		if c == nil || p.w.socks[c.id].up {
			continue
		}
		if c.state != connActive {
			p.w.failf("process %d ends the move with connection %d in state %d", p.id, c.id, c.state)
			continue
		}
		for _, req := range slices.Clone(c.open) {
			if !slices.ContainsFunc(p.conns, func(u *pconn) bool { return u != nil && slices.Contains(u.pending, req) }) {
				p.reply(c, req, true)
			}
		}
	}
}
