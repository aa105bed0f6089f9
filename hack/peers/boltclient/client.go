// Package boltclient is a strict Bolt v1 client for tests, load and the demo. It holds long-lived connections, sends at a fixed
// rate whatever comes back, never retries anything, and counts everything that a caller of a perfect network would
// never see. It cooperates with a sidecar: it looks for one on localhost, and moves its calls there and back.
package boltclient

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/axlemesh/axle/hack/peers/meshstate"
	"github.com/axlemesh/axle/hack/peers/pace"
	"github.com/axlemesh/axle/hack/peers/tally"
	"github.com/axlemesh/axle/hack/peers/wire"
)

// Config of a Client. Direct, Rate and Now have no default.
type Config struct {
	// Name is in every request's header map.
	Name string
	// Connections that are held open; 1 by default.
	Connections int
	// InFlight is how many requests one connection may wait for; 1 by default. What is due beyond that waits its turn,
	// and its latency counts from when it was due.
	InFlight int
	// Rate of requests per second over all connections.
	Rate float64
	// Direct is the address (host:port) to call when there is no sidecar.
	Direct string
	// Mesh is the sidecar's address for calls; empty means that the client never looks for a sidecar.
	Mesh string
	// MeshState is the URL of the sidecar's state; meshstate.DefaultURL by default.
	MeshState string
	// Poll is how often the state is asked for; 500 ms by default.
	Poll time.Duration
	// Timeout of a request; 3 s by default.
	Timeout time.Duration
	// Heartbeat is how often each connection sends one; 0 means never.
	Heartbeat time.Duration
	// OnewayEvery makes every n-th message a oneway; 0 means none.
	OnewayEvery int
	// Payload is how many bytes a request carries besides its identity.
	Payload int
	// Service is the routing key; DefaultService by default.
	Service string
	// Now is the clock.
	Now func() time.Time
}

// DefaultService is the service that the demo's servers provide.
const DefaultService = "com.axlemesh.demo.Ledger:1.0"

func (c Config) defaulted() Config {
	c.Connections = max(c.Connections, 1)
	c.InFlight = max(c.InFlight, 1)
	if c.MeshState == "" {
		c.MeshState = meshstate.DefaultURL
	}
	if c.Poll <= 0 {
		c.Poll = 500 * time.Millisecond
	}
	if c.Timeout <= 0 {
		c.Timeout = 3 * time.Second
	}
	if c.Service == "" {
		c.Service = DefaultService
	}
	return c
}

// Client is one client process's worth of connections. Make it with New, run it with Run.
type Client struct {
	cfg     Config
	id      uint64
	header  []byte
	payload []byte
	slots   []*slot
	stats   *tally.Tally
	mesh    meshstate.Source

	mu     sync.Mutex
	paused bool
	via    Via // where calls are meant to go
	work   sync.WaitGroup
}

// The names that users of this package need most.
type (
	// Report is everything that the client has counted since it started.
	Report = tally.Report
	// Window is a named stretch of time with the latencies of the requests that ended in it.
	Window = tally.Window
	// Connection is one connection as it is now.
	Connection = tally.Connection
	// Via says which way a connection takes.
	Via = meshstate.Via
)

// The two ways, and the latency window that a client starts with.
const (
	Direct      = meshstate.Direct
	Mesh        = meshstate.Mesh
	FirstWindow = tally.FirstWindow
)

// New returns a client that has not opened anything yet.
func New(cfg Config) (*Client, error) {
	cfg = cfg.defaulted()
	if cfg.Direct == "" || cfg.Rate <= 0 || cfg.Now == nil {
		return nil, fmt.Errorf("client %q: Direct, Rate and Now are required", cfg.Name)
	}
	c := &Client{cfg: cfg, stats: tally.New(cfg.Now()), id: rand.Uint64(), payload: make([]byte, cfg.Payload), via: Direct}
	for i := range c.payload {
		c.payload[i] = byte('A' + i%26)
	}
	c.header = wire.AppendPair(c.header, "service", cfg.Service)
	c.header = wire.AppendPair(c.header, "sofa_head_target_service", cfg.Service)
	c.header = wire.AppendPair(c.header, "sofa_head_method_name", "post")
	c.header = wire.AppendPair(c.header, "sofa_head_target_app", "ledger")
	c.header = wire.AppendPair(c.header, "client", cfg.Name)
	for i := range cfg.Connections {
		c.slots = append(c.slots, &slot{c: c, n: uint32(i)})
	}
	return c, nil
}

// Run opens the connections, then sends until ctx ends; what is in flight then is waited for, and everything is closed.
// It fails only when a first connection cannot be opened before ctx ends.
func (c *Client) Run(ctx context.Context) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer c.work.Wait()
	defer end()
	for _, s := range c.slots {
		if err := s.open(ctx, life); err != nil {
			c.shut()
			return fmt.Errorf("open connection %d: %w", s.n, err)
		}
	}
	c.spawn(func() { c.sweep(life) })
	c.spawn(func() { c.stats.WatchStalls(life, c.cfg.Now) })
	if c.cfg.Mesh != "" {
		c.spawn(func() { c.follow(life) })
	}
	next := 0
	pace.Run(ctx, pace.Config{Rate: c.cfg.Rate, Now: c.cfg.Now, Paused: c.isPaused}, func(due, woke time.Time) {
		c.slots[next].offer(due, woke)
		next = (next + 1) % len(c.slots)
	})
	c.Drain(context.WithoutCancel(ctx))
	c.shut()
	return nil
}

// Pause stops sending new requests. Connections stay open.
func (c *Client) Pause() { c.setPaused(true) }

// Resume sends again after a pause.
func (c *Client) Resume() { c.setPaused(false) }

// Drain waits until nothing is in flight and nothing waits, at most as long as two requests may take.
func (c *Client) Drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.cfg.Timeout)
	defer cancel()
	for c.busy() && pace.Wait(ctx, 5*time.Millisecond) {
	}
}

func (c *Client) spawn(f func()) { c.work.Go(f) }

func (c *Client) setPaused(p bool) {
	c.mu.Lock()
	c.paused = p
	c.mu.Unlock()
}

func (c *Client) isPaused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paused
}

func (c *Client) shut() {
	for _, s := range c.slots {
		s.shut()
	}
}

func (c *Client) busy() bool {
	for _, s := range c.slots {
		if s.busy() {
			return true
		}
	}
	return false
}

// target is where a new connection goes now.
func (c *Client) target() (Via, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.via == Mesh {
		return Mesh, c.cfg.Mesh
	}
	return Direct, c.cfg.Direct
}

func (c *Client) dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: c.cfg.Timeout, KeepAlive: -1}
	return d.DialContext(ctx, "tcp", addr)
}

// Handler serves the report and takes commands; see tally.Handler.
func (c *Client) Handler() http.Handler { return tally.Handler(c) }

// Enter makes name the window that latencies are counted in from now on.
func (c *Client) Enter(name string) { c.stats.Enter(name) }

// Report returns the counters now.
func (c *Client) Report() (Report, error) {
	r, err := c.stats.Report(c.cfg.Name)
	if err != nil {
		return Report{}, err
	}
	for _, s := range c.slots {
		s.mu.Lock()
		if s.current != nil {
			r.Via[s.current.via]++
			r.InFlight += s.current.calls
		}
		for _, l := range s.leaving {
			r.InFlight += l.calls
		}
		s.mu.Unlock()
	}
	return r, nil
}

// Connections lists the connections that are open now.
func (c *Client) Connections() []Connection {
	var out []Connection
	for _, s := range c.slots {
		s.mu.Lock()
		if l := s.current; l != nil {
			out = append(out, Connection{Number: s.n, Via: l.via, Local: l.conn.LocalAddr().String(), Remote: l.conn.RemoteAddr().String(), Opened: s.opened})
		}
		s.mu.Unlock()
	}
	return out
}
