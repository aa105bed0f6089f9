package proxy

import (
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/handover"
)

// A relay carries what crosses between two generations while only one side of a request has moved: upstream connections
// move first, so the candidate sends the requests of clients that are still with the donor.
type relayKind uint8

const (
	// relayRequest, donor to candidate: a client that is still with the donor asks.
	relayRequest relayKind = iota + 1
	// relayAnswer, in both directions: an answer for a client. The donor sends one back when the client has moved meanwhile.
	relayAnswer
	// relayGone, donor to candidate: that client has ended.
	relayGone
	// relayCounters, donor to candidate: what was counted since WARM, as JSON.
	relayCounters
	// relayBody, donor to candidate: what an HTTP/2 stream has to pass on, ahead of its connection.
	relayBody
	// relaySpans, donor to candidate: spans of requests, ahead of their connections.
	relaySpans
	// relayRecords, donor to candidate: the accounts of requests, ahead of their connections.
	relayRecords
	// relaySources, donor to candidate: what PROXY headers have said of connections, ahead of them.
	relaySources
)

// awaited is a request that the candidate answers, and whose end it counts, unless the handover is given up before it has.
type awaited struct {
	down  *downstream
	reply rpcReply
	account
}

// relayed names a request that the candidate answers for a client of the donor.
type relayed struct {
	down uint64
	id   uint64
}

// relayState is one relay, written down.
type relayState struct {
	kind     relayKind
	down     uint64 // the client's connection
	listener config.Listener
	frame    []byte
}

func (r *relayState) write() []byte {
	var e encoder
	e.byte(byte(r.kind))
	e.uint(r.down)
	if r.kind == relayRequest {
		e.listener(&r.listener)
	}
	if r.kind != relayGone {
		e.bytes(r.frame)
	}
	return e.b
}

func parseRelay(b []byte) (r relayState, ok bool) {
	d := decoder{b: b}
	r.kind, r.down = relayKind(d.byte()), d.uint()
	if r.kind == relayRequest {
		d.listener(&r.listener)
	}
	if r.kind != relayGone {
		r.frame = d.bytes()
	}
	return r, !d.bad && len(d.b) == 0 && r.kind >= relayRequest && r.kind <= relaySources
}

// relayRequest sends a client's request to the candidate, which has the upstream connections.
func (w *worker) relayRequest(d *downstream, f rpcFrame, to *goal) {
	if w.relay == nil {
		to.why = FailHandover
		w.refuse(d, f, to)
		return
	}
	if f.kind != rpcOneway {
		w.relayed[relayed{d.id, f.reply.id}] = awaited{d, f.reply, to.account}
	}
	if to.span != nil {
		w.tracer.relay(d, f, to)
	}
	r := relayState{kind: relayRequest, down: d.id, listener: *d.from, frame: f.raw}
	w.relay(handover.Relay{Loop: w.index, Data: r.write()})
	to.forget()
	to.call.end()
}

// relayResponse sends an answer to the donor, which has the client.
func (w *worker) relayResponse(d *downstream, frame []byte) {
	s := w.aside
	if w.aside = nil; w.relay == nil {
		w.count.Late++ // the donor has died, and the client with it
		return
	}
	r := relayState{kind: relayAnswer, down: d.id, frame: frame}
	to := handover.Relay{Loop: d.home, Data: r.write()}
	if s != nil {
		to.Taken = s.taken
	}
	w.relay(to)
}

// relayClosed tells the candidate that a client has ended with the donor.
func (w *worker) relayClosed(d *downstream) {
	if w.relay != nil {
		r := relayState{kind: relayGone, down: d.id}
		w.relay(handover.Relay{Loop: w.index, Data: r.write()})
	}
}

// answered takes an answer from the candidate. A client that has moved meanwhile gets it there: it goes back. After an
// abort it comes too late: endMove has answered everything.
func (w *worker) answered(r relayState) {
	f, err := keptFrame(r.frame)
	if err != nil {
		return
	}
	if !w.moving {
		w.count.Late++
		return
	}
	delete(w.relayed, relayed{r.down, f.reply.id})
	if d := w.downs[r.down]; d != nil {
		w.give(d, r.frame)
		return
	}
	w.bounce(r.down, r.frame)
}

func (w *worker) bounce(down uint64, frame []byte) {
	if w.relay != nil {
		r := relayState{kind: relayAnswer, down: down, frame: frame}
		w.relay(handover.Relay{Loop: w.index, Data: r.write()})
	}
}

// fromDonor takes a relay on the side of the candidate; home is the donor's loop.
func (w *worker) fromDonor(r relayState, home int) {
	switch r.kind {
	case relayRequest:
		f, err := keptFrame(r.frame)
		if err != nil {
			return
		}
		d := w.remote(r.down, home, w.current(&r.listener))
		to := w.goal(d, f)
		w.enter(&to, d.from, rpcSpoken(f.reply.protocol))
		if w.log != nil {
			w.logRPC(&to, d, f)
		}
		to.span = w.tracer.take(r.down, f.reply.id)
		w.proceed(d, f, to)
	case relayAnswer:
		if d := w.downs[r.down]; d != nil && !d.remote {
			w.give(d, r.frame)
		} else {
			w.count.Late++ // its client ended in between
		}
	case relayBody:
		w.takeBody(r.frame)
	case relaySpans:
		w.tracer.takeSpans(r.frame)
	case relayRecords:
		w.takeRecords(r.frame)
	case relaySources:
		w.takeSources(r.frame)
	case relayGone:
		if d := w.downs[r.down]; d != nil && d.remote {
			d.gone = true
			delete(w.downs, d.id)
		}
	}
}

// remote returns the client with this connection, which may still be with the donor.
func (w *worker) remote(id uint64, home int, from *config.Listener) *downstream {
	d := w.downs[id]
	if d == nil {
		d = w.newDownstream(id, from)
		d.remote, d.home = true, home
	}
	if from.Name != "" {
		d.from = from // a request that waits names the direction only
	}
	return d
}
