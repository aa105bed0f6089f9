package proxy

import "github.com/axlemesh/axle/sidecar/upstream"

// A Bolt or Dubbo request whose connection has moved while its client is still with the donor ends twice when the handover is
// given up: the donor answers its client that the handover has failed, and counts that; the endpoint's answer comes here, for
// nobody. So what is not known to have reached the donor is counted here only when the donor can not do it.

// stray is a request whose end the donor has not learnt of.
type stray struct {
	account
	code Code
}

// stray puts the account of such a request aside until it is known who counts it.
func (w *worker) stray(d *downstream, a *account, code Code) {
	if w.taking && d != nil && d.remote && (d.gone || w.relay == nil) && a.tally != nil {
		w.strays = append(w.strays, stray{*a, code})
		a.forget()
	}
}

// EndRelay is called before a handover is given up here: what is relayed from now on does not reach the donor.
func (c candidate) EndRelay() {
	for _, w := range c.workers {
		w.loop.Call(func() { w.relay = nil })
	}
}

// Done: the donor holds nothing any more, so a client that has not come is gone.
func (c candidate) Done() { c.EndMove() }

// EndMove forgets the clients that stayed with the donor.
func (c candidate) EndMove() {
	c.mu.Lock()
	returned := c.hand.returned
	c.mu.Unlock()
	for _, w := range c.workers {
		w.loop.Call(func() {
			w.endTaking(returned)
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

// endTaking counts the strays, unless the donor has them: returned says that it goes on.
func (w *worker) endTaking(returned bool) {
	w.taking = false
	if returned {
		w.leaveToDonor()
	}
	for i := range w.strays {
		if s := &w.strays[i]; !returned {
			s.end(w, s.code, FlagClientGone)
		}
	}
	w.strays = nil
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
