package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/trace"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// Life of an upstream connection.
const (
	defaultConnectTimeout = time.Second
	beatEvery             = 15 * time.Second // without anything heard
	beatTimeout           = 5 * time.Second
	beatStrikes           = 3
	idleFor               = 5 * time.Minute // without a request, then it is closed
	// lateFor is how long the id of a request that timed out is not reused, so that a late answer meets nobody.
	lateFor = time.Minute
)

// cluster is one loop's view of a cluster, with its connections.
type cluster struct {
	upstream.Cluster[*upConn]
	name    string
	retired bool                           // no snapshot names it any more
	limits  upstream.Limits                // of all loops
	probes  map[netip.AddrPort]*probe      // nil without active checks
	http    *upstream.Cluster[*httpConn]   // nil until HTTP is spoken with it
	http2   *upstream.Cluster[*http2Up]    // nil until HTTP/2 is spoken with it
	mirrors *upstream.Cluster[*mirrorConn] // nil until HTTP is mirrored to it

	mirrors2 *upstream.Cluster[*http2Mirror] // and HTTP/2
	seed     uint64

	webs     int    // connections for HTTP, also those with a request
	requests uint64 // sent to its endpoints; copies are not counted
	count    ClusterCount
	traffic  loop.Traffic
	straight *tallies // of what listeners send here; nil until it is looked up
}

// connectTimeout is how long an endpoint of the cluster may take to accept a connection.
func (c *cluster) connectTimeout() time.Duration {
	if c.Config.ConnectTimeout == 0 {
		return defaultConnectTimeout
	}
	return c.Config.ConnectTimeout
}

type host = upstream.Host[*upConn]

// upConn is one connection to an endpoint, shared by the requests of many clients.
type upConn struct {
	w        *worker
	cluster  *cluster
	host     *host
	protocol config.Protocol
	conn     *loop.Conn
	place    *upstream.Limit // that it holds, of the cluster's connections
	slots    upstream.Slots[waiting]
	queue    []kept // while connecting
	queued   int    // bytes in queue
	hopes    []hope // likewise
	watch    loop.Timer
	used     time.Duration // last request
	heard    time.Duration // last bytes
	strikes  int           // heartbeats without an answer
	opened   bool
	leaving  bool // takes no further requests
	away     bool // its endpoint has said so
}

// waiting is one request that was sent and has no answer yet. It lives in its slot.
type waiting struct {
	timer loop.Timer
	up    *upConn
	slot  *upstream.Slot[waiting]
	down  *downstream // nil for our own heartbeat, and when the client has had its answer
	reply rpcReply    // to the client, with its own id
	beat  bool
	// mirror says that nobody waits: the answer is dropped. It is false again when the copy was counted.
	mirror bool
	claim  claim
	call   *call   // nil for what is not sent again
	route  *target // that has sent it; nil when its end is known
	account
	span *trace.Span   // nil for none
	told bool          // the next owner was, with its account and span; its client may have left since
	left time.Duration // of timer, while the connection is frozen
}

func (v *waiting) reset(up *upConn, slot *upstream.Slot[waiting]) *waiting {
	v.timer.Owner = v
	v.up, v.slot, v.down, v.beat, v.mirror, v.call, v.route, v.span, v.told = up, slot, nil, false, false, nil, nil, nil, false
	v.forget()
	v.claim.release()
	return v
}

// done returns the client that waited, if one still does, and ends its claim on the answer.
func (v *waiting) done() *downstream {
	d := v.down
	v.down = nil
	if v.mirror {
		v.unmirrored()
	}
	v.claim.release()
	v.leaveSpan()
	if v.call != nil {
		v.call.end()
		v.call = nil
	}
	return d
}

// free gives a slot back.
func (u *upConn) free(v *waiting) *downstream {
	d := v.done()
	u.w.loop.Cancel(&v.timer)
	u.slots.Free(v.slot)
	return d
}

// Expire answers with a timeout, and keeps the id out of use until the late answer has come or never will.
func (v *waiting) Expire() {
	if !v.beat && !v.mirror && v.down != nil {
		v.up.cluster.count.Timeouts++
	}
	if v.call != nil {
		v.call.outOfTime(v)
	}
	v.timedOut()
}

func (v *waiting) timedOut() {
	w, mirror := v.up.w, v.mirror
	v.claim.tell(upstream.OutcomeGateway, w.loop.Now())
	v.ended(v.reply.failureCode(FailTimeout), FlagOf(FailTimeout))
	v.failSpan(FailTimeout)
	d := v.done()
	switch {
	case mirror:
		w.loop.Start(&v.timer, lateFor)
	case v.beat:
		v.beat = false
		w.loop.Start(&v.timer, lateFor)
		v.up.missed()
	case d == nil:
		v.up.free(v)
		v.up.leaveIfIdle()
	default:
		w.loop.Start(&v.timer, lateFor)
		w.fail(d, v.reply, FailTimeout)
	}
}

// connTo returns a connection to h of this protocol, opening one when there are fewer than configured; nil when none can
// be opened.
func (w *worker) connTo(c *cluster, h *host, p config.Protocol) *upConn {
	var best *upConn
	n := 0
	for _, up := range h.Conns {
		if up.protocol != p {
			continue
		}
		if n++; best == nil || up.load() < best.load() {
			best = up
		}
	}
	if n < max(c.Config.Connections, 1) {
		if up := w.dial(c, h, p); up != nil {
			return up
		}
	}
	return best
}

// enqueue keeps a request until the connection is open.
func (u *upConn) enqueue(k kept) {
	u.queued += k.size()
	u.queue = append(u.queue, k)
}

func (u *upConn) load() int { return u.slots.Len() + len(u.queue) }

func (w *worker) dial(c *cluster, h *host, p config.Protocol) *upConn {
	if !c.limits.Connections.Take() && !c.first(w.spare(c, p) == nil) {
		return nil
	}
	now := w.loop.Now()
	up := &upConn{w: w, cluster: c, host: h, protocol: p, place: c.limits.Connections, used: now, heard: now}
	conn, err := w.connect(c, h.Addr, up)
	if err != nil {
		up.place.Give()
		c.unreached(&h.Peer, w.loop.Now())
		w.engine.log.V(1).Info("cannot open an upstream connection", "cluster", c.name, "reason", err.Error())
		return nil
	}
	w.count.Dialled++
	c.count.Connections++
	up.adopt(conn)
	w.loop.Start(&up.watch, c.connectTimeout())
	return up
}

// adopt makes conn the connection of u and u one of its host.
func (u *upConn) adopt(conn *loop.Conn) {
	u.conn = conn
	u.watch.Owner = u
	u.w.ups[conn.ID] = u
	if u.host.Gone {
		u.leaving = true
		return
	}
	u.host.Conns = append(u.host.Conns, u)
}

// Connected sends what has waited for the connection.
func (u *upConn) Connected(*loop.Conn) {
	u.host.Worked()
	u.opened = true
	u.heard = u.w.loop.Now()
	u.w.loop.Start(&u.watch, beatEvery)
	queue := u.queue
	u.queue, u.queued = nil, 0
	for _, k := range queue {
		k.release()
		switch f, err := keptFrame(k.frame); {
		case err != nil:
		case k.down == nil:
			u.w.sendMirror(u, f, &k.to)
		case !k.unwanted(f):
			u.w.send(u, k.down, f, &k.to)
		default:
			u.w.unheard(&k)
		}
		u.w.loop.Pool().Give(k.frame)
	}
	u.settleHopes(false)
	u.leaveIfIdle()
}

// Data takes every complete frame.
func (u *upConn) Data(c *loop.Conn, b []byte) int {
	u.heard, u.strikes = u.w.loop.Now(), 0
	return u.w.frames(c, b, u.protocol, place{u.cluster.name, true}, u)
}

func (u *upConn) frame(f rpcFrame) {
	switch f.kind {
	case rpcResponse:
		u.w.answer(u, f)
		u.leaveIfIdle()
	case rpcGoAway:
		u.goesAway()
		u.leave()
	case rpcHeartbeat:
		if u.conn.Unsent() > clientQueue {
			return // it asks and does not read
		}
		u.w.scratch = f.appendAck(u.w.scratch[:0])
		u.conn.Write(u.w.scratch)
	}
}

// goesAway leaves the endpoint alone when it has said so. A Dubbo server that is read-only is about to end, and takes new connections until then:
// it would break them off. Bolt's goaway says nothing but of its connection.
func (u *upConn) goesAway() {
	u.away = true
	if u.protocol == config.Dubbo {
		u.host.Leaves(u.w.loop.Now())
	}
}

// leave takes the connection out of use; it is closed after its last answer.
func (u *upConn) leave() {
	u.leaving = true
	u.host.Conns = without(u.host.Conns, u)
	u.leaveIfIdle()
}

func without(all []*upConn, u *upConn) []*upConn {
	return slices.DeleteFunc(all, func(x *upConn) bool { return x == u })
}

func (u *upConn) leaveIfIdle() {
	if u.leaving && u.load() == 0 && u.conn.Open() {
		u.conn.CloseAfterWrite()
	}
}

// Expire looks after a connection: it may take too long to open, have nothing to do, or be dead without a word.
func (u *upConn) Expire() {
	now := u.w.loop.Now()
	switch {
	case !u.conn.Open():
		u.conn.Close(errConnectTimeout)
		return
	case u.late():
		u.w.malformed(u.conn, place{u.cluster.name, true}, errPieces)
		return
	case u.leaving && u.load() == 0:
		u.leaveIfIdle()
	case u.load() == 0 && now-u.used >= idleFor:
		u.leave()
	case now-u.heard >= beatEvery:
		u.beat()
	}
	u.w.loop.Start(&u.watch, beatEvery)
}

// late says that the endpoint does not finish what it has begun.
func (u *upConn) late() bool {
	since, ok := unfinished(u.conn)
	return late(u.conn, since, ok)
}

var errConnectTimeout = errors.New("connect: timed out")

func (u *upConn) beat() {
	slot := u.slots.Take()
	if slot == nil {
		return
	}
	slot.Value.reset(u, slot).beat = true
	u.w.loop.Start(&slot.Value.timer, beatTimeout)
	u.w.scratch = appendHeartbeat(u.w.scratch[:0], u.protocol, slot.ID())
	u.conn.Write(u.w.scratch)
}

func (u *upConn) missed() {
	if u.strikes++; u.strikes >= beatStrikes {
		u.conn.Close(fmt.Errorf("%d heartbeats without an answer", u.strikes))
	}
}

// EOF closes: an endpoint that has ended answers nothing more.
func (u *upConn) EOF(c *loop.Conn) { c.Close(errEndpointClosed) }

var errEndpointClosed = errors.New("closed by the endpoint")

// Drained needs nothing: clients were not held up.
func (u *upConn) Drained(*loop.Conn) {}

// Closed answers everything that waits here. A request that was never sent is tried elsewhere.
func (u *upConn) Closed(_ *loop.Conn, why error) {
	w := u.w
	w.loop.Cancel(&u.watch)
	delete(w.ups, u.conn.ID)
	u.leaving = true
	u.leavePlace()
	u.host.Conns = without(u.host.Conns, u)
	w.starved(place{u.cluster.name, true}, why)
	if why != nil {
		w.engine.log.V(1).Info("upstream connection ended", "cluster", u.cluster.name, "endpoint", address.String(u.host.Addr),
			"waiting", u.slots.Len(), "reason", why.Error())
	}
	if !u.opened && why != nil {
		u.cluster.unreached(&u.host.Peer, w.loop.Now())
	}
	queue := u.queue
	u.queue = nil
	u.settleHopes(why != nil)
	for _, k := range queue {
		k.release()
		if why != nil { // else it is only given up here, and that was no attempt
			k.to.missed()
			w.retry(k)
			continue
		}
		w.again(k)
	}
	u.slots.Each(func(slot *upstream.Slot[waiting]) {
		v := &slot.Value
		if why != nil {
			v.claim.tell(upstream.OutcomeGateway, w.loop.Now())
		}
		again := v.call != nil && v.call.againLost(v)
		if again {
			v.elsewhere()
		}
		v.ended(v.reply.failureCode(FailUpstreamClosed), FlagOf(FailUpstreamClosed))
		v.failSpan(FailUpstreamClosed)
		if d := u.free(v); d != nil && !again {
			w.fail(d, v.reply, FailUpstreamClosed)
		}
	})
}
