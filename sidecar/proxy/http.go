package proxy

import (
	"errors"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
)

// Statuses of the answers that are our own.
const (
	httpNoRoute        = 404
	httpRequestTimeout = 408
	httpTooMany        = 429
	httpNotImplemented = 501
	httpBadGateway     = 502
	httpUnavailable    = 503
	httpTimeout        = 504
)

// httpClient is a client that speaks HTTP/1. It has one exchange at a time; what it sends behind the request stays unread
// until the response is complete.
type httpClient struct {
	w      *worker
	from   *config.Listener
	fixed  *cluster
	source source
	caller caller
	conn   *loop.Conn
	x      exchange
	rested time.Duration // since when it has no exchange
	seen   int           // bytes of a head that was not complete: it is read again only when that can tell more
	busy   bool          // in Data: what is left there is shown again by itself
	asked  bool          // it has sent something that is no preface of HTTP/2
	over   bool          // refused: the connection closes after our answer, and what else comes is dropped
	pieces pieces        // of a head
}

// exchange is one request and its response, on the way.
type exchange struct {
	http1.Exchange
	active   bool
	client   *httpClient
	cluster  *cluster
	up       *httpConn  // nil while no endpoint is chosen
	head     []byte     // of the request, as the endpoint gets it; kept until it cannot be needed again
	sent     bool       // the head was written to up
	request  http1.Body // what is still to come of it
	response http1.Body
	answered bool // the response's head was passed on
	tunnel   bool // bytes pass both ways; there are no messages any more
	decode   bool // the response's body goes without its chunks
	closing  bool // the client's connection closes behind the response
	repeat   bool // the request may be sent again if its connection turns out to be dead
	fresh    bool // one that had served before was dead: the next try opens another
	attempt  int
	attempts int // allowed in all
	timer    loop.Timer
	due      time.Duration // of the loop's clock, when the whole of it has to be over; 0 for never
	left     time.Duration // until due, while the connection is frozen
	moved    uint64        // bytes that its connections had read and written when the timer was started
	claim    claim
	goal     goal
	code     Code // of the answer
	flag     Flag // what is wrong
	turn     turn
	first    *httpFirst // the earlier of two tries; nil when there is one
}

func (w *worker) newHTTPClient(id uint64, from *config.Listener) *httpClient {
	c := &httpClient{w: w, from: from, rested: w.loop.Now()}
	c.x.client, c.x.timer.Owner = c, &c.x
	w.clients[id] = c
	return c
}

// Connected is not called for accepted connections.
func (c *httpClient) Connected(*loop.Conn) {}

// Data takes what the exchange can use now. When it can use nothing before the other side has moved, reading pauses.
func (c *httpClient) Data(conn *loop.Conn, b []byte) int {
	if may, whole := greeted(b); whole && may && !c.asked {
		return c.upgrade(b)
	} else if may && !c.asked {
		c.pieces.watch(conn, c)
		return 0
	}
	return c.takeAll(conn, b)
}

func (c *httpClient) takeAll(conn *loop.Conn, b []byte) int {
	c.busy, c.asked = true, true
	defer func() { c.busy = false }()
	taken := 0
	for taken < len(b) && !conn.Closed() {
		n := c.take(b[taken:])
		if n == 0 {
			break
		}
		if taken += n; conn.Handler != loop.Handler(c) {
			return taken // it has gone on in HTTP/2
		}
	}
	if taken < len(b) && !conn.Closed() {
		c.wait()
	}
	return taken
}

// wait stops reading when nothing that comes can be used now. Else a head has to be complete before long.
func (c *httpClient) wait() {
	switch {
	case c.x.stalls():
		c.conn.Pause()
	case c.full():
		c.conn.Pause()
		c.conn.TellDrained()
	case !c.x.active:
		c.pieces.watch(c.conn, c)
	}
}

// midway is in a head, or HTTP/2's preface, or in a record of TLS that is of no body and no tunnel.
func (c *httpClient) midway() (time.Duration, bool) {
	if c.x.active || c.over {
		return 0, false
	}
	return unfinished(c.conn)
}

// Partial hears of a record of TLS.
func (c *httpClient) Partial(conn *loop.Conn) {
	if !c.x.active && !c.over {
		c.pieces.watch(conn, c)
	}
}

// tooLate answers a client that does not finish a head; on a listener of HTTP/2 in its words.
func (c *httpClient) tooLate() {
	if c.from.Protocol != config.HTTP2 {
		c.reject(httpRequestTimeout, errPieces)
		return
	}
	to := c.greet()
	to.tooLate()
}

// full says that the client has to read before its next request is: who asks and never reads would have its answers pile up here.
func (c *httpClient) full() bool { return !c.x.active && !c.over && c.conn.Unsent() > highWater }

// stalls says that nothing more can be read for now, whatever comes.
func (x *exchange) stalls() bool {
	return x.active && (!x.sent || !x.tunnel && x.request.Done())
}

func (c *httpClient) take(b []byte) int {
	switch {
	case c.over:
		return len(b)
	case c.full():
		return 0
	case !c.x.active:
		return c.begin(b)
	case c.x.stalls():
		return 0
	case c.x.tunnel:
		c.x.passOn(c.conn, c.x.up.conn, b)
		return len(b)
	}
	n, err := c.x.request.Take(b)
	c.x.passOn(c.conn, c.x.up.conn, b[:n])
	if err != nil {
		c.malformed(err)
		return len(b)
	}
	return n
}

// passOn forwards b, and stops reading while too much waits for the other side.
func (x *exchange) passOn(from, to *loop.Conn, b []byte) {
	if len(b) == 0 {
		return
	}
	if e := x.goal.line; e != nil {
		if from == x.client.conn {
			e.In += uint64(len(b))
		} else {
			e.Out += uint64(len(b))
		}
	}
	to.Write(b)
	throttle(from, to)
}

// throttle stops reading from one side while too much waits for the other.
func throttle(from, to *loop.Conn) {
	if to.Unsent() > highWater {
		from.Pause()
		to.TellDrained()
	}
}

// emptyLine is what some clients send behind a request's body, and is no beginning of the next (RFC 9112 section 2.2).
const emptyLine = "\r\n"

// begin decodes a request's head and looks for an endpoint.
func (c *httpClient) begin(b []byte) int {
	if string(b) == emptyLine {
		return len(b)
	}
	if !(http1.Limits{}).More(b, c.seen) {
		return 0
	}
	req := &c.w.httpRequest
	req.Reset()
	n, err := req.Decode(b, http1.Limits{})
	if c.seen = 0; errors.Is(err, http1.ErrShort) {
		c.seen = len(b)
		return 0
	}
	if err == nil {
		if taken, is := c.h2c(req, n, b); is {
			return taken
		}
	}
	if c.from.Protocol == config.HTTP2 {
		return c.upgrade(b) // and is told what is wrong with it
	}
	if err != nil {
		c.malformed(err)
		return len(b)
	}
	c.w.count.Requests[c.from.Direction]++
	x := &c.x
	x.Exchange, x.request = req.Exchange(), req.Body
	x.active, x.attempt = true, 0
	x.repeat = req.Body.Done() && repeatable(req.Method)
	if left, limited := req.MaxForwards(); limited && left == 0 {
		if c.w.enter(&x.goal, c.from, SpokenHTTP1); c.w.log != nil {
			c.logHTTP(&x.goal, req)
		}
		x.flag = FlagOf(FailRule)
		x.reply(httpLastHop(req.Method))
		return n
	}
	return n + c.route(req, n, b[n:])
}

// route sends a request where its route says. It returns how much of what has come behind the head it has kept with it.
func (c *httpClient) route(req *http1.Request, n int, rest []byte) (kept int) {
	x := &c.x
	to := c.goal(req, rest)
	to.probe = c.w.engine.shedding.Load() > 0 && probes(req.Method, req.Value)
	if c.w.shape(&to, c.from, SpokenHTTP1); c.w.log != nil {
		c.logHTTP(&to, req)
	}
	traceparent := ""
	if c.w.tracer != nil {
		traceparent = c.w.tracer.web(c, req, &to)
	}
	x.goal, x.cluster, x.attempts = to, to.cluster, int(to.attempts)
	if to.cluster == nil && to.delay == 0 {
		kept = x.skip(rest)
	}
	if x.refused(req, &to) {
		return kept
	}
	if x.cluster != nil && !c.w.admit(&x.claim, x.cluster, to.priority) {
		kept = x.skip(rest)
		x.fail(httpUnavailable, FailBusy)
		return kept
	}
	if to.retry() != nil {
		x.turn.part.open(to.route.plan.budget)
	}
	x.forward(req, n, traceparent)
	if to.mirror != nil {
		c.mirror(req, x.head, rest, &to)
	}
	kept = x.whole(req, rest)
	if to.delay > 0 {
		x.turn.start(x, turnDelay, to.delay)
		return kept
	}
	x.limit(to.timeout)
	x.connect()
	return kept
}

// repeatable names the methods that do the same when they are done twice (RFC 9110 section 9.2.2).
func repeatable(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// httpLastHop is the status of a TRACE or OPTIONS that may go no further (RFC 9110 section 7.6.2).
func httpLastHop(method []byte) int {
	if string(method) == "OPTIONS" {
		return 200
	}
	return 405
}

// malformed refuses what no client may send.
func (c *httpClient) malformed(why error) {
	status := 400
	if format := (*http1.FormatError)(nil); errors.As(why, &format) {
		status = format.Status
	}
	c.reject(status, why)
}

// reject ends a client that broke the protocol: with an answer, if none has begun, and without reading on.
func (c *httpClient) reject(status int, why error) {
	c.w.count.Malformed++
	c.w.complain("refusing a client that broke the protocol", place{name: c.from.Name}, why)
	c.x.drop()
	if !c.x.answered {
		c.x.code = CodeOf(status)
	}
	c.x.ended(FlagMalformed)
	c.x.failSpan(spanMalformed, status)
	if c.x.active && c.x.answered {
		c.conn.Close(why)
		return
	}
	c.refuse(status)
}

// refuse answers and closes.
func (c *httpClient) refuse(status int) {
	c.over = true
	c.w.scratch = http1.AppendReply(c.w.scratch[:0], status, c.x.Minor, true)
	c.conn.Write(c.w.scratch)
	c.conn.CloseAfterWrite()
}

// EOF ends the connection when the client has got what is written, but for a request that is complete and waits, and for a tunnel's
// other direction.
func (c *httpClient) EOF(conn *loop.Conn) {
	switch {
	case c.over: // it ends as soon
	case c.x.active && c.x.tunnel:
		c.x.up.conn.FinishWrite()
	case c.x.active && c.x.request.Done():
		c.x.closing = true
	case c.x.active:
		conn.Close(nil)
	default:
		c.over = true
		conn.CloseAfterWrite()
	}
}

// Drained lets the endpoint's response go on, or the next request begin.
func (c *httpClient) Drained(*loop.Conn) {
	c.refill()
	c.waits()
}

// refill reads on what the endpoint has, that of both tries.
func (c *httpClient) refill() {
	if first := c.x.first; first != nil {
		first.up.conn.Resume()
	}
	if up := c.x.up; up != nil && !up.conn.Closed() {
		up.conn.Resume()
	}
}

// Closed gives up the exchange.
func (c *httpClient) Closed(conn *loop.Conn, why error) {
	delete(c.w.clients, conn.ID)
	c.pieces.stop()
	c.x.drop()
	if errors.Is(why, loop.ErrSlow) && c.x.flag == FlagNone {
		c.x.flag = FlagSlow
	}
	if c.x.tunnel {
		c.x.ended(FlagNone)
	}
	c.x.ended(FlagClientGone)
	c.x.goneSpan()
	c.x.active = false
	c.w.closed(c.from, why)
}
