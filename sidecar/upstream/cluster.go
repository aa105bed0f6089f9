package upstream

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
)

// MaxEndpoints is how many endpoints of one cluster a loop uses: a deterministic subset, different from sidecar to sidecar.
const MaxEndpoints = 32

// Failing endpoints rest for a while that doubles from minRest to maxRest.
const (
	minRest = 250 * time.Millisecond
	maxRest = 10 * time.Second
)

// Cluster is one loop's view of a config.Cluster, with its connections of type C. It outlives snapshots: endpoints that
// stay keep their connections.
type Cluster[C any] struct {
	Config *config.Cluster
	hosts  []*Host[C]
	next   int
}

// Host is one endpoint and the connections to it.
type Host[C any] struct {
	Addr  netip.AddrPort
	Conns []C
	// Gone says that the endpoint has left the cluster: its connections finish what they have.
	Gone bool

	failures int
	restTill time.Duration
}

// Update takes over a new configuration and returns the hosts that have left. seed chooses the subset.
func (c *Cluster[C]) Update(cfg *config.Cluster, seed uint64) (gone []*Host[C]) {
	c.Config = cfg
	want := Subset(cfg.Endpoints, seed)
	kept := c.hosts[:0:0]
	for _, h := range c.hosts {
		if i, found := slices.BinarySearchFunc(want, h.Addr, netip.AddrPort.Compare); found {
			kept = append(kept, h)
			want = slices.Delete(want, i, i+1)
			continue
		}
		h.Gone = true
		gone = append(gone, h)
	}
	for _, addr := range want {
		kept = append(kept, &Host[C]{Addr: addr})
	}
	c.hosts = kept
	return gone
}

// Subset returns at most MaxEndpoints of all, sorted. The choice changes as little as possible when all changes.
func Subset(all []netip.AddrPort, seed uint64) []netip.AddrPort {
	chosen := slices.Clone(all)
	if len(chosen) > MaxEndpoints {
		weight := make(map[netip.AddrPort]uint64, len(chosen))
		for _, a := range chosen {
			weight[a] = rendezvous(a, seed)
		}
		slices.SortFunc(chosen, func(a, b netip.AddrPort) int { return cmp.Compare(weight[a], weight[b]) })
		chosen = chosen[:MaxEndpoints]
	}
	slices.SortFunc(chosen, netip.AddrPort.Compare)
	return chosen
}

func rendezvous(a netip.AddrPort, seed uint64) uint64 {
	h := fnv.New64a()
	ip := a.Addr().As16()
	_, _ = h.Write(binary.BigEndian.AppendUint64(ip[:], seed))
	_, _ = h.Write(binary.BigEndian.AppendUint16(nil, a.Port()))
	return h.Sum64()
}

// Len is the number of hosts to pick from.
func (c *Cluster[C]) Len() int { return len(c.hosts) }

// Hosts to pick from; the caller does not change the slice.
func (c *Cluster[C]) Hosts() []*Host[C] { return c.hosts }

// Pick returns the next host in turn, passing over those that rest as long as another does not; nil when there is none.
func (c *Cluster[C]) Pick(now time.Duration) *Host[C] {
	var resting *Host[C]
	for range c.hosts {
		if c.next >= len(c.hosts) {
			c.next = 0
		}
		h := c.hosts[c.next]
		c.next++
		if h.restTill <= now {
			return h
		}
		if resting == nil || h.restTill < resting.restTill {
			resting = h
		}
	}
	return resting
}

// Adopt returns the host with this address for a connection that came from another process. An endpoint that the
// configuration does not know is Gone from the start.
func (c *Cluster[C]) Adopt(addr netip.AddrPort) *Host[C] {
	for _, h := range c.hosts {
		if h.Addr == addr {
			return h
		}
	}
	return &Host[C]{Addr: addr, Gone: true}
}

// Failed makes the host rest; Worked ends that.
func (h *Host[C]) Failed(now time.Duration) {
	h.restTill = now + min(minRest<<min(h.failures, 10), maxRest)
	h.failures++
}

// Worked says that a connection to the host was opened.
func (h *Host[C]) Worked() { h.failures, h.restTill = 0, 0 }
