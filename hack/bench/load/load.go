package load

import (
	"fmt"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/axlemesh/axle/hack/bench/epoll"
	"github.com/axlemesh/axle/hack/bench/proc"
)

// Config of one run.
type Config struct {
	Addr string
	// Protocol to speak. HTTP has one request at a time on a connection: in the open loop, one that is due takes a connection
	// that is free, or waits for one.
	Protocol Protocol
	// Certs is the folder of the certificates, for TLS.
	Certs string
	// Size of the payload, both ways.
	Size int
	// Connections and requests in Flight on each. In the open loop Flight only bounds how many can wait.
	Connections, Flight int
	// Rate of the open loop in requests per second; 0 is the closed loop, which keeps everything in flight.
	Rate float64
	// Warm is not measured; Window is.
	Warm, Window time.Duration
	// PID of the proxy whose usage is read at both ends of the window; 0 for none.
	PID int
	// Metrics is where the proxy tells its counters, in the closed loop; empty when it does not.
	Metrics string
	// Now is the clock.
	Now func() time.Time
}

// Result of one run.
type Result struct {
	Requests int64   `json:"requests"`
	Errors   int64   `json:"errors"`
	RPS      float64 `json:"rps"`
	P50US    float64 `json:"p50us"`
	P99US    float64 `json:"p99us"`
	MeanUS   float64 `json:"meanus"`
	// CPU of the proxy in microseconds for one request, and its read and write calls for one request.
	CPU    float64 `json:"cpu"`
	Reads  float64 `json:"reads"`
	Writes float64 `json:"writes"`
	// Allocations of the proxy for one request, without those of opening connections; -1 where it does not tell.
	Allocations float64 `json:"allocations"`
}

// patience is how long a request of the open loop waits for a connection, and everything for the first answer, before the
// proxy counts as too slow.
const patience = 2 * time.Second

// peer is one connection of the generator.
type peer struct {
	*epoll.Conn
	client client
	due    []time.Duration // by slot: when the request was due
	tokens []uint64        // by slot: what its answer must carry; 0 for a free slot
	free   []uint32
	dirty  bool
}

// generator is one run. Times are durations since its start.
type generator struct {
	cfg    Config
	dialer dialer
	poller *epoll.Poller
	peers  []*peer
	byFD   map[int32]*peer
	dirty  []*peer
	start  time.Time
	hist   *hdr.Histogram
	seq    uint64
	done   int64
	next   int
	rec    bool
}

// Run opens the connections and sends until the window is over. An answer that is wrong, and a connection that ends, end
// the run with an error: there is nothing to measure then.
func Run(cfg Config) (Result, error) {
	d, err := newDialer(cfg.Protocol, cfg.Size, cfg.Certs)
	if err != nil {
		return Result{}, err
	}
	p, err := epoll.New()
	if err != nil {
		return Result{}, err
	}
	g := &generator{cfg: cfg, dialer: d, poller: p, byFD: map[int32]*peer{}, hist: hdr.New(100, 60_000_000_000, 3), start: cfg.Now()}
	for range cfg.Connections {
		if err := g.open(); err != nil {
			return Result{}, err
		}
	}
	if cfg.Rate == 0 {
		return g.run(g.closed)
	}
	return g.run(g.opened())
}

func (g *generator) open() error {
	conn, talk, err := g.dialer.dial("", g.cfg.Addr)
	if err != nil {
		return err
	}
	if err := epoll.Prepare(conn.FD); err != nil {
		return err
	}
	n := g.cfg.Flight
	c := &peer{Conn: conn, client: talk, due: make([]time.Duration, n), tokens: make([]uint64, n)}
	for s := n - 1; s >= 0; s-- {
		c.free = append(c.free, uint32(s))
	}
	g.peers = append(g.peers, c)
	g.byFD[int32(conn.FD)] = c
	g.mark(c) // it may have something to say first
	return g.poller.Add(conn.FD)
}

func (g *generator) now() time.Duration { return g.cfg.Now().Sub(g.start) }

// run calls turn until the time is over and reads the proxy's usage at both ends of the window.
func (g *generator) run(turn func() error) (Result, error) {
	g.start = g.cfg.Now()
	for g.now() < g.cfg.Warm {
		if err := turn(); err != nil {
			return Result{}, err
		}
	}
	count := tally{url: g.cfg.Metrics}
	if err := count.begin(); err != nil {
		return Result{}, err
	}
	before, err := g.usage()
	if err != nil {
		return Result{}, err
	}
	g.rec = true
	from := g.now()
	// On a machine that is busy otherwise a short window may bring nothing; the first answer ends it then.
	for g.now() < from+g.cfg.Window || g.done == 0 && g.now() < from+patience {
		if err := turn(); err != nil {
			return Result{}, err
		}
	}
	took := g.now() - from
	after, err := g.usage()
	if err != nil {
		return Result{}, err
	}
	if g.done == 0 {
		return Result{}, fmt.Errorf("no answer from %s in %v", g.cfg.Addr, took)
	}
	n := float64(g.done)
	r := Result{
		Requests: g.done, RPS: n / took.Seconds(),
		P50US: float64(g.hist.ValueAtQuantile(50)) / 1000, P99US: float64(g.hist.ValueAtQuantile(99)) / 1000,
		MeanUS: g.hist.Mean() / 1000,
		CPU:    float64((after.CPU - before.CPU).Nanoseconds()) / 1000 / n,
		Reads:  float64(after.Reads-before.Reads) / n, Writes: float64(after.Writes-before.Writes) / n,
	}
	return r, count.end(&r)
}

func (g *generator) usage() (proc.Usage, error) {
	if g.cfg.PID == 0 {
		return proc.Usage{}, nil
	}
	return proc.Read(g.cfg.PID)
}

// closed keeps every slot busy.
func (g *generator) closed() error {
	for _, c := range g.peers {
		g.fill(c)
	}
	if err := g.flush(); err != nil {
		return err
	}
	return g.answers(10 * time.Millisecond)
}

// fill sends as much as a connection may have in flight.
func (g *generator) fill(c *peer) {
	for len(c.free) > 0 && c.client.Room() {
		g.send(c, g.now())
	}
}

// opened returns the turn of the open loop: request k is due at k/rate, on the connections in turn, and its latency counts
// from then, so that a stall is not hidden.
func (g *generator) opened() func() error {
	k := 0
	gap := float64(time.Second) / g.cfg.Rate
	return func() error {
		var due time.Duration
		full := false
		for due = time.Duration(float64(k) * gap); due <= g.now(); due = time.Duration(float64(k) * gap) {
			c := g.idle()
			if full = c == nil; full {
				break
			}
			g.send(c, due)
			k++
		}
		if err := g.flush(); err != nil {
			return err
		}
		switch now := g.now(); {
		case full && now-due > patience:
			return fmt.Errorf("a request has waited %v for a connection: %s does not keep up with %v/s", patience, g.cfg.Addr, g.cfg.Rate)
		case full:
			return g.answers(patience)
		default:
			return g.answers(max(due-now, 0))
		}
	}
}

// idle returns the next connection, in turn, that has room for a request; nil when none has.
func (g *generator) idle() *peer {
	for range g.peers {
		c := g.peers[g.next]
		g.next = (g.next + 1) % len(g.peers)
		if len(c.free) > 0 && c.client.Room() {
			return c
		}
	}
	return nil
}

func (g *generator) send(c *peer, due time.Duration) {
	slot := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	g.seq++
	c.due[slot], c.tokens[slot] = due, g.seq
	c.Out = c.client.Request(c.Out, slot, g.seq)
	g.mark(c)
}

// mark has what a connection wants to say written by the next flush.
func (g *generator) mark(c *peer) {
	if !c.dirty {
		c.dirty = true
		g.dirty = append(g.dirty, c)
	}
}

func (g *generator) flush() error {
	for _, c := range g.dirty {
		c.dirty = false
		if !c.Flush(g.poller) {
			return fmt.Errorf("%s closed a connection", g.cfg.Addr)
		}
	}
	g.dirty = g.dirty[:0]
	return nil
}

// answers waits for at most d and handles what has come; in the closed loop each answer makes room for a request.
func (g *generator) answers(d time.Duration) error {
	for _, ev := range g.poller.Wait(d) {
		c := g.byFD[ev.Fd]
		if !c.Fill() {
			return fmt.Errorf("%s closed a connection", g.cfg.Addr)
		}
		if err := g.take(c); err != nil {
			return fmt.Errorf("answer of %s: %w", g.cfg.Addr, err)
		}
		if g.cfg.Rate == 0 {
			g.fill(c)
		}
		if !c.Flush(g.poller) {
			return fmt.Errorf("%s closed a connection", g.cfg.Addr)
		}
	}
	return g.flush()
}

// take checks every answer that a connection has brought.
func (g *generator) take(c *peer) error {
	t, used := g.now(), 0
	for {
		a, out, err := c.client.Answer(c.In[used:c.Have], c.Out)
		if err != nil {
			return err
		}
		c.Out = out
		if a.N == 0 {
			c.Used(used)
			return nil
		}
		used += a.N
		if !a.Done {
			continue
		}
		if int(a.Slot) >= len(c.tokens) || a.Token == 0 || c.tokens[a.Slot] != a.Token {
			return fmt.Errorf("id %d, token %d: %w", a.Slot, a.Token, errWrong)
		}
		c.tokens[a.Slot] = 0
		c.free = append(c.free, a.Slot)
		if g.rec {
			g.done++
			_ = g.hist.RecordValue(max(int64(t-c.due[a.Slot]), 100)) // longer than a minute does not happen
		}
	}
}
