package upstream

import (
	"net/netip"
	"slices"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// Cluster is one loop's view of a config.Cluster, with its connections of type C. It outlives snapshots: endpoints that
// stay keep their connections.
type Cluster[C any] struct {
	Config *config.Cluster
	// Place of the loop; its zero value is one that shares nothing.
	Place Place

	hosts  []*Host[C]
	roster roster
}

// Place is where a loop stands. What all loops know has to be applied to Shared before a Cluster is updated.
type Place struct {
	Shared *Shared
	// Zone of the sidecar.
	Zone string
	// Salt makes the choices by chance of this loop others than those of the next one.
	Salt uint64
}

// Host is one endpoint and the connections to it.
type Host[C any] struct {
	Peer
	Conns []C
}

// Update takes over a new configuration and returns the hosts that have left. seed chooses the subset.
func (c *Cluster[C]) Update(cfg *config.Cluster, seed uint64) (gone []*Host[C]) {
	if c.Config == nil {
		c.roster.random = random(seed ^ c.Place.Salt)
	}
	c.Config = cfg
	want := Subset(cfg, c.Place.Zone, seed)
	kept := c.hosts[:0:0]
	for _, h := range c.hosts {
		if i, found := slices.BinarySearchFunc(want, h.Addr, netip.AddrPort.Compare); found {
			kept = append(kept, h)
			want = slices.Delete(want, i, i+1)
			continue
		}
		h.Gone, h.roster = true, nil
		gone = append(gone, h)
	}
	for _, addr := range want {
		kept = append(kept, &Host[C]{Peer: Peer{Addr: addr}})
	}
	slices.SortFunc(kept, func(a, b *Host[C]) int { return a.Addr.Compare(b.Addr) })
	c.hosts = kept
	peers := make([]*Peer, len(kept))
	for i, h := range kept {
		peers[i] = &h.Peer
	}
	c.roster.set(cfg, c.Place.Shared, c.Place.Zone, peers)
	return gone
}

// Len is the number of hosts to pick from.
func (c *Cluster[C]) Len() int { return len(c.hosts) }

// Hosts to pick from, by address; the caller does not change the slice.
func (c *Cluster[C]) Hosts() []*Host[C] { return c.hosts }

// Pick returns the host for the next request as the policy says, passing over those that rest as long as another does not;
// nil when there is none.
func (c *Cluster[C]) Pick(now time.Duration) *Host[C] { return c.PickFor(now, 0) }

// PickFor is Pick for a request with that Hash, which a policy that hashes goes by.
func (c *Cluster[C]) PickFor(now time.Duration, hash uint64) *Host[C] {
	if len(c.hosts) == 0 {
		return nil
	}
	i := c.roster.pick(now, hash)
	if i < 0 {
		return nil
	}
	return c.hosts[i]
}

// Adopt returns the host with this address for a connection that came from another process. An endpoint that the
// configuration does not know is Gone from the start.
func (c *Cluster[C]) Adopt(addr netip.AddrPort) *Host[C] {
	for _, h := range c.hosts {
		if h.Addr == addr {
			return h
		}
	}
	return &Host[C]{Peer: Peer{Addr: addr, Gone: true}}
}
