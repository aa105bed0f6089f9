package proxy

import (
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// A Bolt or Dubbo request with two tries has two ids, each on the connection of its endpoint. The end of the request is with the call;
// who loses keeps its id until its answer has come, which is late then, or never will.

// hedge sends a second try beside one that takes too long, if that may be.
func (c *call) hedge(r *config.Retry) {
	w, last := c.w, c.at
	if !w.settled() {
		w.loop.Start(&c.timer, loop.Tick) // whoever has the request afterwards decides
		return
	}
	if c.second != nil {
		last = c.second
	}
	now := w.loop.Now()
	last.claim.slow(last.up.cluster, now, last.line)
	if c.second != nil || c.hopes || !r.WantsSlow() || !r.AnyMethod || c.to.attempts <= 1 || c.down.gone || c.to.cluster.retired {
		return
	}
	h := pickOther(&c.to.cluster.Cluster, now, c.to.hash, c.at.up.host.Addr)
	if h == nil {
		c.watch() // there may be one later
		return
	}
	if !w.spend(r, &c.part, &c.retry, c.to.limits()) {
		return
	}
	switch up := w.connTo(c.to.cluster, h, c.at.reply.protocol); {
	case up == nil:
	case up.conn.Open():
		c.beside(up)
	case w.take(c.to.limits().Pending, OverPending):
		c.hopes = true
		up.hopes = append(up.hopes, hope{c, c.hope, c.to.limits().Pending})
	}
}

// beside sends the second try.
func (c *call) beside(up *upConn) {
	f, err := keptFrame(c.frame)
	if n := up.conn.Unsent(); err != nil || n > 0 && n+len(f.raw) > maxQueue {
		return
	}
	up.used = c.w.loop.Now()
	if c.w.post(up, c.down, f, &c.to) {
		c.to.attempts--
		c.to.span.SentTo(up.host.Addr)
		c.w.count.Hedged++
		c.w.retried(up.cluster, c.to.span)
	}
}

// without says that a request goes on whose try v has failed: another one is out.
func (c *call) without(v *waiting) bool {
	if c.second == nil {
		return false
	}
	if c.at == v {
		c.at = c.second
	}
	c.second = nil
	c.answeredAt(c.at)
	if !c.timer.Armed() {
		c.watch()
	}
	return true
}

// won says that v is the answer.
func (c *call) won(v *waiting) {
	if c.second == nil {
		return
	}
	if v == c.second {
		c.w.count.HedgesWon++
	}
	c.only(v)
}

// outOfTime ends the other try of a request that takes too long altogether.
func (c *call) outOfTime(v *waiting) {
	if c.second == nil {
		return
	}
	c.other(v).claim.tell(upstream.OutcomeGateway, c.w.loop.Now())
	c.only(v)
}

// only calls the try off that is not v, if there are two.
func (c *call) only(v *waiting) {
	if c.second == nil {
		return
	}
	other := c.other(v)
	c.at, c.second = v, nil
	c.answeredAt(v)
	other.elsewhere()
	other.done()
	c.w.loop.Start(&other.timer, lateFor)
}

// other is the try of two that is not v.
func (c *call) other(v *waiting) *waiting {
	if v == c.second {
		return c.at
	}
	return c.second
}

// answeredAt says for people where the request is.
func (c *call) answeredAt(v *waiting) { v.answeredBy(v.span, v.up.host.Addr, v.claim.sent) }

// hope is a second try that waits for a connection to open.
type hope struct {
	c       *call
	which   uint32 // call.hope
	pending *upstream.Limit
}

// unhope gives a second try up that was not sent: that was none.
func (c *call) unhope() {
	c.hopes = false
	c.hope++
}

// holds says that the call still hopes for this.
func (h *hope) holds() bool { return h.c.hopes && h.c.hope == h.which }

// settleHopes sends the second tries that have waited for the connection, or gives them up. failed says that it cannot be opened; one
// that is only given up was no try.
func (u *upConn) settleHopes(failed bool) {
	hopes := u.hopes
	u.hopes = nil
	for i := range hopes {
		h := &hopes[i]
		if h.pending.Give(); !h.holds() {
			continue
		}
		h.c.hopes = false
		if u.opened {
			h.c.beside(u)
			continue
		}
		if failed {
			h.c.to.attempts--
		}
		h.c.watch()
	}
}
