package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/axlemesh/axle/hack/peers/boltclient"
	"github.com/axlemesh/axle/hack/peers/boltserver"
)

// Config of a storm.
type Config struct {
	Upgrades, Connections int
	Rate                  float64
	// Steady is the time before the first upgrade, Between that between two.
	Steady, Between time.Duration
	// Sidecar is the binary; it is built from Source when empty, sabotaged as Break says.
	Sidecar, Source, Break string
	// Other is the binary of every second generation, such as another release's; empty for one binary in all.
	Other string
	// Hedge makes one of the two servers behind the outbound listener slow for some requests, and sidecars of this tree hedge those. Others
	// give a slow try up and send another, as a release does that knows no hedging.
	Hedge   bool
	Verbose bool
	Out     io.Writer
	Now     func() time.Time
}

// The names of the latency windows.
const (
	steady  = "steady"
	upgrade = "upgrade"
	apart   = "apart" // start, measuring, end: not compared
)

// upgradeLimit is how long one upgrade may take until the old process has gone.
const upgradeLimit = 30 * time.Second

// storm is one run.
type storm struct {
	cfg               Config
	dir, binary       string
	keyFile           string
	outbound, inbound []string
	servers           []*boltserver.Server
	clients           []*boltclient.Client
}

// Storm runs everything and judges it. The error says that it could not run to its end.
func Storm(ctx context.Context, cfg Config) (Verdict, error) {
	dir, err := os.MkdirTemp("", "axle-storm-")
	if err != nil {
		return Verdict{}, fmt.Errorf("folder for programs and logs: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is a temporary folder
	s := &storm{cfg: cfg, dir: dir, binary: cfg.Sidecar, keyFile: filepath.Join(dir, "key")}
	if s.binary == "" {
		s.binary = filepath.Join(dir, "axle-sidecar")
		if err := build(ctx, cfg.Source, cfg.Break, s.binary); err != nil {
			return Verdict{}, err
		}
	}
	if err := s.serve(); err != nil {
		return Verdict{}, err
	}
	defer s.close()
	return s.run(ctx)
}

// serve starts three servers: two behind the outbound listener, one behind the inbound one.
func (s *storm) serve() error {
	for i := range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("start server %d: %w", i, err)
		}
		cfg := boltserver.Config{Name: fmt.Sprintf("server-%d", i), Delay: 2 * time.Millisecond, Payload: 512}
		if s.cfg.Hedge && i == 0 {
			cfg.SlowEvery, cfg.Slow = 20, 300*time.Millisecond
		}
		srv := boltserver.New(cfg)
		s.servers = append(s.servers, srv)
		go func() { _ = srv.Serve(ln) }() // it ends with an error only when something closes its listener
		if i < 2 {
			s.outbound = append(s.outbound, ln.Addr().String())
		} else {
			s.inbound = append(s.inbound, ln.Addr().String())
		}
	}
	return nil
}

func (s *storm) close() {
	for _, srv := range s.servers {
		srv.Close()
	}
}

// run starts the first generation and the load, upgrades, and judges.
func (s *storm) run(ctx context.Context) (Verdict, error) {
	v := Verdict{Upgrades: s.cfg.Upgrades, Connections: s.cfg.Connections, Hedge: s.cfg.Hedge}
	now, err := s.launch(ctx, 1)
	if err != nil {
		return v, err
	}
	defer func() { now.stop() }()
	if err := s.up(ctx, now); err != nil {
		return v, err
	}
	stop, err := s.load(ctx)
	if err != nil {
		return v, err
	}
	defer stop()
	s.say("steady load of %.0f requests/s on %d connections for %v", s.cfg.Rate, s.cfg.Connections, s.cfg.Steady)
	s.enter(steady)
	wait(ctx, s.cfg.Steady)
	before := s.sockets()
	if v.First, err = s.measure(ctx, now); err != nil {
		return v, err
	}
	began, err := s.effort(now)
	if err != nil {
		return v, err
	}
	for i := range s.cfg.Upgrades {
		next, took, err := s.upgrade(ctx, now, i+2)
		if err != nil {
			return v, err
		}
		now = next
		v.Total += took.Seconds()
		v.Slowest = max(v.Slowest, took.Seconds())
	}
	ended, err := s.effort(now)
	if err != nil {
		return v, err
	}
	v.Foreign = foreign(began, ended)
	wait(ctx, s.cfg.Between)
	if v.Last, err = s.measure(ctx, now); err != nil {
		return v, err
	}
	v.Moved = changed(before, s.sockets())
	for _, c := range s.clients {
		c.Pause() // what a oneway carries is still on its way when its client has nothing left to wait for
	}
	wait(ctx, s.cfg.Between)
	if v.Handovers, err = handovers(ctx); err != nil {
		return v, err
	}
	stop()
	return v, s.judge(&v)
}

// load starts the clients, half of the connections on each listener, and returns what ends them.
func (s *storm) load(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var done []chan error
	for i, addr := range []string{outboundAddr, inboundAddr} {
		n := s.cfg.Connections / 2
		if i == 0 {
			n = s.cfg.Connections - n
		}
		c, err := boltclient.New(boltclient.Config{
			Name: fmt.Sprintf("client-%d", i), Connections: n, InFlight: 4, Rate: s.cfg.Rate / 2, Direct: addr,
			Payload: 512, OnewayEvery: 50, Heartbeat: 5 * time.Second, Now: s.cfg.Now,
		})
		if err != nil {
			cancel()
			return nil, err
		}
		c.Enter(apart)
		s.clients = append(s.clients, c)
		end := make(chan error, 1)
		done = append(done, end)
		go func() { end <- c.Run(ctx) }()
	}
	stopped := false
	return func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for _, d := range done {
			if err := <-d; err != nil {
				s.say("a client: %v", err)
			}
		}
	}, nil
}

// upgrade starts the next generation and waits until the one before has gone.
func (s *storm) upgrade(ctx context.Context, old *sidecar, generation int) (*sidecar, time.Duration, error) {
	s.enter(steady)
	if !wait(ctx, s.cfg.Between) {
		return nil, 0, ctx.Err()
	}
	s.enter(upgrade)
	defer s.enter(steady)
	start := s.cfg.Now()
	next, err := s.launch(ctx, generation)
	if err != nil {
		return nil, 0, err
	}
	if err := old.ended(ctx, upgradeLimit); err != nil {
		tail := next.tail()
		next.stop()
		return nil, 0, fmt.Errorf("upgrade to generation %d: %w\nthe new one says:\n%s", generation, err, tail)
	}
	took := s.cfg.Now().Sub(start)
	if (generation-1)%10 == 0 || generation == 2 {
		s.say("upgrade %d of %d took %v; %s", generation-1, s.cfg.Upgrades, took.Round(time.Millisecond), s.progress())
	}
	return next, took, nil
}

// up waits until a generation answers on its admin address.
func (s *storm) up(ctx context.Context, g *sidecar) error {
	var err error
	for range 200 {
		if _, err = admin(ctx, "GET", "/metrics"); err == nil {
			return nil
		}
		select {
		case <-g.done:
			return fmt.Errorf("generation %d ended: %w; its last words:\n%s", g.generation, errors.Join(g.err), g.tail())
		default:
		}
		if !wait(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
	return fmt.Errorf("generation %d does not come up: %w; its last words:\n%s", g.generation, err, g.tail())
}

// measure reads the footprint while no request is under way.
func (s *storm) measure(ctx context.Context, g *sidecar) (Footprint, error) {
	s.enter(apart)
	for _, c := range s.clients {
		c.Pause()
		c.Drain(ctx)
	}
	wait(ctx, time.Second)
	f, err := g.footprint(ctx)
	for _, c := range s.clients {
		c.Resume()
	}
	s.say("generation %d holds %d descriptors, %d goroutines, %d kB of heap", g.generation, f.Descriptors(), f.Goroutines, f.Heap/1024)
	return f, err
}

func (s *storm) enter(window string) {
	for _, c := range s.clients {
		c.Enter(window)
	}
}

// sockets are the local addresses by client and connection.
func (s *storm) sockets() map[string]string {
	out := map[string]string{}
	for i, c := range s.clients {
		for _, conn := range c.Connections() {
			out[fmt.Sprintf("%d/%d", i, conn.Number)] = conn.Local
		}
	}
	return out
}

func changed(before, after map[string]string) int {
	n := 0
	for k, v := range before {
		if after[k] != v {
			n++
		}
	}
	return n + max(0, len(after)-len(before))
}

// judge fills in what is known once everything has stopped.
func (s *storm) judge(v *Verdict) error {
	latencies := map[string]*hdr.Histogram{}
	for _, c := range s.clients {
		r, err := c.Report()
		if err != nil {
			return err
		}
		v.Clients = append(v.Clients, r)
		for _, w := range r.Windows {
			h, err := hdr.Decode([]byte(w.Histogram))
			if err != nil {
				return fmt.Errorf("latencies of %s: %w", r.Name, err)
			}
			if latencies[w.Name] == nil {
				latencies[w.Name] = h
			} else {
				latencies[w.Name].Merge(h)
			}
		}
		for _, n := range r.Notes {
			s.say("%s: %s", r.Name, n)
		}
	}
	if h := latencies[steady]; h != nil {
		v.SteadyP99 = float64(h.ValueAtQuantile(99)) / 1000
	}
	if h := latencies[upgrade]; h != nil {
		v.UpgradeP99 = float64(h.ValueAtQuantile(99)) / 1000
	}
	for _, srv := range s.servers {
		r := srv.Report()
		v.Executed += r.Requests + r.Oneways
		v.Repeated += r.Duplicates
		v.BadChecksums += r.BadChecksums
		v.ServerResets += r.Resets + r.Broken
	}
	return nil
}

func (s *storm) progress() string {
	var n, failed, resets int64
	for _, c := range s.clients {
		if r, err := c.Report(); err == nil {
			n, failed, resets = n+r.Requests, failed+r.Failed, resets+r.Resets
		}
	}
	return fmt.Sprintf("%d requests so far, %d failed, %d resets", n, failed, resets)
}

// say writes one line of progress.
func (s *storm) say(format string, args ...any) {
	fmt.Fprintf(s.cfg.Out, "%s  "+format+"\n", append([]any{s.cfg.Now().Format("15:04:05")}, args...)...)
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
