package proxy

import (
	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/loop"
	"github.com/axlemesh/axle/sidecar/route"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// source is the hash of a client's IP address, worked out when it is first wanted. While a client's connection is with
// another process nobody knows it.
type source uint64

func (s *source) of(c *loop.Conn) uint64 {
	if *s == 0 && c != nil && !c.Closed() {
		*s = source(hashPeer(c.FD()))
	}
	return uint64(*s)
}

// hashPeer returns 0 for a connection that has no peer any more, or no IP address.
func hashPeer(fd int) uint64 {
	addr, err := unix.Getpeername(fd)
	if err != nil {
		return 0
	}
	switch a := addr.(type) {
	case *unix.SockaddrInet4:
		return upstream.Hash(a.Addr[:])
	case *unix.SockaddrInet6:
		return upstream.Hash(a.Addr[:])
	}
	return 0
}

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
