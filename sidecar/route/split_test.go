package route_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/route"
)

// routeOf compiles one route and returns it.
func routeOf(r config.Route) *route.Route {
	table := route.Compile(map[string]*config.Host{"s": {Routes: []config.Route{r}}})
	return table.Match([]byte("s"), nil, request{})
}

func splitOf(weights ...uint32) *route.Route {
	r := config.Route{}
	for _, w := range weights {
		r.Split = append(r.Split, config.Share{Cluster: string(rune('a' + len(r.Split))), Weight: w})
	}
	return routeOf(r)
}

// TestSplitIsExact asks for the contract ten times over: within 0.01 over 5,000 requests, from one loop and from 100 sidecars
// that see 50 each, whatever their places in the sequence are.
func TestSplitIsExact(t *testing.T) {
	const requests, tolerance = 5000, 0.001
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	cases := map[string][]uint32{
		"10 %":           {90, 10},
		"1 in 1000":      {999, 1},
		"a third each":   {1, 1, 1},
		"0 of one":       {0, 100},
		"large weights":  {math.MaxUint32 / 2, math.MaxUint32 / 2},
		"many, unevenly": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
	}
	for name, weights := range cases {
		t.Run(name, func(t *testing.T) {
			r := splitOf(weights...)
			for _, sidecars := range []int{1, 100} {
				got := make([]int, len(weights))
				for range sidecars {
					at := route.Start(rnd.Uint64(), 0)
					for range requests / sidecars {
						got[r.Choose(&at)]++
					}
				}
				total := 0.0
				for _, w := range weights {
					total += float64(w)
				}
				limit := tolerance
				if sidecars > 1 { // 100 starts that are random
					limit = tolerance * 8
				}
				for i, w := range weights {
					if diff := math.Abs(float64(got[i])/requests - float64(w)/total); diff > limit {
						t.Errorf("%d sidecars: cluster %d has got %d of %d requests: %.4f off", sidecars, i, got[i], requests, diff)
					}
				}
			}
		})
	}
}

// TestSplitHoldsForEveryOther has a client whose requests alternate: the split is the same among every n-th.
func TestSplitHoldsForEveryOther(t *testing.T) {
	r := splitOf(90, 10)
	for step := 2; step <= 20; step++ {
		var at route.Sequence
		canary := 0
		for i := range 5000 * step {
			if chosen := r.Choose(&at); i%step == 0 {
				canary += chosen
			}
		}
		if canary < 450 || canary > 550 {
			t.Errorf("every %d.: %d of 5000 requests, want 500", step, canary)
		}
	}
}

func TestMirrors(t *testing.T) {
	cases := map[string]struct {
		mirror *config.Mirror
		want   int
	}{
		"none":       {nil, 0},
		"0 %":        {&config.Mirror{Cluster: "m", Denominator: 100}, 0},
		"all":        {&config.Mirror{Cluster: "m", Numerator: 100, Denominator: 100}, 10_000},
		"1 in 10":    {&config.Mirror{Cluster: "m", Numerator: 100_000, Denominator: 1_000_000}, 1000},
		"1 in 10000": {&config.Mirror{Cluster: "m", Numerator: 1, Denominator: 10_000}, 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := routeOf(config.Route{Cluster: "c", Mirror: tc.mirror})
			at := route.Start(0, 1)
			got := 0
			for range 10_000 {
				if r.Mirrors(&at) {
					got++
				}
			}
			if got < tc.want-1-tc.want/200 || got > tc.want+1+tc.want/200 {
				t.Errorf("%d of 10000 are mirrored, want %d", got, tc.want)
			}
		})
	}
}

func BenchmarkChoose(b *testing.B) {
	r := splitOf(90, 10)
	var at route.Sequence
	for b.Loop() {
		r.Choose(&at)
	}
}

func TestStickKeepsValuesAndWeights(t *testing.T) {
	r := route.Compile(map[string]*config.Host{"a": {Routes: []config.Route{{Sticky: "user", Split: []config.Share{
		{Cluster: "v1", Weight: 90}, {Cluster: "v2", Weight: 10},
	}}}}}).Match([]byte("a"), nil, request{})
	const values = 100_000
	second := 0
	for i := range values {
		value := fmt.Appendf(nil, "user-%d", i)
		at := r.Stick(value)
		if second += at; r.Stick(value) != at {
			t.Fatalf("%s goes to %d and to %d", value, at, r.Stick(value))
		}
	}
	if share := float64(second) / values; share < 0.095 || share > 0.105 {
		t.Errorf("%d of %d values stick to the tenth, want a tenth", second, values)
	}
}

// TestChoicesOfOneRequestAreIndependent has each request decided by two sequences, as a split and a mirror do: what one of them
// takes holds for its part of what the other one takes, wherever both start.
func TestChoicesOfOneRequestAreIndependent(t *testing.T) {
	const requests = 2000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	half, tenth := config.Fraction{Numerator: 1, Denominator: 2}, config.Fraction{Numerator: 1, Denominator: 10}
	for one := range route.Related {
		for other := range one {
			for range 20 {
				a, b, both := route.Start(rnd.Uint64(), one), route.Start(rnd.Uint64(), other), 0
				for range requests {
					if first, second := route.Takes(half, &a), route.Takes(tenth, &b); first && second {
						both++
					}
				}
				if both < 60 || both > 140 {
					t.Errorf("sequences %d and %d: %d of %d requests are taken by both, want 100", one, other, both, requests)
				}
			}
		}
	}
}

func TestTakes(t *testing.T) {
	cases := map[string]struct {
		f    config.Fraction
		want int // of 1000
	}{
		"none":     {config.Fraction{Denominator: 100}, 0},
		"all":      {config.Fraction{Numerator: 7, Denominator: 7}, 1000},
		"a fourth": {config.Fraction{Numerator: 25, Denominator: 100}, 250},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for nth := range route.Related {
				at, n := route.Start(5, nth), 0
				for range 1000 {
					if route.Takes(tc.f, &at) {
						n++
					}
				}
				if n < tc.want-5 || n > tc.want+5 {
					t.Errorf("%d of 1000 by sequence %d, want %d", n, nth, tc.want)
				}
			}
		})
	}
}
