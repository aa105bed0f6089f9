package proxy

import (
	"sync/atomic"
	"time"

	"github.com/axlemesh/axle/sidecar/upstream"
)

// A Bolt or Dubbo request whose connection has moved while its client is still with the donor ends twice when the handover is
// given up: the donor answers its client that the handover has failed, and counts that; the endpoint's answer comes here, for
// nobody. So what is not known to have reached the donor is counted here only when the donor can not do it.

// stray is a request that has ended here and whose client is with the donor.
type stray struct {
	account
	down  *downstream
	code  Code
	flag  Flag
	ended time.Duration
	taken *atomic.Bool // the donor gets its answer; nil when that was not relayed
	also  []*uint64    // counters that go with its end
}

// count counts its end, here.
func (s *stray) count(w *worker, flag Flag) {
	s.endAt(w, s.ended, s.code, flag)
	for _, n := range s.also {
		*n++
	}
}

// stray puts the account of such a request aside until it is known who counts it. Of one whose client is not known to have gone,
// the answer is given next.
func (w *worker) stray(d *downstream, a *account, code Code, flag Flag) {
	if !w.taking || d == nil || !d.remote || a.tally == nil {
		return
	}
	s := &stray{account: *a, down: d, code: code, flag: flag, ended: w.loop.Now()}
	a.forget()
	if !d.gone {
		w.aside = s
	}
	if d.gone || w.relay == nil {
		w.strays = append(w.strays, s)
		return
	}
	w.countTaken()
	s.taken = new(atomic.Bool)
	w.sent = append(w.sent, s)
}

// tick adds one to a counter, together with the end of the request that is being answered when that was put aside.
func (w *worker) tick(n *uint64) {
	if w.aside != nil {
		w.aside.also = append(w.aside.also, n)
		return
	}
	*n++
}

// countTaken counts the requests whose answers the donor gets for sure. They are taken in the order in which they were relayed.
func (w *worker) countTaken() {
	for len(w.sent) > 0 && w.sent[0].taken.Load() {
		w.sent[0].count(w, w.sent[0].flag)
		w.sent[0], w.sent = nil, w.sent[1:]
	}
}

// EndRelay is called before a handover is given up here: what is relayed from now on does not reach the donor.
func (c candidate) EndRelay() {
	for _, w := range c.workers {
		w.loop.Call(func() { w.relay = nil })
	}
}

// Done: the donor holds nothing any more, so a client that has not come is gone. Who counts its requests is still open.
func (c candidate) Done() {
	for _, w := range c.workers {
		w.loop.Call(func() {
			w.relay = nil
			clear(w.http2.bodies)
			w.tracer.endMove()
			clear(w.records)
			clear(w.sources)
			for id, d := range w.downs {
				if d.remote {
					d.gone = true
					delete(w.downs, id)
				}
			}
		})
	}
}

// EndMove forgets the clients that stayed with the donor.
func (c candidate) EndMove() {
	c.mu.Lock()
	returned := c.hand.returned
	c.mu.Unlock()
	for _, w := range c.workers {
		w.loop.Call(func() { w.endTaking(returned) })
	}
	c.Done()
}

// endTaking counts the strays, unless the donor has them: returned says that it goes on.
func (w *worker) endTaking(returned bool) {
	w.taking = false
	if returned {
		w.leaveToDonor()
	}
	for _, s := range w.sent {
		if !returned || s.taken.Load() || !s.down.remote {
			s.count(w, s.flag)
		}
	}
	for _, s := range w.strays {
		if !returned {
			s.count(w, FlagClientGone)
		}
	}
	w.sent, w.strays = nil, nil
}

// leaveToDonor forgets the accounts of what the donor's clients still wait for here. A oneway was given away for good.
func (w *worker) leaveToDonor() {
	forget := func(k *kept) {
		if f, err := keptFrame(k.frame); k.down != nil && k.down.remote && err == nil && f.kind != rpcOneway {
			k.to.forget()
		}
	}
	for _, up := range w.ups {
		up.slots.Each(func(slot *upstream.Slot[waiting]) {
			v := &slot.Value
			if v.down == nil || !v.down.remote {
				return
			}
			if v.forget(); v.call != nil {
				v.call.to.forget()
			}
		})
		for i := range up.queue {
			forget(&up.queue[i])
		}
	}
	for c := range w.calls {
		forget(&c.kept)
	}
}
