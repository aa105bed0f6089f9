// Package control is the sidecar's end of the control channel: it joins, keeps its credential fresh, reports what this
// process does and hears what it should do. It owns the one connection to the operator, which the xDS client shares.
//
// What comes down is level-triggered: the latest Desired is the whole truth. Losing the channel loses nothing but news;
// it is opened again for as long as the process lives.
package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/axlemesh/axle/api/bootstrap"
	controlv1 "github.com/axlemesh/axle/api/control/v1"
	"github.com/axlemesh/axle/sidecar/backoff"
)

// Keys of what a Client leaves with Config.Keep.
const (
	KeepCredential = "credential"
	KeepTrust      = "trust"
)

const (
	// countersEvery is how often a report is sent when only counters changed.
	countersEvery = 10 * time.Second
	// callTimeout bounds Join and Renew.
	callTimeout = 10 * time.Second
	// renewRetry is the wait after a renewal that failed while the stream lives on.
	renewRetry = time.Minute
)

// Config of a Client.
type Config struct {
	Operator bootstrap.Operator
	// Token is the single-use join token; "" when a credential is in Kept.
	Token string
	// TokenFile, in a slot, holds a projected service account token instead; it is read anew at each join.
	TokenFile string
	Node      bootstrap.Node
	// Build and HandoverMin..Max introduce this binary.
	Build                    string
	HandoverMin, HandoverMax uint32
	// Kept is what an earlier process of this sidecar left, by key.
	Kept map[string][]byte
	// Keep takes what the next one should find; nil for nothing. It must not block for long.
	Keep func(key string, data []byte) error
	// Report returns the whole current state, and the last handover that ended, or nil.
	Report func() (*controlv1.State, *controlv1.HandoverResult)
	// Desired is told of every wish, also of repeated ones. It must not block.
	Desired func(*controlv1.Desired)
	Retry   backoff.Policy
	Now     func() time.Time
	Log     logr.Logger
}

// Client is one sidecar's control channel.
type Client struct {
	cfg        Config
	conn       *grpc.ClientConn
	trust      *trust
	credential *credential
	changed    chan struct{}
	flush      chan chan struct{}

	mu        sync.Mutex
	connected bool
}

// New prepares the connection; nothing is sent before Run.
func New(cfg Config) (*Client, error) {
	c := &Client{
		cfg: cfg, credential: newCredential(), trust: &trust{name: cfg.Operator.ServerName, now: cfg.Now},
		changed: make(chan struct{}, 1), flush: make(chan chan struct{}),
	}
	if err := c.trust.replace([]byte(cfg.Operator.CA)); err != nil {
		return nil, fmt.Errorf("control channel to %s: %w", cfg.Operator.Address, err)
	}
	if pem := cfg.Kept[KeepTrust]; pem != nil {
		if err := c.trust.replace(pem); err != nil {
			cfg.Log.Error(err, "The kept trust bundle is ignored")
		}
	}
	if b := cfg.Kept[KeepCredential]; b != nil {
		v := &controlv1.Credential{}
		if err := proto.Unmarshal(b, v); err != nil || v.GetBearer() == "" {
			cfg.Log.Info("The kept credential is unreadable and ignored")
		} else {
			c.credential.set(v)
		}
	}
	var err error
	if c.conn, err = dial(cfg.Operator.Address, c.trust); err != nil {
		return nil, fmt.Errorf("control channel to %s: %w", cfg.Operator.Address, err)
	}
	return c, nil
}

// Conn returns the connection with the credential on every call. A call waits until this sidecar has joined.
func (c *Client) Conn() grpc.ClientConnInterface { return bearerConn{c.conn, c.credential} }

// Close closes the connection; Run has to have ended.
func (c *Client) Close() error { return c.conn.Close() }

// Connected says whether the stream is open.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connected
}

// Notify says that Report would now say something else than counters. It never blocks.
func (c *Client) Notify() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Flush sends a last report, ends the stream and returns when the operator has taken it, or with ctx's error.
func (c *Client) Flush(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case c.flush <- done:
	case <-ctx.Done():
		return fmt.Errorf("send the last report: %w", ctx.Err())
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the operator to take the last report: %w", ctx.Err())
	}
}

// Run keeps the channel open until ctx ends or Flush has ended it.
func (c *Client) Run(ctx context.Context) error {
	for failures := 1; ; failures++ {
		began := c.cfg.Now()
		err := c.session(ctx)
		c.setConnected(false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errFlushed) {
			return nil
		}
		if c.cfg.Now().Sub(began) > time.Minute {
			failures = 1
		}
		delay := c.cfg.Retry.Delay(failures)
		c.cfg.Log.Info("No control channel; traffic goes on", "error", err.Error(), "retry", delay.String())
		if err := backoff.Wait(ctx, delay); err != nil {
			return err
		}
	}
}

// session gets a credential and works on one stream until it ends.
func (c *Client) session(ctx context.Context) error {
	if err := c.authenticate(ctx); err != nil {
		return err
	}
	err := c.stream(ctx)
	if status.Code(err) == codes.Unauthenticated {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		err = errors.Join(err, c.refresh(call))
	}
	return err
}

func (c *Client) authenticate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch {
	case c.credential.get() == nil:
		return c.join(ctx)
	case c.untilRenewal() == 0:
		return c.refresh(ctx)
	}
	return nil
}

// refresh renews, and joins again where that is possible more than once.
func (c *Client) refresh(ctx context.Context) error {
	err := c.renew(ctx)
	if err == nil || c.cfg.TokenFile == "" {
		return err
	}
	if again := c.join(ctx); again != nil {
		return errors.Join(err, again)
	}
	return nil
}

func (c *Client) keep(key string, data []byte) {
	if c.cfg.Keep == nil {
		return
	}
	if err := c.cfg.Keep(key, data); err != nil {
		c.cfg.Log.Error(err, "A restart of the proxy would not find this", "key", key)
	}
}

func (c *Client) setConnected(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected = on
}

func (c *Client) hello() *controlv1.Hello {
	n := c.cfg.Node
	return &controlv1.Hello{
		PodUid: n.ID, Namespace: n.Namespace, Pod: n.Pod, Container: n.Container, Version: n.Version, Generation: n.Generation,
		HandoverMin: c.cfg.HandoverMin, HandoverMax: c.cfg.HandoverMax, Build: c.cfg.Build,
	}
}
