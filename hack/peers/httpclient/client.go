// Package httpclient is a strict HTTP/1.1 client for tests, load and the demo. It holds keep-alive connections with one request
// at a time on each, sends at a fixed rate whatever comes back, never retries anything, and counts everything that a
// caller of a perfect network would never see. It cooperates with a sidecar: it looks for one on localhost, and moves
// its calls there and back.
package httpclient

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
)

// Config of a Client. Direct, Rate and Now have no default.
type Config struct {
	// Name is in every request.
	Name string
	// Connections that are held open; 1 by default. Each has one request in flight; what is due beyond that waits its turn,
	// and its latency counts from when it was due.
	Connections int
	// Rate of requests per second over all connections.
	Rate float64
	// Direct is the address (host:port) to call when there is no sidecar.
	Direct string
	// Host is what the requests say they are for, which is what a sidecar routes by; Direct by default.
	Host string
	// Path of the requests; /ledger by default.
	Path string
	// Fields are further header fields of every request, each "Name: value".
	Fields []string
	// Mesh is the sidecar's address for calls; empty means that the client never looks for a sidecar.
	Mesh string
	// Absolute makes requests through the sidecar say the whole URI, as to a forward proxy.
	Absolute bool
	// MeshState is the URL of the sidecar's state; meshstate.DefaultURL by default.
	MeshState string
	// Poll is how often the state is asked for; 500 ms by default.
	Poll time.Duration
	// Timeout of a request; 3 s by default.
	Timeout time.Duration
	// ChunkEvery makes the body of every n-th request, and so of its answer, chunked; 0 means none.
	ChunkEvery int
	// Payload is how many bytes a request carries besides its identity.
	Payload int
	// Now is the clock.
	Now func() time.Time
}

func (c Config) defaulted() Config {
	c.Connections = max(c.Connections, 1)
	if c.Host == "" {
		c.Host = c.Direct
	}
	if c.Path == "" {
		c.Path = "/ledger"
	}
	if c.MeshState == "" {
		c.MeshState = meshstate.DefaultURL
	}
	if c.Poll <= 0 {
		c.Poll = 500 * time.Millisecond
	}
	if c.Timeout <= 0 {
		c.Timeout = 3 * time.Second
	}
	return c
}

// Client is one client process's worth of connections. Make it with New, run it with Run.
type Client struct {
	cfg     Config
	id      uint64
	payload []byte
	slots   []*slot
	stats   *tally.Tally
	mesh    meshstate.Source

	mu     sync.Mutex
	paused bool
	via    meshstate.Via // where calls are meant to go
	work   sync.WaitGroup
}

// New returns a client that has not opened anything yet.
func New(cfg Config) (*Client, error) {
	cfg = cfg.defaulted()
	if cfg.Direct == "" || cfg.Rate <= 0 || cfg.Now == nil {
		return nil, fmt.Errorf("client %q: Direct, Rate and Now are required", cfg.Name)
	}
	c := &Client{cfg: cfg, stats: tally.New(cfg.Now()), id: rand.Uint64(), payload: make([]byte, cfg.Payload), via: meshstate.Direct}
	for i := range c.payload {
		c.payload[i] = byte('A' + i%26)
	}
	for i := range cfg.Connections {
		c.slots = append(c.slots, &slot{c: c, n: uint32(i), due: make(chan offer, maxBacklog)})
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
		if err := s.first(ctx); err != nil {
			for _, s := range c.slots {
				s.close()
			}
			return fmt.Errorf("open connection %d: %w", s.n, err)
		}
	}
	for _, s := range c.slots {
		c.work.Go(func() { s.run(life) })
	}
	c.work.Go(func() { c.stats.WatchStalls(life, c.cfg.Now) })
	if c.cfg.Mesh != "" {
		c.work.Go(func() { c.follow(life) })
	}
	next := 0
	pace.Run(ctx, pace.Config{Rate: c.cfg.Rate, Now: c.cfg.Now, Paused: c.isPaused}, func(due, woke time.Time) {
		c.slots[next].offer(due, woke)
		next = (next + 1) % len(c.slots)
	})
	c.Drain(context.WithoutCancel(ctx))
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

// Handler serves the report and takes commands; see tally.Handler.
func (c *Client) Handler() http.Handler { return tally.Handler(c) }

// Enter makes name the window that latencies are counted in from now on.
func (c *Client) Enter(name string) { c.stats.Enter(name) }

// Report returns the counters now.
func (c *Client) Report() (tally.Report, error) {
	r, err := c.stats.Report(c.cfg.Name)
	if err != nil {
		return tally.Report{}, err
	}
	for _, s := range c.slots {
		if conn, ok := s.connection(); ok {
			r.Via[conn.Via]++
		}
		if s.waiting.Load() > 0 {
			r.InFlight++
		}
	}
	return r, nil
}

// Connections lists the connections that are open now.
func (c *Client) Connections() []tally.Connection {
	var out []tally.Connection
	for _, s := range c.slots {
		if conn, ok := s.connection(); ok {
			out = append(out, conn)
		}
	}
	return out
}

// follow asks for the sidecar's state; each connection goes where calls belong by itself, between two requests.
func (c *Client) follow(ctx context.Context) {
	for pace.Wait(ctx, c.cfg.Poll) {
		st, err := c.mesh.State(ctx, c.cfg.MeshState)
		if err != nil {
			continue // a sidecar that does not answer in time is no reason to go anywhere
		}
		connected := false
		for _, s := range c.slots {
			conn, ok := s.connection()
			connected = connected || ok && conn.Via == meshstate.Mesh
		}
		c.mu.Lock()
		c.via = c.via.Next(st.State, connected)
		c.mu.Unlock()
	}
}

// target is where a connection goes now.
func (c *Client) target() (meshstate.Via, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.via == meshstate.Mesh {
		return meshstate.Mesh, c.cfg.Mesh
	}
	return meshstate.Direct, c.cfg.Direct
}

func (c *Client) dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: c.cfg.Timeout, KeepAlive: -1}
	return d.DialContext(ctx, "tcp", addr)
}

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

func (c *Client) busy() bool {
	for _, s := range c.slots {
		if s.waiting.Load() > 0 {
			return true
		}
	}
	return false
}
