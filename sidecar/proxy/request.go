package proxy

import (
	"time"

	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// Bytes that may wait for one connection. A client that leaves clientQueue unread for clientPatience is closed, and at
// once beyond maxQueue; an endpoint gets no further requests beyond maxQueue: they are answered with "server busy".
// maxQueue and a frame that is being read fit into what a handover carries of one connection: nobody who does not read
// can keep a sidecar from being upgraded. Beyond maxParked, what waits for a batch of a handover is answered like that too.
const (
	clientQueue    = 1 << 20
	clientPatience = 5 * time.Second
	maxQueue       = bolt.MaxFrame + 3<<20
	maxParked      = 64 << 20
)

// request takes a complete request of d. The frame is valid during the call only.
func (w *worker) request(d *downstream, f rpcFrame) {
	w.count.Requests[d.from.Direction]++
	to := w.goal(d, f)
	if w.shape(&to, d.from, rpcSpoken(f.reply.protocol)); w.log != nil {
		w.logRPC(&to, d, f)
	}
	if w.tracer != nil {
		w.tracer.rpc(d, f, &to)
	}
	if to.mirror != nil {
		w.mirror(f, &to) // before the client can be told anything, which may end it and the frame
	}
	w.proceed(d, f, to)
}

// proceed sends a request that its route has shaped, now or after its delay. What may be sent again is kept.
func (w *worker) proceed(d *downstream, f rpcFrame, to goal) {
	if w.holds(&to, f) {
		w.hold(d, f, to)
		return
	}
	w.dispatch(d, f, to)
}

// dispatch sends a request to its goal, or keeps a copy while there is no connection to send it on.
func (w *worker) dispatch(d *downstream, f rpcFrame, to goal) {
	if to.cluster == nil {
		w.refuse(d, f, &to)
		return
	}
	if w.moving {
		w.dispatchMoving(d, f, to)
		return
	}
	up := w.reach(&to, f.reply.protocol)
	switch {
	case up == nil:
		w.refuse(d, f, &to)
	case up.conn.Open():
		w.send(up, d, f, &to)
	case up.queued > 0 && up.queued+len(f.raw) > maxQueue, !w.take(to.limits().Pending, OverPending):
		w.busy(d, f, &to)
	default:
		k := w.keep(d, f, to)
		k.pending, k.retry, w.retrying = to.limits().Pending, w.retrying, nil
		up.enqueue(k)
	}
}

// reach returns a connection to an endpoint of the goal's cluster, open or not yet. It takes one attempt off the goal for
// each endpoint that cannot be dialled; when there is none left it returns nil and says why.
func (w *worker) reach(to *goal, p config.Protocol) *upConn {
	for ; to.attempts > 0; to.missed() {
		host := pickOther(&to.cluster.Cluster, w.loop.Now(), to.hash, to.failed())
		if host == nil {
			to.why = FailNoEndpoint
			return nil
		}
		if up := w.connTo(to.cluster, host, p); up != nil {
			return up
		}
		if !to.cluster.limits.Connections.Full() {
			continue
		}
		up := w.spare(to.cluster, p)
		if w.count.Overflow[OverConnections]++; up == nil {
			to.why = FailBusy
		}
		return up
	}
	to.why = FailConnect
	return nil
}

// fixed is the cluster of a listener that sends everything to one. A client keeps it in known; it is looked up again when a
// snapshot has retired it.
func (w *worker) fixed(known **cluster, from *config.Listener) *cluster {
	if *known == nil || (*known).retired {
		*known = w.clusters[from.Cluster]
	}
	return *known
}

// send writes a request on an open connection, under an id of that connection.
func (w *worker) send(up *upConn, d *downstream, f rpcFrame, to *goal) {
	if n := up.conn.Unsent(); n > 0 && n+len(f.raw) > maxQueue {
		w.busy(d, f, to)
		return
	}
	up.used = w.loop.Now()
	to.span.SentTo(up.host.Addr)
	if f.kind == rpcOneway {
		up.cluster.requests++
		up.conn.Write(f.raw)
		if e := to.line; e != nil {
			logTries(e, up.cluster, up.host.Addr, up.used)
		}
		to.account.end(w, 0, FlagNone) // nobody says more
		to.endSpan(up.used)
		to.call.end() // nothing comes back
		return
	}
	if !w.post(up, d, f, to) {
		w.busy(d, f, to)
	}
}

// post writes a request that is answered, under an id of the connection. False when there is no room for it.
func (w *worker) post(up *upConn, d *downstream, f rpcFrame, to *goal) bool {
	slot := up.slots.Take()
	if slot == nil {
		return false
	}
	v := slot.Value.reset(up, slot)
	if !w.admit(&v.claim, up.cluster, to.priority) {
		up.slots.Free(slot)
		return false
	}
	up.cluster.requests++
	v.down, v.reply = d, f.reply
	v.claim.place(&up.host.Peer, up.used)
	v.route, v.account, v.span = to.route, to.account, to.span
	if e := v.line; e != nil {
		logTries(e, up.cluster, up.host.Addr, up.used)
	}
	if v.call = to.call; v.call != nil {
		v.call.sent(v, to)
	}
	w.loop.Start(&v.timer, to.left(up.used))
	out := up.conn.Extend(len(f.raw))
	copy(out, f.raw)
	putID(up.protocol, out, uint64(slot.ID()))
	return true
}

// answer takes a complete response of an endpoint to whoever waits for it.
func (w *worker) answer(up *upConn, f rpcFrame) {
	id, ok := f.slot()
	slot := up.slots.Find(id)
	if slot == nil || !ok {
		w.count.Late++
		return
	}
	v := &slot.Value
	if v.mirror {
		v.mirrored()
		return
	}
	v.claim.tell(f.outcome, w.loop.Now())
	if c := v.call; c != nil {
		if c.againAfter(v, f) {
			v.elsewhere()
			up.free(v)
			return
		}
		c.won(v)
	}
	if e := v.line; e != nil {
		e.Heard, e.Out = w.loop.Now(), uint64(len(f.raw))
	}
	v.ended(f.code(), FlagNone)
	v.answerSpan(f)
	to := v.reply
	d := up.free(v)
	if v.beat {
		return
	}
	if d == nil || d.gone {
		w.count.Late++
		return
	}
	w.tick(&w.count.Answered[d.from.Direction])
	if f.outcome != upstream.OutcomeOK {
		w.tick(&w.count.Errors[d.from.Direction])
	}
	w.give(d, f.answering(to))
}

// give delivers a response frame, which has the client's own id, wherever that client's connection is now.
func (w *worker) give(d *downstream, frame []byte) {
	switch {
	case d.gone:
		w.count.Late++
	case d.remote:
		w.relayResponse(d, frame)
	case d.conn.Frozen():
		d.held = append(d.held, append([]byte(nil), frame...))
	case w.sabotaged(d, frame):
	default:
		d.write(frame)
	}
}

// refuse answers a request ourselves, for the goal's reason, and forgets it. A oneway is only counted.
func (w *worker) refuse(d *downstream, f rpcFrame, to *goal) {
	to.refused(w, d, f)
	w.failSpan(to, false)
	switch {
	case f.kind == rpcOneway:
		w.count.Failed[to.why]++
	case to.why == FailLimit || to.why == FailFault:
		w.tick(&w.count.Failed[to.why])
		w.scratch = f.reply.appendStatus(w.scratch[:0], int(to.status))
		w.give(d, w.scratch)
	default:
		w.fail(d, f.reply, to.why)
	}
	to.call.end()
}

// busy refuses a request that finds no room.
func (w *worker) busy(d *downstream, f rpcFrame, to *goal) {
	to.why = FailBusy
	w.refuse(d, f, to)
}

func (w *worker) fail(d *downstream, to rpcReply, why Failure) {
	w.tick(&w.count.Failed[why])
	w.scratch = to.appendFailure(w.scratch[:0], why)
	w.give(d, w.scratch)
}

// kept is a request that waits for a connection, copied out of the read buffer.
type kept struct {
	down  *downstream // nil for a mirror's
	frame []byte
	to    goal

	pending, retry *upstream.Limit // that it holds
}

// release gives back what the request holds while it waits.
func (k *kept) release() {
	k.pending.Give()
	k.retry.Give()
	k.pending, k.retry = nil, nil
}

func (w *worker) keep(d *downstream, f rpcFrame, to goal) kept {
	return kept{down: d, frame: w.loop.Pool().Append(nil, f.raw), to: to}
}

// unwanted says that nobody waits for what the request would bring any more. A oneway brings nothing: its client may send it and leave.
func (k *kept) unwanted(f rpcFrame) bool { return k.down.gone && f.kind != rpcOneway }

// unheard ends a kept request that is unwanted.
func (w *worker) unheard(k *kept) {
	w.stray(k.down, &k.to.account, 0, FlagClientGone)
	k.to.account.end(w, 0, FlagClientGone)
	w.failSpan(&k.to, true)
	k.to.call.end()
}

// size is the memory that a kept request takes, at least.
func (k *kept) size() int { return cap(k.frame) }

// retry is again for a request whose connection has failed.
func (w *worker) retry(k kept) {
	f, err := keptFrame(k.frame)
	if l := k.to.limits().Retries; err == nil && k.down != nil && !k.unwanted(f) && k.to.attempts > 0 {
		if !w.take(l, OverRetries) {
			w.busy(k.down, f, &k.to)
			w.loop.Pool().Give(k.frame)
			return
		}
		w.retrying = l
	}
	w.again(k)
	w.retrying.Give() // unless it waits again
	w.retrying = nil
}

// again dispatches a kept request. What the client no longer waits for is dropped.
func (w *worker) again(k kept) {
	defer w.loop.Pool().Give(k.frame)
	if k.down == nil {
		w.count.MirrorDropped++
		return
	}
	f, err := keptFrame(k.frame)
	if err != nil || k.unwanted(f) {
		w.unheard(&k)
		return
	}
	if k.to.attempts < 1 {
		k.to.why = FailConnect
		w.refuse(k.down, f, &k.to)
		return
	}
	if k.to.cluster.retired {
		k.to = w.reroute(k.down, f, k.to)
	}
	w.dispatch(k.down, f, k.to)
}
