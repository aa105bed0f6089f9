package upstream

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/axlemesh/axle/sidecar/config"
)

// MaxEndpoints is how many endpoints of one cluster a loop uses: a deterministic subset, different from sidecar to sidecar.
// A policy that hashes needs the same ones everywhere, and so more of them: MaxHashed.
const (
	MaxEndpoints = 32
	MaxHashed    = 1024
)

// Subset returns the endpoints of a cluster that a loop uses, sorted. The choice changes as little as possible when the
// cluster does. What is unhealthy comes last; when zones matter, half of the places are for the sidecar's own.
func Subset(cfg *config.Cluster, zone string, seed uint64) []netip.AddrPort {
	limit := MaxEndpoints
	if cfg.Balancing.Policy.Hashes() {
		limit, seed, zone = MaxHashed, 0, ""
	}
	if len(cfg.Endpoints) <= limit {
		return slices.Clone(cfg.Endpoints)
	}
	type ranked struct {
		addr netip.AddrPort
		by   uint64
		sick bool
		near bool
	}
	all := make([]ranked, len(cfg.Endpoints))
	for i, a := range cfg.Endpoints {
		t := cfg.Traits[a]
		all[i] = ranked{a, rendezvous(a, seed), t.Unhealthy && !cfg.Balancing.Policy.Hashes(), zoned(cfg, zone) && t.Zone == zone}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(compare(a.sick, b.sick), cmp.Compare(a.by, b.by), a.addr.Compare(b.addr))
	})
	chosen := make([]netip.AddrPort, 0, limit)
	for i := range all {
		if all[i].near && !all[i].sick && len(chosen) < limit/2 {
			chosen = append(chosen, all[i].addr)
			all[i].addr = netip.AddrPort{}
		}
	}
	for i := range all {
		if all[i].addr.IsValid() && len(chosen) < limit {
			chosen = append(chosen, all[i].addr)
		}
	}
	slices.SortFunc(chosen, netip.AddrPort.Compare)
	return chosen
}

// zoned says whether zones matter to a sidecar in zone.
func zoned(cfg *config.Cluster, zone string) bool {
	least := cmp.Or(cfg.Balancing.ZoneEndpoints, config.DefaultZoneEndpoints)
	return cfg.Balancing.ZoneAware && zone != "" && len(cfg.Endpoints) >= least
}

func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func rendezvous(a netip.AddrPort, seed uint64) uint64 {
	h := fnv.New64a()
	ip := a.Addr().As16()
	_, _ = h.Write(binary.BigEndian.AppendUint64(ip[:], seed))
	_, _ = h.Write(binary.BigEndian.AppendUint16(nil, a.Port()))
	_, _ = h.Write([]byte(a.Addr().Zone())) // that is all that Unix-domain sockets differ in
	return h.Sum64()
}
