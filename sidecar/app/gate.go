package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/axlemesh/axle/sidecar/config"
)

// applyRetry is the wait before a configuration that could not be applied is tried again: a port may have become free.
const applyRetry = time.Second

// gate lets configurations into the data plane, one at a time and only the latest, and holds them back during a
// handover and before this process serves.
type gate struct {
	apply func(*config.Snapshot) error
	log   logr.Logger
	wake  chan struct{}

	applying sync.Mutex // held while apply runs

	mu      sync.Mutex
	latest  *config.Snapshot
	applied *config.Snapshot
	open    bool
	held    bool
	failure error // of the latest, while it is not applied
}

func newGate(apply func(*config.Snapshot) error, log logr.Logger) *gate {
	return &gate{apply: apply, log: log, wake: make(chan struct{}, 1)}
}

// offer makes s the latest.
func (g *gate) offer(s *config.Snapshot) {
	g.mu.Lock()
	g.latest = s
	g.mu.Unlock()
	g.stir()
}

func (g *gate) stir() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// hold keeps configurations back, or lets them in again. After hold(true) none is being applied.
func (g *gate) hold(on bool) {
	if on {
		g.applying.Lock()
		defer g.applying.Unlock()
	}
	g.mu.Lock()
	g.held = on
	g.mu.Unlock()
	g.stir()
}

// admit opens the gate.
func (g *gate) admit() {
	g.mu.Lock()
	g.open = true
	g.mu.Unlock()
	g.stir()
}

// now applies the latest configuration, or fallback when there is none, whatever holds the gate.
func (g *gate) now(fallback *config.Snapshot) error {
	g.mu.Lock()
	if g.latest == nil {
		g.latest = fallback
	}
	s := g.latest
	g.mu.Unlock()
	if s == nil {
		return errors.New("there is no configuration")
	}
	return g.use(s)
}

func (g *gate) use(s *config.Snapshot) error {
	g.applying.Lock()
	defer g.applying.Unlock()
	err := g.apply(s)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failure = err
	if err == nil {
		g.applied = s
	}
	return err
}

// status returns the configuration in force and why the latest is not.
func (g *gate) status() (applied *config.Snapshot, failure error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.applied, g.failure
}

// next returns what is to be applied, or nil.
func (g *gate) next() *config.Snapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open || g.held || g.latest == g.applied {
		return nil
	}
	return g.latest
}

// run applies what is offered, until ctx ends.
func (g *gate) run(ctx context.Context) {
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		case <-retry.C:
		}
		s := g.next()
		if s == nil {
			continue
		}
		if err := g.use(s); err != nil {
			g.log.Error(err, "The configuration cannot be used yet; the last one stays", "version", s.Version, "retry", applyRetry.String())
			retry.Reset(applyRetry)
			continue
		}
		g.log.Info("Configured", "version", s.Version, "listeners", len(s.Listeners), "hosts", len(s.Hosts), "clusters", len(s.Clusters))
	}
}
