package proxy

import (
	"errors"
	"net/netip"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// highWater is how much may wait for one side before reading from the other pauses, until it is all gone.
const highWater = 256 << 10

// pair is a client's plain connection and the one to an endpoint that belongs to it. Bytes go straight through, a FIN in
// one direction too; a connection that breaks takes the other with it. A pair that has ended stays until its last bytes
// are with the kernel: it counts as a client, and it moves in a handover.
type pair struct {
	w        *worker
	from     *config.Listener
	cluster  *cluster
	host     *host
	addr     netip.AddrPort
	down, up *loop.Conn // up is nil until an endpoint is reached
	attempt  int
	timeout  loop.Timer
	claim    claim // of the cluster's connections
	over     bool  // nothing is passed on any more; what was queued is still sent
	flag     Flag  // what is wrong
	account
}

// side is one end of a pair, as its connection's handler.
type side struct {
	*pair
	client bool
}

func (w *worker) newPair(a arrival, from *config.Listener) {
	p := &pair{w: w, from: from}
	p.timeout.Owner = p
	conn, err := a.add(w.loop, side{p, true})
	p.down = conn
	if err != nil {
		p.over = true
		w.closed(from, err)
		return
	}
	w.pairs[a.id] = p
	p.enter()
	conn.Pause() // nothing is read before there is someone to give it to
	if !p.over {
		p.connect()
	}
}

// connect dials the next endpoint of the pair's cluster.
func (p *pair) connect() {
	if p.w.moving {
		return // whoever owns the pair after the handover dials
	}
	p.attempt++
	p.from = p.w.current(p.from)
	p.cluster = p.w.clusters[p.from.Cluster]
	if p.cluster == nil || p.cluster.Len() == 0 {
		p.failed(FailNoEndpoint)
		p.end(nil)
		return
	}
	if !p.choose() {
		p.end(nil)
		return
	}
	up, err := p.w.connect(p.cluster, p.addr, side{p, false})
	if err != nil {
		p.unreachable(err)
		return
	}
	p.w.count.Dialled++
	p.cluster.count.Connections++
	p.up = up
	p.w.loop.Start(&p.timeout, p.cluster.connectTimeout())
}

// enter makes the account of the pair's connection.
func (p *pair) enter() {
	to := goal{cluster: p.w.clusters[p.from.Cluster]}
	if p.w.enter(&to, p.from, SpokenTCP); p.w.log != nil {
		p.logTCP(&to)
	}
	p.account = to.account
}

// failed counts why a client has got nobody to talk to.
func (p *pair) failed(why Failure) {
	p.w.count.Failed[why]++
	p.flag = FlagOf(why)
}

// choose picks the endpoint of the next attempt; false when there is none to be had. Of what a policy could hash, a plain
// connection has only its client's address.
func (p *pair) choose() bool {
	now, hash := p.w.loop.Now(), uint64(0)
	if p.cluster.Config.Balancing.Policy.Hashes() {
		hash = hashPeer(p.down)
	}
	if p.host = p.cluster.PickFor(now, hash); p.host == nil {
		p.failed(FailNoEndpoint)
		return false
	}
	if !p.w.take(p.cluster.limits.Connections, OverConnections) {
		p.failed(FailBusy)
		return false
	}
	p.claim.request = p.cluster.limits.Connections
	p.claim.place(&p.host.Peer, now)
	p.addr = p.host.Addr
	if e := p.line; e != nil {
		logTries(e, p.cluster, p.addr, now)
	}
	return true
}

// giveUpDial forgets a connection that is not open yet.
func (p *pair) giveUpDial() {
	if p.up != nil && p.up.Connecting() {
		up := p.up
		p.up = nil
		p.w.loop.Cancel(&p.timeout)
		p.claim.release()
		up.Close(nil)
	}
}

func (p *pair) unreachable(why error) {
	p.w.loop.Cancel(&p.timeout)
	p.claim.release()
	p.up = nil
	p.cluster.unreached(&p.host.Peer, p.w.loop.Now())
	if p.attempt < config.DefaultAttempts {
		p.connect()
		return
	}
	p.failed(FailConnect)
	p.end(why)
}

// Expire: the endpoint took too long to accept.
func (p *pair) Expire() { p.up.Close(errConnectTimeout) }

// legs are the connections that are not closed.
func (p *pair) legs() []*loop.Conn {
	var legs []*loop.Conn
	for _, c := range []*loop.Conn{p.down, p.up} {
		if c != nil && !c.Closed() {
			legs = append(legs, c)
		}
	}
	return legs
}

// Connected lets the client's bytes through.
func (s side) Connected(*loop.Conn) {
	s.w.loop.Cancel(&s.timeout)
	s.host.Worked()
	s.claim.tell(upstream.OutcomeOK, s.w.loop.Now())
	if e := s.line; e != nil {
		e.Heard = s.w.loop.Now()
	}
	s.down.Resume()
}

// Data passes everything on. A client that breaks off is read although it is paused, and then there may be nobody yet.
func (s side) Data(c *loop.Conn, b []byte) int {
	other := s.other()
	if s.over || other == nil {
		return len(b)
	}
	other.Write(b)
	if other.Unsent() > highWater {
		c.Pause()
		other.TellDrained()
	}
	return len(b)
}

func (s side) other() *loop.Conn {
	if s.client {
		return s.up
	}
	return s.down
}

// EOF passes the end of one direction on; the other goes on.
func (s side) EOF(*loop.Conn) {
	if s.over {
		return
	}
	if other := s.other(); other != nil {
		other.FinishWrite()
	}
}

// Drained lets the other side read again.
func (s side) Drained(*loop.Conn) {
	if other := s.other(); other != nil && !other.Closed() {
		other.Resume()
	}
}

// Closed ends the pair, after the other side has got what is queued for it when this one ended in order.
func (s side) Closed(c *loop.Conn, why error) {
	if !s.client && s.up == c {
		s.claim.release()
	}
	if errors.Is(why, loop.ErrSlow) {
		s.flag = FlagSlow
	}
	switch {
	case s.over:
		s.settle(why)
	case !s.client && s.up != c: // given up for another
	case !s.client && c.Connecting():
		s.unreachable(why)
	default:
		if why != nil && s.flag == FlagNone {
			s.flag = FlagOf(FailUpstreamClosed)
			if s.client {
				s.flag = FlagClientGone
			}
		}
		s.end(why)
	}
}

func (p *pair) end(why error) {
	if p.over {
		return
	}
	p.over = true
	p.w.loop.Cancel(&p.timeout)
	for _, c := range p.legs() {
		if why != nil || !c.Open() {
			c.Close(why)
		} else {
			c.CloseAfterWrite()
		}
	}
	p.settle(why)
}

// settle looks after a pair that has ended: it is gone when both connections are.
func (p *pair) settle(why error) {
	if len(p.legs()) > 0 || p.w.pairs[p.down.ID] != p {
		return
	}
	delete(p.w.pairs, p.down.ID)
	if e := p.line; e != nil {
		e.In, e.Out = p.down.Totals()
	}
	p.account.end(p.w, 0, p.flag)
	p.w.closed(p.from, why)
}

// state describes one of the pair's connections. Of a pair that has ended only bytes to send are left, whoever they are
// for.
func (p *pair) state(c *loop.Conn) *connState {
	if c == p.up && !p.over {
		return &connState{role: roleTCPEndpoint, cluster: p.from.Cluster, endpoint: p.addr, client: p.down.ID}
	}
	return &connState{role: roleTCPClient, listener: *p.from}
}

// carryOn follows a freeze, in the process that owns the pair now.
func (p *pair) carryOn() {
	switch {
	case p.over:
		p.settle(nil)
	case p.up == nil:
		p.attempt = 0
		p.connect()
	}
}
