package config

import (
	"encoding/json"
	"net/netip"

	"github.com/axlemesh/axle/sidecar/address"
)

// Endpoints are addresses that package address knows, sorted and unique.
type Endpoints []netip.AddrPort

// MarshalJSON has them as files do.
func (e Endpoints) MarshalJSON() ([]byte, error) {
	all := make([]string, len(e))
	for i, a := range e {
		all[i] = address.String(a)
	}
	return json.Marshal(all)
}

// Traits of endpoints that have more than an address.
type Traits map[netip.AddrPort]Trait

// MarshalJSON has the endpoints as files do.
func (t Traits) MarshalJSON() ([]byte, error) {
	all := make(map[string]Trait, len(t))
	for a, trait := range t {
		all[address.String(a)] = trait
	}
	return json.Marshal(all)
}
