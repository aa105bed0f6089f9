package upstream_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/upstream"
)

func unixEndpoints(t *testing.T, n int) []netip.AddrPort {
	t.Helper()
	var all []netip.AddrPort
	for i := range n {
		a, err := address.Unix(fmt.Sprintf("/run/app-%d.sock", i))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return all
}

// TestUnixEndpointsAreToldApart: only their names differ, and that is enough for every policy.
func TestUnixEndpointsAreToldApart(t *testing.T) {
	const n = 30_000
	for _, p := range config.Policies() {
		t.Run(p.String(), func(t *testing.T) {
			cfg := weighted(p, 1, 1, 1)
			cfg.Traits, cfg.Endpoints = nil, unixEndpoints(t, 3)
			c, _ := view(t, cfg, "")
			got := picks(c, 0, n)
			for _, a := range cfg.Endpoints {
				if got[a] < n/5 {
					t.Errorf("%s gets %d of %d", address.String(a), got[a], n)
				}
			}
		})
	}
}

func TestASubsetOfUnixEndpointsDependsOnTheSeed(t *testing.T) {
	cfg := &config.Cluster{Name: "c", Endpoints: unixEndpoints(t, 2*upstream.MaxEndpoints)}
	one, two := upstream.Subset(cfg, "", 1), upstream.Subset(cfg, "", 2)
	if len(one) != upstream.MaxEndpoints || slices.Equal(one, two) {
		t.Errorf("%d endpoints, the same for both seeds: %t", len(one), slices.Equal(one, two))
	}
}
