package upstream_test

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// TestEveryBitCountsInAHash flips each bit of keys of every length around those of a block: the hash is another one altogether.
func TestEveryBitCountsInAHash(t *testing.T) {
	const least = 8 // of 64 bits; 32 are to be expected
	for size := 1; size <= 26; size++ {
		key := bytes.Repeat([]byte{'0'}, size)
		before := upstream.Hash(key)
		for bit := range 8 * size {
			key[bit/8] ^= 1 << (bit % 8)
			if n := bits.OnesCount64(before ^ upstream.Hash(key)); n < least {
				t.Errorf("bit %d of %d bytes: %d bits of the hash differ, want %d at least", bit, size, n, least)
			}
			key[bit/8] ^= 1 << (bit % 8)
		}
	}
	for bit := range 64 {
		if n := bits.OnesCount64(upstream.Combine(1<<bit, 7) ^ upstream.Combine(0, 7)); n < least {
			t.Errorf("bit %d of the first part: %d bits of both parts' hash differ, want %d at least", bit, n, least)
		}
	}
}

// TestWeightsHoldOnARing asks for many keys: an endpoint has as many of them as its points on the ring promise.
func TestWeightsHoldOnARing(t *testing.T) {
	const keys = 50_000
	for name, weights := range map[string][]uint32{"half": {5, 3, 1, 1}, "most": {3, 1}, "even": {1, 1}} {
		for _, base := range []string{"127.0.0.1:18191", "10.0.0.1:12200", "[fd00::1]:80"} {
			for _, p := range []config.Policy{config.RingHash, config.Maglev} {
				t.Run(fmt.Sprint(name, " at ", base, " by ", p), func(t *testing.T) {
					cfg, sum := placed(p, netip.MustParseAddrPort(base), weights)
					c, _ := view(t, cfg, "")
					got := map[netip.AddrPort]int{}
					for i := range keys {
						got[c.PickFor(0, upstream.Hash(fmt.Appendf(nil, "customer%d", i))).Addr]++
					}
					for i, a := range cfg.Endpoints {
						part := float64(weights[i]) / sum
						spread := math.Sqrt(part * (1 - part))
						slack := 4*spread*keys/math.Sqrt(config.DefaultRing) + 4*spread*math.Sqrt(keys) // of the ring, and of the keys
						if math.Abs(float64(got[a])-keys*part) > slack {
							t.Errorf("weight %d: %d keys, want %.0f give or take %.0f", weights[i], got[a], keys*part, slack)
						}
					}
				})
			}
		}
	}
}

// placed is a cluster of endpoints with those weights at successive addresses, and the sum of the weights.
func placed(p config.Policy, at netip.AddrPort, weights []uint32) (cfg *config.Cluster, sum float64) {
	cfg = &config.Cluster{Traits: map[netip.AddrPort]config.Trait{}}
	cfg.Balancing.Policy = p
	for _, w := range weights {
		cfg.Endpoints = append(cfg.Endpoints, at)
		cfg.Traits[at] = config.Trait{Weight: w}
		at = netip.AddrPortFrom(at.Addr().Next(), at.Port())
		sum += float64(w)
	}
	return cfg, sum
}
