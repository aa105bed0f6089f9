package boltclient

import (
	"context"

	"github.com/axlemesh/axle/hack/peers/pace"
)

// follow asks for the sidecar's state and moves the calls where they belong, one connection after the other.
func (c *Client) follow(ctx context.Context) {
	for pace.Wait(ctx, c.cfg.Poll) {
		st, err := c.mesh.State(ctx, c.cfg.MeshState)
		if err != nil {
			continue // a sidecar that does not answer in time is no reason to go anywhere
		}
		c.aim(st.State)
		via, addr := c.target()
		for _, s := range c.slots {
			if ctx.Err() != nil || !s.move(ctx, via, addr) {
				break
			}
		}
	}
}

// aim decides where calls are meant to go.
func (c *Client) aim(state string) {
	want := c.currentAim().Next(state, c.anyVia(Mesh))
	c.mu.Lock()
	c.via = want
	c.mu.Unlock()
}

func (c *Client) currentAim() Via {
	via, _ := c.target()
	return via
}

func (c *Client) anyVia(via Via) bool {
	for _, s := range c.slots {
		s.mu.Lock()
		is := s.current != nil && s.current.via == via
		s.mu.Unlock()
		if is {
			return true
		}
	}
	return false
}
