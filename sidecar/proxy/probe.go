package proxy

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/codec/http1"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// probe is the active check of one endpoint: a connection (with the cluster's TLS, if it has any), a question, an answer, and then nothing for a while. One loop
// does it for all. No handover moves it: each process asks for itself.
type probe struct {
	w       *worker
	cluster *cluster
	cfg     *config.Check
	addr    netip.AddrPort
	timer   loop.Timer // to the next check, or to the end of this one
	conn    *loop.Conn // of the check that runs
	id      uint32     // of its heartbeat
	seen    int        // as in httpClient
	good    int        // checks in a row
	bad     int
	judged  bool
	healthy bool
}

// watch makes the probes of a cluster those that it should have.
func (w *worker) watch(c *cluster) {
	wanted := map[netip.AddrPort]bool{}
	if cfg := c.Config.Check; cfg != nil && w.checks(c.name) {
		for _, h := range c.Hosts() {
			wanted[h.Addr] = true
			p := c.probes[h.Addr]
			if p == nil {
				p = w.newProbe(c, h.Addr, cfg)
			}
			p.cfg = cfg
		}
	}
	for addr, p := range c.probes {
		if !wanted[addr] {
			delete(c.probes, addr)
			p.stop()
		}
	}
}

// checks says whether this loop is the one that asks a cluster's endpoints.
func (w *worker) checks(cluster string) bool {
	h := uint64(0)
	for _, c := range []byte(cluster) {
		h = mix(h ^ uint64(c))
	}
	return h%uint64(len(w.engine.workers)) == uint64(w.index)
}

func (w *worker) newProbe(c *cluster, addr netip.AddrPort, cfg *config.Check) *probe {
	p := &probe{w: w, cluster: c, addr: addr, cfg: cfg, healthy: true}
	p.timer.Owner = p
	if c.probes == nil {
		c.probes = map[netip.AddrPort]*probe{}
	}
	c.probes[addr] = p
	w.loop.Start(&p.timer, w.upTo(min(cfg.Jitter, cfg.Interval)))
	return p
}

// upTo is a duration by chance.
func (w *worker) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	w.chance++
	return time.Duration(mix(w.engine.seed^w.chance<<8^uint64(w.index)) % uint64(d))
}

func (p *probe) stop() {
	p.w.loop.Cancel(&p.timer)
	if conn := p.conn; conn != nil {
		p.conn = nil
		conn.Close(nil)
	}
}

// Expire begins a check, or ends one that takes too long.
func (p *probe) Expire() {
	if p.conn != nil {
		p.end(false)
		return
	}
	if p.w.moving { // whoever takes over asks, and a handshake would hold it up
		p.w.loop.Start(&p.timer, p.cfg.Interval)
		return
	}
	conn, err := p.w.connect(p.cluster, p.addr, p)
	if err != nil {
		p.end(false)
		return
	}
	p.conn, p.seen = conn, 0
	p.w.loop.Start(&p.timer, p.cfg.Timeout)
}

// Connected asks.
func (p *probe) Connected(c *loop.Conn) {
	switch p.cfg.Kind {
	case config.CheckTCP:
		p.end(true)
	case config.CheckHTTP:
		c.Write([]byte("GET " + p.cfg.Path + " HTTP/1.1\r\nHost: " + p.cfg.Host + "\r\nUser-Agent: axle-health-check\r\nConnection: close\r\n\r\n"))
	case config.CheckBolt:
		p.id++
		c.Write(bolt.AppendHeartbeat(nil, p.id, uint32(min(p.cfg.Timeout/time.Millisecond, 1<<31-1))))
	}
}

// Data reads the answer, as far as it matters.
func (p *probe) Data(c *loop.Conn, b []byte) int {
	if p.cfg.Kind == config.CheckBolt {
		return p.w.frames(c, b, config.Bolt, place{p.cluster.name + " (health check)", true}, p)
	}
	if p.cfg.Kind == config.CheckHTTP {
		return p.head(b)
	}
	return len(b)
}

func (p *probe) head(b []byte) int {
	if !(http1.Limits{}).More(b, p.seen) {
		return 0
	}
	res := &p.w.httpResponse
	res.Reset()
	n, err := res.Decode(b, http1.Limits{}, http1.Exchange{Minor: 1})
	switch {
	case err == http1.ErrShort: //nolint:errorlint // our own, not wrapped
		p.seen = len(b)
		return 0
	case err == nil && res.Interim():
		p.seen = 0
		return n
	}
	p.end(err == nil && res.Status >= p.cfg.Expect[0] && res.Status < p.cfg.Expect[1])
	return len(b)
}

// frame takes the answer to the heartbeat; whatever else the endpoint says is not for us.
func (p *probe) frame(f rpcFrame) {
	if f.kind == rpcResponse && f.reply.id == uint64(p.id) {
		p.end(f.outcome == upstream.OutcomeOK)
	}
}

// EOF before the answer is none.
func (p *probe) EOF(*loop.Conn) { p.end(false) }

// Drained needs nothing: a question is short.
func (p *probe) Drained(*loop.Conn) {}

// Closed likewise, unless the check is over.
func (p *probe) Closed(c *loop.Conn, _ error) {
	if p.conn == c {
		p.conn = nil
		p.end(false)
	}
}

// end counts the result and waits for the next check.
func (p *probe) end(ok bool) {
	if conn := p.conn; conn != nil {
		p.conn = nil
		conn.Close(nil)
	}
	p.count(ok)
	p.w.loop.Start(&p.timer, p.cfg.Interval+p.w.upTo(p.cfg.Jitter))
}

func (p *probe) count(ok bool) {
	if ok {
		p.good, p.bad = p.good+1, 0
	} else {
		p.good, p.bad = 0, p.bad+1
	}
	healthy := p.healthy
	switch {
	case !p.judged:
		healthy = ok
	case ok && p.good >= p.cfg.Healthy:
		healthy = true
	case !ok && p.bad >= p.cfg.Unhealthy:
		healthy = false
	}
	p.judged, p.healthy = true, healthy
	if s := p.cluster.Place.Shared; s != nil && s.Checked(p.addr, healthy) {
		p.w.engine.log.Info("a health check has another result now", "cluster", p.cluster.name,
			"endpoint", address.String(p.addr), "healthy", strconv.FormatBool(healthy))
	}
}
