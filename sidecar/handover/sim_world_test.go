package handover

import (
	"fmt"
	"slices"
)

// The simulation: both machines, two hosts that hold connections, clients and servers around them, and a socket between
// them that delays, tears and dies. Everything that can happen next is a choice; a schedule is a sequence of choices.
// Nothing in it depends on time or on goroutines, so a seed or a list of choices replays it.

// Choices. Those from chTear on are faults.
const (
	chSend    = iota // the writer of a process gets its next message into the kernel
	chRecv           // the reader of a process takes the next message out of the kernel
	chStep           // a process handles its next event
	chClient         // a client writes its next request
	chServer         // a server answers the oldest request of an upstream connection
	chRead           // a process reads a connection
	chConnect        // a client connects
	chAccept         // a process accepts
	chTear           // the socket breaks in both directions
	chTimer          // the armed timer fires
	chCrash          // a process dies
	chCancel         // a process wants out
	chFail           // the next answer of a process's host is an error
	chBroken         // a process reads garbage
	chGiveUp         // a process that closes its sending side stops trying
)

var chNames = []string{"send", "recv", "step", "client", "server", "read", "connect", "accept", "tear", "timer", "crash", "cancel", "fail", "broken", "giveup"}

type choice struct{ op, who, arg int }

func (c choice) String() string { return fmt.Sprintf("%s/%d/%d", chNames[c.op], c.who, c.arg) }

// sock is a TCP connection: down ones come from clients, up ones go to servers.
type sock struct {
	id       int
	up       bool
	owner    int
	closed   bool
	toProxy  []reqID // unread by the proxy
	toServer []reqID // unread by the server (up)
	sent     int     // requests written by the client (down)
	answers  []int   // per request: how often it was answered
	errors   int     // of those, how many were error replies
}

// reqID names a request: the client's connection and the number on it.
type reqID struct{ down, seq int }

// dir is one direction of the handover socket.
type dir struct {
	queue   []Message // not sent yet
	kernel  []Message // sent, not received yet
	fenced  bool      // the receiver has shut it down
	closing bool      // the sender is about to end
	ended   bool      // the sender has ended
	eof     bool      // the receiver has been told
}

type world struct {
	procs    [2]*proc
	dirs     [2]*dir // dirs[i] is written by procs[i]
	socks    []*sock
	backlog  []int
	served   map[reqID]int // how often a server saw a request
	states   []pconn       // frozen states; a Conn.State is an index into it
	torn     bool
	coarse   bool // a process handles all its events, with all their actions, at once
	faults   int
	crashes  int
	maxReqs  int
	maxSocks int
	fails    []string
	trace    []choice
	log      func(string, ...any)
}

type simConfig struct {
	downs, ups, limit, reqs, connects int
	coarse                            bool
	parts                             [2]bool // known to the donor, to the candidate
}

func newWorld(cfg simConfig) *world {
	w := &world{served: map[reqID]int{}, maxReqs: cfg.reqs, coarse: cfg.coarse, log: func(string, ...any) {}}
	self := Hello{From: 1, To: 2, Headroom: -1, Versions: Range{MinVersion, MaxVersion}}
	hello := func(parts bool) Hello {
		if h := self; parts {
			h.Features = FeatureParts
			return h
		}
		return self
	}
	w.procs[0] = &proc{w: w, id: 0, accepting: true, m: NewDonorMachine(DonorConfig{Self: hello(cfg.parts[0]), Descriptors: -1, BatchLimit: cfg.limit})}
	w.procs[1] = &proc{w: w, id: 1, m: NewCandidateMachine(CandidateConfig{Self: hello(cfg.parts[1])})}
	w.dirs = [2]*dir{{}, {}}
	for range cfg.ups {
		w.procs[0].open(w.newSock(true))
	}
	for range cfg.downs {
		w.procs[0].open(w.newSock(false))
	}
	w.maxSocks = len(w.socks) + cfg.connects
	for _, p := range w.procs {
		p.inbox = []Event{{Kind: EventStart}}
	}
	return w
}

func (w *world) newSock(up bool) int {
	s := &sock{id: len(w.socks), up: up, owner: -1, answers: make([]int, w.maxReqs)}
	w.socks = append(w.socks, s)
	return s.id
}

func (w *world) failf(format string, args ...any) {
	w.fails = append(w.fails, fmt.Sprintf(format, args...))
}

// choices lists what can happen next, faults last.
func (w *world) choices(faults bool) []choice {
	var cs []choice
	for i, p := range w.procs {
		if !p.alive() {
			continue
		}
		out, in := w.dirs[i], w.dirs[1-i]
		if !out.ended && (len(out.queue) > 0 || out.closing) {
			cs = append(cs, choice{chSend, i, 0})
		}
		if !p.hungUp && (len(in.kernel) > 0 || !in.eof && w.endOfInput(i)) {
			cs = append(cs, choice{chRecv, i, 0})
		}
		if p.busy() {
			cs = append(cs, choice{chStep, i, 0})
		}
		for id, c := range p.conns {
			if c != nil && c.state == connActive && len(w.socks[id].toProxy) > 0 {
				cs = append(cs, choice{chRead, i, id})
			}
		}
		if len(w.backlog) > 0 && p.accepting {
			cs = append(cs, choice{chAccept, i, 0})
		}
	}
	for id, s := range w.socks {
		if !s.up && !s.closed && s.sent < w.maxReqs {
			cs = append(cs, choice{chClient, 0, id})
		}
		if s.up && !s.closed && len(s.toServer) > 0 {
			cs = append(cs, choice{chServer, 0, id})
		}
	}
	if len(w.socks) < w.maxSocks {
		cs = append(cs, choice{chConnect, 0, 0})
	}
	if faults {
		cs = append(cs, w.faultChoices()...)
	}
	return cs
}

func (w *world) faultChoices() []choice {
	var cs []choice
	if !w.torn {
		cs = append(cs, choice{chTear, 0, 0})
	}
	for i, p := range w.procs {
		if !p.alive() {
			continue
		}
		cs = append(cs, choice{chCrash, i, 0})
		if p.hungUp {
			continue
		}
		if p.timer > 0 {
			cs = append(cs, choice{chTimer, i, 0})
		}
		if w.dirs[i].closing && !w.dirs[i].ended {
			cs = append(cs, choice{chGiveUp, i, 0})
		}
		cs = append(cs, choice{chCancel, i, 0}, choice{chFail, i, 0}, choice{chBroken, i, 0})
	}
	return cs
}

// endOfInput reports whether nothing more can come to process i.
func (w *world) endOfInput(i int) bool {
	peer := w.procs[1-i]
	return !peer.alive() || peer.hungUp && w.dirs[1-i].ended || w.torn || w.dirs[1-i].fenced
}

func (w *world) apply(c choice) {
	w.trace = append(w.trace, c)
	p := w.procs[c.who]
	if c.op >= chTear {
		w.faults++
	}
	switch c.op {
	case chSend:
		w.send(c.who)
	case chRecv:
		w.recv(c.who)
	case chStep:
		p.step()
	case chClient:
		s := w.socks[c.arg]
		s.toProxy = append(s.toProxy, reqID{c.arg, s.sent})
		s.sent++
	case chServer:
		s := w.socks[c.arg]
		s.toProxy = append(s.toProxy, s.toServer[0])
		s.toServer = s.toServer[1:]
	case chRead:
		p.read(c.arg)
	case chConnect:
		w.backlog = append(w.backlog, w.newSock(false))
	case chAccept:
		p.open(w.backlog[0])
		w.backlog = w.backlog[1:]
	case chTear:
		w.torn = true
	case chTimer:
		p.inbox = append(p.inbox, Event{Kind: EventTimer, Seq: p.timer})
		p.timer = 0
	case chCrash:
		w.crash(c.who)
	case chCancel:
		p.inbox = append(p.inbox, Event{Kind: EventCancel, Reason: "cancelled"})
	case chFail:
		p.failNext = true
	case chBroken:
		p.inbox = append(p.inbox, Event{Kind: EventBroken, Reason: "garbage"})
	case chGiveUp:
		w.dirs[c.who].queue = nil
		w.endSend(c.who)
	}
	for _, p := range w.procs {
		if w.coarse && p.alive() && p.busy() {
			p.step()
		}
	}
	w.closeUnheld()
}

// send moves one message into the kernel, or finds that the other side takes none.
func (w *world) send(i int) {
	d, peer := w.dirs[i], w.procs[1-i]
	if len(d.queue) == 0 || d.fenced || w.torn || !peer.alive() || peer.hungUp {
		d.queue = nil
		w.endSend(i)
		return
	}
	m := d.queue[0]
	d.queue = d.queue[1:]
	d.kernel = append(d.kernel, m)
	if m.Kind == KindResumed { // the fact on which everything hangs
		for _, c := range w.procs[i].conns {
			if c != nil && c.state == connPrepared && c.batch == m.ID {
				w.socks[c.id].owner = i
			}
		}
	}
	if m.Kind == KindResumed || m.Kind == KindBye {
		w.procs[i].inbox = append(w.procs[i].inbox, Event{Kind: EventSent, Message: m})
	}
}

func (w *world) endSend(i int) {
	d := w.dirs[i]
	if !d.ended {
		d.ended = true
		w.procs[i].inbox = append(w.procs[i].inbox, Event{Kind: EventSendEnd})
	}
}

func (w *world) recv(i int) {
	d := w.dirs[1-i]
	if len(d.kernel) == 0 {
		d.eof = true
		w.procs[i].inbox = append(w.procs[i].inbox, Event{Kind: EventEOF})
		return
	}
	m := d.kernel[0]
	d.kernel = d.kernel[1:]
	w.procs[i].inbox = append(w.procs[i].inbox, Event{Kind: EventMessage, Message: m})
}

func (w *world) crash(i int) {
	w.crashes++
	p := w.procs[i]
	p.dead, p.accepting, p.conns, p.inbox, p.acts, p.answers = true, false, nil, nil, nil, nil
	w.dirs[i].queue, w.dirs[1-i].kernel = nil, nil
}

// closeUnheld closes what nobody holds a descriptor of. Only the death of its owner may do that.
func (w *world) closeUnheld() {
	for _, s := range w.socks {
		if s.owner < 0 || s.closed || w.held(s.id) {
			continue
		}
		s.closed = true
		if !w.procs[s.owner].dead {
			w.failf("connection %d was closed although its owner %d lives", s.id, s.owner)
		}
	}
}

func (w *world) held(id int) bool {
	holds := func(m Message) bool {
		return slices.ContainsFunc(m.Batch.Conns, func(c Conn) bool { return c.FD == id })
	}
	for i, p := range w.procs {
		if !p.alive() {
			continue
		}
		if id < len(p.conns) && p.conns[id] != nil {
			return true
		}
		if slices.ContainsFunc(p.acts, func(a Action) bool { return a.Kind == ActPrepare && holds(a.Message) }) {
			return true
		}
		if slices.ContainsFunc(p.inbox, func(e Event) bool { return holds(e.Message) }) {
			return true
		}
		if !p.hungUp && slices.ContainsFunc(w.dirs[1-i].kernel, holds) {
			return true
		}
	}
	return false
}

// settled checks a world in which nothing is left to do.
func (w *world) settled() {
	donor, cand := w.procs[0], w.procs[1]
	for i, p := range w.procs {
		if p.alive() && p.result == nil {
			w.failf("process %d never ended", i)
		}
	}
	if len(w.fails) > 0 {
		return
	}
	for _, s := range w.socks {
		w.settledSock(s)
	}
	// A donor that lives serves; one that left or died leaves that to a candidate which says ok.
	if donor.alive() && !donor.accepting {
		w.failf("the donor serves, but does not accept")
	}
	if cand.alive() && cand.result.OK && !cand.accepting {
		w.failf("the candidate took over, but does not accept")
	}
	if w.faults == 0 && (donor.result == nil || cand.result == nil || !donor.result.OK || !cand.result.OK) {
		w.failf("no fault, and yet: donor %+v candidate %+v", donor.result, cand.result)
	}
	if donor.result != nil && donor.result.OK {
		for _, c := range donor.conns {
			if c != nil {
				w.failf("the donor left with connection %d", c.id)
			}
		}
	}
}

func (w *world) settledSock(s *sock) {
	if s.closed || s.up || s.owner < 0 {
		return
	}
	for seq := range s.sent {
		if n := s.answers[seq]; n != 1 {
			w.failf("request %d of connection %d was answered %d times", seq, s.id, n)
		}
		if n := w.served[reqID{s.id, seq}]; n > 1 || n == 0 && w.faults == 0 {
			w.failf("request %d of connection %d reached a server %d times", seq, s.id, n)
		}
	}
	if s.errors > 0 && w.faults == 0 {
		w.failf("connection %d got %d error replies without any fault", s.id, s.errors)
	}
}
