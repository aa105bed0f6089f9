// Package xds follows a control plane over delta ADS: it subscribes to listeners, clusters, endpoints and virtual hosts,
// keeps the last good version of each resource, and turns them into one config.Snapshot after another.
//
// A bad resource is rejected by name and its last good version stays; losing the control plane changes nothing.
package xds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/go-logr/logr"
	"google.golang.org/grpc"

	"github.com/axlemesh/axle/sidecar/backoff"
	"github.com/axlemesh/axle/sidecar/config"
)

// Timing of a Client.
const (
	// settle is how long no change may have come before a snapshot is made, and maxSettle is the most that this delays it.
	settle    = 20 * time.Millisecond
	maxSettle = 200 * time.Millisecond
	// patience is how long the first snapshot waits for types that the server does not answer.
	patience = 2 * time.Second
	// maxResponse in bytes; a cluster of ten thousand endpoints is below a tenth of it.
	maxResponse = 64 << 20
)

// Config of a Client.
type Config struct {
	// NodeID names this sidecar to the server, and Build its version.
	NodeID string
	Build  string
	// Conn carries the stream; it brings its own credentials.
	Conn grpc.ClientConnInterface
	// Retry says when a broken stream is opened again.
	Retry backoff.Policy
	Now   func() time.Time
	Log   logr.Logger
	// Deliver takes each snapshot and the export to start from next time. It must not block.
	Deliver func(snap *config.Snapshot, lastGood LastGood)
}

// Client is one sidecar's subscription.
type Client struct {
	cfg Config

	delivering sync.Mutex // one snapshot after another

	mu        sync.Mutex // guards all below
	session   session
	delivered bool
	rejected  map[string]string
	waiting   []string
	connected bool
}

// Status is what a Client holds, for the config dump.
type Status struct {
	Connected bool `json:"connected"`
	// Versions by short type name and resource name.
	Versions map[string]map[string]string `json:"versions"`
	// Rejected is the last rejection by type, until a response of that type is accepted.
	Rejected map[string]string `json:"rejected,omitempty"`
	// Waiting lists what waits for secrets.
	Waiting []string `json:"waiting,omitempty"`
}

// New returns a client that holds nothing.
func New(cfg Config) *Client {
	return &Client{cfg: cfg, session: session{store: NewStore()}, rejected: make(map[string]string)}
}

// Import starts from what a predecessor, or this sidecar before a restart, had: call it before Run. It delivers a
// snapshot at once.
func (c *Client) Import(lastGood []byte) error {
	c.mu.Lock()
	problems, err := c.session.store.Import(lastGood)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if problems != nil {
		c.cfg.Log.Info("Some of the last good configuration is not understood and waits for the control plane", "problems", problems.Error())
	}
	c.deliver()
	return nil
}

// Lend offers what a predecessor had: its secrets are used where the server has not sent them yet, since clients under TLS do not wait
// until it has, the rest where what the server has sent is refused: that is the last good version here, too. Where a snapshot was
// delivered that this changes, another one follows at once.
func (c *Client) Lend(from *Store) {
	c.mu.Lock()
	changed := c.session.store.lend(from) && c.delivered
	c.mu.Unlock()
	if changed {
		c.deliver()
	}
}

// Status returns a copy.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := Status{Connected: c.connected, Versions: make(map[string]map[string]string), Rejected: maps.Clone(c.rejected)}
	for _, t := range all {
		if held := c.session.store.Versions(t); t != TypeSecret || len(held) > 0 {
			st.Versions[short(t)] = held
		}
	}
	st.Waiting = c.waiting
	return st
}

// Run follows the control plane until ctx ends, and returns its error.
func (c *Client) Run(ctx context.Context) error {
	for failures := 1; ; failures++ {
		began := c.cfg.Now()
		err := c.follow(ctx)
		c.setConnected(false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if c.cfg.Now().Sub(began) > time.Minute {
			failures = 1
		}
		delay := c.cfg.Retry.Delay(failures)
		c.cfg.Log.Info("The configuration stream ended; what is configured stays", "error", err.Error(), "retry", delay.String())
		if err := backoff.Wait(ctx, delay); err != nil {
			return err
		}
	}
}

// follow opens one stream and works on it until it ends. It never returns nil.
func (c *Client) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(c.cfg.Conn).
		DeltaAggregatedResources(ctx, grpc.MaxCallRecvMsgSize(maxResponse))
	if err != nil {
		return fmt.Errorf("open the configuration stream: %w", explained(err))
	}
	c.mu.Lock()
	requests := c.session.open(c.node())
	c.mu.Unlock()
	responses := make(chan *discoveryv3.DeltaDiscoveryResponse)
	failed := make(chan error, 1)
	go receive(ctx, stream, responses, failed) // ends with ctx
	for _, r := range requests {
		if err := stream.Send(r); err != nil {
			return fmt.Errorf("subscribe to %s: %w", short(r.GetTypeUrl()), explained(cause(err, responses, failed)))
		}
	}
	return c.work(stream, responses, failed)
}

type adsStream = grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]

func receive(ctx context.Context, stream adsStream, to chan<- *discoveryv3.DeltaDiscoveryResponse, failed chan<- error) {
	for {
		r, err := stream.Recv()
		if err != nil {
			failed <- err
			return
		}
		select {
		case to <- r:
		case <-ctx.Done():
			failed <- ctx.Err()
			return
		}
	}
}

// cause finds out why a stream does not take requests any more: only receiving tells.
func cause(err error, responses <-chan *discoveryv3.DeltaDiscoveryResponse, failed <-chan error) error {
	for errors.Is(err, io.EOF) {
		select {
		case <-responses:
		case err := <-failed:
			return err
		}
	}
	return err
}

// work answers responses and delivers a snapshot when a burst of them is over.
func (c *Client) work(stream adsStream, responses <-chan *discoveryv3.DeltaDiscoveryResponse, failed <-chan error) error {
	due := newDeadline(c.cfg.Now)
	defer due.timer.Stop()
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("receive configuration: %w", explained(err))
		case r := <-responses:
			answers, wait := c.take(r)
			for _, answer := range answers {
				if err := stream.Send(answer); err != nil {
					return fmt.Errorf("answer %s: %w", short(r.GetTypeUrl()), cause(err, responses, failed))
				}
			}
			if wait > 0 {
				due.within(wait)
			}
		case <-due.timer.C:
			due.first = time.Time{}
			c.deliver()
		}
	}
}

// take works one response in. The answers are one to it, and one that asks for secrets. wait is how long a snapshot may be put off, 0 when none is needed.
func (c *Client) take(r *discoveryv3.DeltaDiscoveryResponse) (answers []*discoveryv3.DeltaDiscoveryRequest, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected = true
	answer, changed, err := c.session.receive(r)
	answers = append(answers, answer)
	if more := c.session.secrets(); more != nil {
		answers = append(answers, more)
	}
	if err != nil {
		c.rejected[short(r.GetTypeUrl())] = err.Error()
		c.cfg.Log.Info("Rejected configuration; the last good one stays", "reason", err.Error())
	} else {
		delete(c.rejected, short(r.GetTypeUrl()))
	}
	c.cfg.Log.V(1).Info("Configuration received", "type", short(r.GetTypeUrl()), "resources", len(r.GetResources()), "removed", len(r.GetRemovedResources()))
	switch {
	case !c.delivered && !c.session.complete():
		return answers, patience
	case changed || !c.delivered:
		return answers, settle
	}
	return answers, 0
}

func (c *Client) deliver() {
	c.delivering.Lock()
	defer c.delivering.Unlock()
	c.mu.Lock()
	snap, problems := c.session.store.Snapshot()
	problems = errors.Join(problems, c.session.unrouted(snap))
	lastGood, err := c.session.store.Export()
	c.delivered = true
	c.waiting = nil
	if waiting := c.session.store.waiting(snap); waiting != nil {
		c.waiting = strings.Split(waiting.Error(), "\n")
	}
	c.mu.Unlock()
	if problems != nil {
		c.cfg.Log.Info("Some configuration is left out", "problems", problems.Error())
	}
	if err == nil {
		err = snap.Validate()
	}
	if err != nil {
		c.cfg.Log.Error(err, "The configuration does not hold together; the last one stays")
		return
	}
	c.cfg.Deliver(snap, lastGood)
}

func (c *Client) setConnected(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected = on
}

func (c *Client) node() *corev3.Node {
	return &corev3.Node{
		Id:                   c.cfg.NodeID,
		UserAgentName:        "axle-sidecar",
		UserAgentVersionType: &corev3.Node_UserAgentVersion{UserAgentVersion: c.cfg.Build},
	}
}

// deadline is a timer that every change pushes back, up to maxSettle after the first one.
type deadline struct {
	now   func() time.Time
	timer *time.Timer
	first time.Time
	long  bool // it is set to patience, which a shorter wait replaces
}

func newDeadline(now func() time.Time) *deadline {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &deadline{now: now, timer: t}
}

func (d *deadline) within(wait time.Duration) {
	now := d.now()
	if wait > maxSettle {
		if d.first.IsZero() {
			d.first, d.long = now, true
			d.timer.Reset(wait)
		}
		return
	}
	if d.first.IsZero() || d.long {
		d.first, d.long = now, false
	}
	d.timer.Reset(min(wait, max(0, d.first.Add(maxSettle).Sub(now))))
}
