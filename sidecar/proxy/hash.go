package proxy

import (
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/route"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// hash of a request for its cluster: what the route names, else what the cluster names, else the client's address. It is 0
// when the cluster does not ask, or when the request has nothing of that.
func (c *cluster) hash(r *route.Route, req route.Request, s *source, conn *loop.Conn) uint64 {
	if c == nil || !c.Config.Balancing.Policy.Hashes() {
		return 0
	}
	keys := c.Config.Balancing.Hash
	if r != nil && len(r.Hash) > 0 {
		keys = r.Hash
	}
	if len(keys) == 0 {
		return s.of(conn)
	}
	return hashKeys(keys, req, s, conn)
}

func hashKeys(keys []config.HashKey, req route.Request, s *source, conn *loop.Conn) (h uint64) {
	for i := range keys {
		part := uint64(0)
		if keys[i].SourceIP {
			part = s.of(conn)
		} else if value, ok := req.Header(keys[i].Header); ok {
			part = upstream.Hash(value)
		}
		if part == 0 {
			continue
		}
		if h == 0 {
			h = part
		} else {
			h = upstream.Combine(h, part)
		}
		if keys[i].Terminal {
			break
		}
	}
	return h
}
