package proxy

import (
	"net/netip"
	"time"

	"github.com/axlemesh/axle/sidecar/accesslog"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/trace"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// Hedging: a try that takes longer than its route's PerTry is waited for while a second one is out. Of one request at most two are
// out, and what it owes others is here, for all protocols:
//
//   - Its end is one: it is with the request, never with a try. A try that fails while another is out ends nothing but its own claim.
//   - Each try has a claim of its own: a place among the requests of its cluster, one at its endpoint, and one outcome that is told
//     there. The part of the budget and the place among the retries are the request's.
//   - In a handover a request has one try, before anything is frozen, and gets no second one until all has moved: beginMove and
//     settled. So one is written down, as ever.

// settled says that the connections of this loop are not about to move, nor those of the process before it.
func (w *worker) settled() bool { return w.relay == nil }

// spend takes what one more try of a request costs: a part of its route's budget and a place among the retries of its cluster,
// which it keeps until it ends.
func (w *worker) spend(r *config.Retry, p *part, place **upstream.Limit, limits *upstream.Limits) bool {
	if !p.again(r) {
		w.count.RetriesDenied++
		return false
	}
	return w.occupy(place, limits.Retries, OverRetries)
}

// retried counts one more try of a request.
func (w *worker) retried(c *cluster, s *trace.Span) {
	w.count.Retried++
	c.count.Retries++
	retried(s)
}

// slow tells an endpoint that its try takes longer than it may, once. line is the request's.
func (c *claim) slow(of *cluster, now time.Duration, line *accesslog.Entry) {
	if c.told {
		return
	}
	of.count.Timeouts++
	c.tell(upstream.OutcomeGateway, now)
	if line != nil {
		c.sent = line.Sent // of what has moved nothing else says it
	}
}

// fork returns what a try holds that goes on beside another one. The place among the retries is the request's and stays.
func (c *claim) fork() claim {
	try := *c
	try.retry, *c = nil, claim{retry: c.retry}
	return try
}

// join gives back what c holds for the try that it was of, and makes it of another that was forked from it.
func (c *claim) join(try *claim) {
	retry := c.retry
	c.retry = nil
	c.release()
	*c = *try
	c.retry, *try = retry, claim{}
}

// answeredBy says for people which of two tries it was.
func (a *account) answeredBy(s *trace.Span, at netip.AddrPort, sent time.Duration) {
	s.SentTo(at)
	if e := a.line; e != nil {
		e.Endpoint, e.Sent = at, sent
	}
}

// shrink leaves each request one try: that is what moves.
func (w *worker) shrink() {
	for _, up := range w.ups {
		up.slots.Each(func(slot *upstream.Slot[waiting]) {
			if c := slot.Value.call; c != nil {
				c.only(c.at)
			}
		})
	}
	for _, c := range w.clients {
		c.x.shrink()
	}
	for _, up := range w.http2.ups {
		up.shrink()
	}
}
