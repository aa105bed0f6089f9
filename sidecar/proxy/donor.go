package proxy

import (
	"encoding/json"
	"fmt"

	"github.com/axlemesh/axle/sidecar/handover"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// hand is what the engine knows of the handover that it takes part in.
type hand struct {
	batches map[uint64]*worker // frozen here, or prepared here
	relay   func(handover.Relay)
	warm    Counters // as the candidate was told
	parts   bool     // batches may have some
	weighed bool     // what has to move together is not too much

	accounts bool // as in warmState
	returned bool // the donor goes on: the handover to this process was given up
}

// Donor is this engine as the giving side of a handover.
func (e *Engine) Donor() handover.Donor { return donor{e} }

type donor struct{ *Engine }

// warmState is what a candidate is told before anything moves. Its counters are at the top, where earlier builds have them.
type warmState struct {
	Counters
	// Adaptive limits by the name of the cluster.
	Adaptive map[string]upstream.AdaptiveState `json:",omitempty"`
	// Accounts says that the accounts of requests go ahead of their connections: one that comes without has ended.
	Accounts bool `json:",omitempty"`
}

// Warm returns the counters, from which the candidate goes on, and the limits that were found out.
func (d donor) Warm() ([]byte, error) {
	warm := d.Stats().Counters
	d.mu.Lock()
	d.hand.warm = warm
	d.mu.Unlock()
	b, err := json.Marshal(warmState{Counters: warm, Adaptive: d.adaptive(), Accounts: true})
	if err != nil {
		return nil, fmt.Errorf("write down the counters: %w", err)
	}
	return b, nil
}

// PauseAccept stops accepting; connections queue in the kernel, or are the candidate's.
func (d donor) PauseAccept() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serving = false
	for _, l := range d.listeners {
		d.pause(l)
	}
	for _, w := range d.workers {
		w.loop.Call(func() {}) // what was accepted before has reached its loop now
	}
}

// ResumeAccept undoes PauseAccept.
func (d donor) ResumeAccept() { d.Serve() }

// HoldConfig is up to the owner of the configuration.
func (d donor) HoldConfig(bool) {}

// Split says whether batches may have parts.
func (d donor) Split(may bool) {
	d.mu.Lock()
	d.hand.parts = may
	d.mu.Unlock()
}

// BeginMove makes requests that find no connection here go to the candidate.
func (d donor) BeginMove(relay func(handover.Relay)) {
	d.mu.Lock()
	d.hand.batches, d.hand.relay, d.hand.weighed = map[uint64]*worker{}, relay, false
	parts := d.hand.parts
	d.mu.Unlock()
	for _, w := range d.workers {
		w.loop.Call(func() {
			w.http2.parts = parts
			w.beginMove(relay)
		})
	}
}

// EndMove serves here what is still here.
func (d donor) EndMove() {
	for _, w := range d.workers {
		w.loop.Call(w.endMove)
	}
	d.checkLeft() // the last client may have moved
}

func (w *worker) beginMove(relay func(handover.Relay)) {
	w.moving, w.relay = true, relay
	w.shrink()
	w.http2.batch = w.http2.bytes
	for _, up := range w.ups {
		if !up.opened {
			up.conn.Close(nil) // what waits for it is dispatched again, and that is relayed
		}
	}
	w.closeMirrors()
	w.dropCopies()
	w.hurryCalls()
	for _, p := range w.pairs {
		p.giveUpDial()
	}
}

func (w *worker) endMove() {
	w.moving, w.relay = false, nil
	for _, a := range w.relayed {
		switch d := a.down; {
		case d.moved:
		case d.gone:
			a.end(w, 0, FlagClientGone)
		default:
			a.end(w, a.reply.failureCode(FailHandover), FlagOf(FailHandover))
			w.fail(d, a.reply, FailHandover)
		}
	}
	clear(w.relayed)
	w.unpark()
	for _, p := range w.pairs {
		p.carryOn()
	}
	w.endMoveHTTP2()
}

// dispatchMoving sends a request on a connection that is still here. When its connections are just being given away it
// waits for that to be settled; when there is none any more, the candidate sends it.
func (w *worker) dispatchMoving(d *downstream, f rpcFrame, to goal) {
	first := pickOther(&to.cluster.Cluster, w.loop.Now(), to.hash, to.failed())
	if up := to.cluster.open(first, f.reply.protocol); up != nil {
		w.send(up, d, f, &to)
		return
	}
	switch {
	case w.pending == 0:
		w.relayRequest(d, f, &to)
	case w.parkedBytes > maxParked:
		w.busy(d, f, &to)
	default:
		k := w.keep(d, f, to)
		w.parkedBytes += k.size()
		w.parked = append(w.parked, k)
	}
}

// relayParked sends the parked requests of a client on whose connection is the candidate's from now on.
func (w *worker) relayParked(d *downstream) {
	rest := w.parked[:0]
	for _, k := range w.parked {
		if k.down != d {
			rest = append(rest, k)
			continue
		}
		w.parkedBytes -= k.size()
		if f, err := keptFrame(k.frame); err == nil {
			w.relayRequest(d, f, &k.to)
		}
		w.loop.Pool().Give(k.frame)
	}
	w.parked = rest
}

// unpark dispatches what has waited for a batch.
func (w *worker) unpark() {
	parked := w.parked
	w.parked, w.parkedBytes = nil, 0
	for _, k := range parked {
		w.again(k)
	}
}

// pick chooses what a batch has, limit connections at most.
type pick = func(w *worker, b *frozen, limit int)

// inOrder are those of HTTP/2 first, then those to endpoints, then plain pairs, then clients.
var inOrder = []pick{
	(*worker).pickHTTP2, (*worker).pickUps, (*worker).pickPairs, (*worker).pickHTTP, (*worker).pickDowns, (*worker).pickAccepted,
}

// freezeNext takes the next connections, in order.
func (d donor) freezeNext(id uint64, limit int) (handover.Batch, error) {
	if err := d.weighHTTP2(); err != nil {
		return handover.Batch{}, err
	}
	for i := range inOrder {
		for _, w := range d.workers {
			if batch, _, err := d.freezeOf(w, id, limit, inOrder[i:i+1]); err != nil || len(batch.Conns) > 0 {
				return batch, err
			}
		}
	}
	return handover.Batch{}, nil
}

// freezeLast takes what freezeNext has passed by: a client that shows its protocol meanwhile is something else from then on. It
// looks at all of a loop at once. again says that one may still come to be something else.
func (d donor) freezeLast(id uint64, limit int) (batch handover.Batch, again bool, err error) {
	for _, w := range d.workers {
		batch, unsettled, err := d.freezeOf(w, id, limit, inOrder)
		if err != nil || len(batch.Conns) > 0 {
			return batch, false, err
		}
		again = again || unsettled
	}
	return batch, again, nil
}

// freezeOf takes what the first of picks that finds something finds, in one turn of the loop. unsettled says that connections are
// between two owners there.
func (d donor) freezeOf(w *worker, id uint64, limit int, picks []pick) (batch handover.Batch, unsettled bool, err error) {
	batch = handover.Batch{ID: id, Loop: w.index}
	if !w.loop.Call(func() {
		for i := 0; i < len(picks) && len(batch.Conns) == 0 && err == nil; i++ {
			batch.Conns = w.freeze(id, limit, picks[i])
			err = w.http2.tooMuch
		}
		batch.More = len(batch.Conns) > 0 && w.frozen[id].unwritten()
		unsettled = w.shakes.running+w.shakes.opening > 0
	}) {
		err = fmt.Errorf("freeze batch %d: loop %d has ended", id, w.index)
	}
	if err != nil {
		return handover.Batch{}, false, err
	}
	if len(batch.Conns) > 0 {
		d.mu.Lock()
		d.hand.batches[id] = w
		d.mu.Unlock()
	}
	return batch, unsettled, nil
}

// relayCounters tells the candidate what was counted since it was warmed: counters never go back.
func (d donor) relayCounters() {
	total := d.Stats().Counters
	since := total
	d.mu.Lock()
	since.sub(&d.hand.warm)
	d.hand.warm = total
	relay := d.hand.relay
	d.mu.Unlock()
	if b, err := json.Marshal(since); err == nil && relay != nil {
		relay(handover.Relay{Data: (&relayState{kind: relayCounters, frame: b}).write()})
	}
}

// Thaw resumes a batch here.
func (d donor) Thaw(id uint64) { d.settle(id, (*worker).thaw) }

// Release forgets a batch that the candidate owns now.
func (d donor) Release(id uint64) { d.settle(id, (*worker).releaseBatch) }

func (d donor) settle(id uint64, do func(*worker, *frozen)) {
	d.mu.Lock()
	w := d.hand.batches[id]
	delete(d.hand.batches, id)
	d.mu.Unlock()
	if w == nil {
		return
	}
	w.loop.Call(func() {
		b := w.frozen[id]
		delete(w.frozen, id)
		if len(b.ups) > 0 {
			w.pending--
		}
		do(w, b)
		if w.pending == 0 {
			w.unpark()
		}
	})
}

// Relayed takes a frame from the candidate.
func (d donor) Relayed(r handover.Relay) {
	state, ok := parseRelay(r.Data)
	if !ok || r.Loop < 0 || r.Loop >= len(d.workers) || state.kind != relayAnswer {
		d.log.Info("dropped a relay from the candidate that makes no sense", "loop", r.Loop)
		return
	}
	w := d.workers[r.Loop]
	w.loop.Post(func() { w.answered(state) })
}
