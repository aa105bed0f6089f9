package proxy

import (
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// limit starts the exchange's clock: all of it has to be over within timeout, when there is one, and something has to move
// every config.Forgotten. A tunnel has no clock.
func (x *exchange) limit(timeout time.Duration) {
	w := x.client.w
	if x.due = 0; timeout > 0 {
		x.due = w.loop.Now() + timeout
	}
	x.watch()
}

// watch looks at the exchange again when it may be over.
func (x *exchange) watch() {
	w := x.client.w
	next := config.Forgotten
	if x.due > 0 {
		next = min(next, max(x.due-w.loop.Now(), 0))
	}
	x.moved = x.bytes()
	w.loop.Start(&x.timer, next)
}

// bytes counts what the exchange's connections have read and written.
func (x *exchange) bytes() uint64 {
	rx, tx := x.client.conn.Totals()
	if x.up != nil {
		r, t := x.up.conn.Totals()
		rx, tx = rx+r, tx+t
	}
	return rx + tx
}

// Expire ends an exchange whose time is over, or that stands still.
func (x *exchange) Expire() {
	if x.due > 0 && x.client.w.loop.Now() >= x.due || x.bytes() == x.moved {
		x.claim.tell(upstream.OutcomeGateway, x.client.w.loop.Now())
		if x.up != nil {
			x.cluster.count.Timeouts++
		}
		x.fail(httpTimeout, FailTimeout)
		return
	}
	x.watch()
}

// Speaks says that the client is in the middle of a body: many read their answer when that is sent.
func (c *httpClient) Speaks() bool { return c.x.active && !c.x.tunnel && !c.x.request.Done() }

// Reads lets a response go on a bit that waits for a client which reads slowly: its endpoint may be a proxy that gives up a peer which
// takes nothing for long.
func (c *httpClient) Reads() {
	if c.x.active && c.conn.Unsent() <= highWater {
		c.refill()
	}
}
