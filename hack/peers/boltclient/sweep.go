package boltclient

import (
	"context"
	"time"

	"github.com/axlemesh/axle/hack/peers/pace"
)

// sweep looks for what has taken too long and sends heartbeats.
func (c *Client) sweep(ctx context.Context) {
	beat := c.cfg.Now()
	for pace.Wait(ctx, 50*time.Millisecond) {
		now := c.cfg.Now()
		beats := c.cfg.Heartbeat > 0 && now.Sub(beat) >= c.cfg.Heartbeat
		if beats {
			beat = now
		}
		for _, s := range c.slots {
			s.sweep(now, beats)
		}
	}
}
