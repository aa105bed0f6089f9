package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
)

// credential is what proves who this sidecar is. It is a credentials.PerRPCCredentials, and never logged.
type credential struct {
	mu    sync.Mutex
	now   *controlv1.Credential
	ready chan struct{} // closed once there is one
}

func newCredential() *credential { return &credential{ready: make(chan struct{})} }

func (c *credential) set(v *controlv1.Credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		close(c.ready)
	}
	c.now = v
}

func (c *credential) get() *controlv1.Credential {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// GetRequestMetadata waits until this sidecar has joined.
func (c *credential) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	select {
	case <-c.ready:
		return map[string]string{"authorization": "Bearer " + c.get().GetBearer()}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// RequireTransportSecurity keeps the credential off plain connections.
func (c *credential) RequireTransportSecurity() bool { return true }

// maxToken bounds a token file in bytes.
const maxToken = 64 << 10

// join exchanges the join token, which works once, or the service account token, which works again and again.
func (c *Client) join(ctx context.Context) error {
	req := &controlv1.JoinRequest{Token: c.cfg.Token, PodUid: c.cfg.Node.ID, Container: c.cfg.Node.Container}
	switch {
	case c.cfg.TokenFile != "":
		token, err := readToken(c.cfg.TokenFile)
		if err != nil {
			return fmt.Errorf("join: %w", err)
		}
		req.Token, req.ServiceAccountToken = "", token
	case req.GetToken() == "":
		return errors.New("join: there is neither a credential nor a join token")
	}
	got, err := controlv1.NewControlClient(c.conn).Join(ctx, req)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	return c.accept("join", got)
}

func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("read %s: it is empty", path)
	}
	return token, nil
}

// renew exchanges the credential for a fresh one, also when it has expired.
func (c *Client) renew(ctx context.Context) error {
	got, err := controlv1.NewControlClient(c.Conn()).Renew(ctx, &controlv1.RenewRequest{})
	if err != nil {
		return fmt.Errorf("renew the credential: %w", err)
	}
	return c.accept("renew the credential", got)
}

func (c *Client) accept(what string, got *controlv1.Credential) error {
	if got.GetBearer() == "" {
		return fmt.Errorf("%s: the operator sent an empty credential", what)
	}
	c.credential.set(got)
	c.cfg.Log.Info("The operator knows this sidecar", "by", what, "expires", time.Unix(got.GetExpires(), 0).UTC().Format(time.RFC3339))
	b, err := proto.Marshal(got)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	c.keep(KeepCredential, b)
	return nil
}

// untilRenewal is how long the credential is good without a renewal.
func (c *Client) untilRenewal() time.Duration {
	at := time.Unix(c.credential.get().GetRenewAfter(), 0)
	return max(0, at.Sub(c.cfg.Now()))
}
