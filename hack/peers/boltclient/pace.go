package boltclient

import (
	"context"
	"time"
)

// pace offers requests to the connections in turn, at the configured rate, until ctx ends: an open loop, which does not
// slow down when answers do.
func (c *Client) pace(ctx context.Context) {
	gap := float64(time.Second) / c.cfg.Rate
	start, k := c.cfg.Now(), 0
	next := 0
	for {
		due := start.Add(time.Duration(float64(k) * gap))
		if d := due.Sub(c.cfg.Now()); d > 0 {
			if !wait(ctx, d) {
				return
			}
		} else if ctx.Err() != nil {
			return
		}
		if c.isPaused() {
			if !wait(ctx, 5*time.Millisecond) {
				return
			}
			start, k = c.cfg.Now(), 0
			continue
		}
		woke := c.cfg.Now()
		for ; !due.After(woke); due = start.Add(time.Duration(float64(k) * gap)) {
			c.slots[next].offer(due, woke)
			next = (next + 1) % len(c.slots)
			k++
		}
	}
}

// sweep looks for what has taken too long and sends heartbeats.
func (c *Client) sweep(ctx context.Context) {
	beat := c.cfg.Now()
	for wait(ctx, 50*time.Millisecond) {
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
