package proxy

import (
	"net/netip"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
)

// highWater is how much may wait for one side before reading from the other pauses, until it is all gone.
const highWater = 256 << 10

// pair is a client's plain connection and the one to an endpoint that belongs to it. Bytes go straight through, a FIN in
// one direction too; a connection that breaks takes the other with it.
type pair struct {
	w        *worker
	from     *config.Listener
	cluster  *cluster
	host     *host
	addr     netip.AddrPort
	down, up *loop.Conn // up is nil until an endpoint is reached
	attempt  int
	timeout  loop.Timer
	over     bool
}

// side is one end of a pair, as its connection's handler.
type side struct {
	*pair
	client bool
}

func (w *worker) newPair(fd int, id uint64, from *config.Listener) {
	p := &pair{w: w, from: from}
	p.timeout.Owner = p
	conn, err := w.loop.Add(fd, id, side{p, true})
	p.down = conn
	if err != nil {
		p.over = true
		w.closed(from, err)
		return
	}
	w.pairs[id] = p
	conn.Pause() // nothing is read before there is someone to give it to
	p.connect()
}

// connect dials the next endpoint of the pair's cluster.
func (p *pair) connect() {
	if p.w.moving {
		return // whoever owns the pair after the handover dials
	}
	p.attempt++
	p.cluster = p.w.clusters[p.from.Cluster]
	if p.cluster == nil || p.cluster.Len() == 0 {
		p.w.count.Failed[FailNoEndpoint]++
		p.end(nil)
		return
	}
	p.host = p.cluster.Pick(p.w.loop.Now())
	p.addr = p.host.Addr
	up, err := p.w.loop.Dial(p.addr, p.w.engine.nextID(), side{p, false})
	if err != nil {
		p.unreachable(err)
		return
	}
	p.w.count.Dialled++
	p.up = up
	timeout := p.cluster.Config.ConnectTimeout
	if timeout == 0 {
		timeout = defaultConnectTimeout
	}
	p.w.loop.Start(&p.timeout, timeout)
}

// giveUpDial forgets a connection that is not open yet.
func (p *pair) giveUpDial() {
	if p.up != nil && p.up.Connecting() {
		up := p.up
		p.up = nil
		p.w.loop.Cancel(&p.timeout)
		up.Close(nil)
	}
}

func (p *pair) unreachable(why error) {
	p.w.loop.Cancel(&p.timeout)
	p.up = nil
	p.host.Failed(p.w.loop.Now())
	if p.attempt < maxAttempts {
		p.connect()
		return
	}
	p.w.count.Failed[FailConnect]++
	p.end(why)
}

// Expire: the endpoint took too long to accept.
func (p *pair) Expire() { p.up.Close(errConnectTimeout) }

// Connected lets the client's bytes through.
func (s side) Connected(*loop.Conn) {
	s.w.loop.Cancel(&s.timeout)
	s.host.Worked()
	s.down.Resume()
}

// Data passes everything on.
func (s side) Data(c *loop.Conn, b []byte) int {
	other := s.other()
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
	if s.over || (!s.client && s.up != c) {
		return // the pair has ended, or has given this connection up for another
	}
	if !s.client && c.Connecting() {
		s.unreachable(why)
		return
	}
	s.end(why)
}

func (p *pair) end(why error) {
	if p.over {
		return
	}
	p.over = true
	p.w.loop.Cancel(&p.timeout)
	delete(p.w.pairs, p.down.ID)
	for _, c := range []*loop.Conn{p.down, p.up} {
		if c == nil || c.Closed() {
			continue
		}
		if why != nil || !c.Open() {
			c.Close(why)
		} else {
			c.CloseAfterWrite()
		}
	}
	p.w.closed(p.from, why)
}
