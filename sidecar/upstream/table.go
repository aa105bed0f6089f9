package upstream

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/axlemesh/axle/sidecar/config"
)

// Table gives every hash an endpoint, so that few hashes change theirs when endpoints come and go. It is immutable, made
// apart from the loops, and shared by them. Its size is bounded: about 65,536 entries of 2 bytes, and 8 more on a ring.
type Table struct {
	addrs  []netip.AddrPort
	points []uint64 // of a ring, in order; nil for Maglev
	owner  []uint16 // by point, or by the hash's remainder: a place in addrs
}

// NewTable makes the table of a cluster whose policy hashes.
func NewTable(cfg *config.Cluster) *Table {
	t := &Table{addrs: Subset(cfg, "", 0)}
	if len(t.addrs) == 0 {
		return t
	}
	weights := make([]uint32, len(t.addrs))
	for i, a := range t.addrs {
		weights[i] = max(cfg.Traits[a].Weight, 1)
	}
	if cfg.Balancing.Policy == config.RingHash {
		t.ring(weights, cmp.Or(cfg.Balancing.TableSize, config.DefaultRing))
	} else {
		t.maglev(weights, cmp.Or(cfg.Balancing.TableSize, config.DefaultMaglev))
	}
	return t
}

// addrHash of one of an endpoint's several places.
func addrHash(a netip.AddrPort, n uint64) uint64 {
	ip := a.Addr().As16()
	b := append(binary.BigEndian.AppendUint16(ip[:], a.Port()), a.Addr().Zone()...)
	return Hash(binary.BigEndian.AppendUint64(b, n))
}

// ring puts each endpoint at as many points as its weight's part of size is, and at one at least (Karger et al., 1997). The
// part is of the sum of all weights rounded down to a power of two: as long as that stays, an endpoint that comes or goes
// changes nobody else's points. The ring has up to twice the size for that.
func (t *Table) ring(weights []uint32, size int) {
	var total uint64
	for _, w := range weights {
		total += uint64(w)
	}
	shift := bits.Len64(total) - 1
	type point struct {
		at    uint64
		owner uint16
	}
	var all []point
	for i, a := range t.addrs {
		for k := range max(uint64(size)*uint64(weights[i])>>shift, 1) {
			all = append(all, point{addrHash(a, k), uint16(i)})
		}
	}
	slices.SortFunc(all, func(a, b point) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.owner, b.owner)) })
	t.points, t.owner = make([]uint64, len(all)), make([]uint16, len(all))
	for i, p := range all {
		t.points[i], t.owner[i] = p.at, p.owner
	}
}

// maglev lets the endpoints take free entries in turn, each in an order of its own, and by weight (Eisenbud et al., NSDI 2016,
// section 3.4). size is a prime.
func (t *Table) maglev(weights []uint32, size int) {
	const free = 1<<16 - 1
	t.owner = make([]uint16, size)
	for i := range t.owner {
		t.owner[i] = free
	}
	type walk struct{ at, skip, credit uint64 }
	walks := make([]walk, len(t.addrs))
	for i, a := range t.addrs {
		walks[i] = walk{at: addrHash(a, 0) % uint64(size), skip: addrHash(a, 1)%uint64(max(size-1, 1)) + 1}
	}
	top := uint64(slices.Max(weights))
	for filled := 0; ; {
		for i := range walks {
			w := &walks[i]
			if w.credit += uint64(weights[i]); w.credit < top {
				continue
			}
			w.credit -= top
			for t.owner[w.at] != free {
				w.at = (w.at + w.skip) % uint64(size)
			}
			t.owner[w.at] = uint16(i)
			if filled++; filled == size {
				return
			}
		}
	}
}

// start is the entry of a hash.
func (t *Table) start(hash uint64) int {
	if t.points == nil {
		return int(hash % uint64(len(t.owner)))
	}
	at, _ := slices.BinarySearch(t.points, hash)
	if at == len(t.points) {
		at = 0
	}
	return at
}

// maxWalk bounds how far a hash looks for an endpoint that may be used.
const maxWalk = 512

// find returns the endpoint of a hash: its own, or the next that ok accepts; -1 when there is none near.
func (t *Table) find(hash uint64, ok []bool) int {
	if len(t.owner) == 0 {
		return -1
	}
	at := t.start(hash)
	for range min(maxWalk, len(t.owner)) {
		if i := int(t.owner[at]); ok[i] {
			return i
		}
		if at++; at == len(t.owner) {
			at = 0
		}
	}
	return -1
}

// same says whether another configuration makes the same table.
func (t *Table) same(now, before *config.Cluster) bool {
	b, a := now.Balancing, before.Balancing
	if b.Policy != a.Policy || b.TableSize != a.TableSize || !slices.Equal(now.Endpoints, before.Endpoints) {
		return false
	}
	for _, e := range t.addrs {
		if now.Traits[e].Weight != before.Traits[e].Weight {
			return false
		}
	}
	return true
}
