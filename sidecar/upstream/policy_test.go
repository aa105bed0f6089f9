package upstream_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/upstream"
)

// view is a loop's view of cfg, in zone, with everything shared that there is to share.
func view(t testing.TB, cfg *config.Cluster, zone string) (*upstream.Cluster[int], *upstream.Shared) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	shared := &upstream.Shared{}
	shared.Apply(cfg, zone, 1)
	c := &upstream.Cluster[int]{Place: upstream.Place{Shared: shared, Zone: zone, Salt: seed}}
	c.Update(cfg, 1)
	return c, shared
}

// weighted is a cluster of endpoints with those weights.
func weighted(p config.Policy, weights ...uint32) *config.Cluster {
	cfg := cluster(len(weights))
	cfg.Balancing.Policy = p
	cfg.Traits = map[netip.AddrPort]config.Trait{}
	for i, w := range weights {
		cfg.Traits[cfg.Endpoints[i]] = config.Trait{Weight: w}
	}
	return cfg
}

// near fails unless got is within five standard deviations of a binomial count of n draws.
func near(t *testing.T, what string, got, n int, part float64) {
	t.Helper()
	want := float64(n) * part
	if slack := 5*math.Sqrt(want*(1-part)) + 1; math.Abs(float64(got)-want) > slack {
		t.Errorf("%s: %d of %d, want %.0f give or take %.0f", what, got, n, want, slack)
	}
}

func TestWeightsHold(t *testing.T) {
	const n = 60_000
	for _, p := range []config.Policy{config.RoundRobin, config.LeastRequest, config.PeakEWMA, config.Random, config.RingHash, config.Maglev} {
		t.Run(p.String(), func(t *testing.T) {
			c, _ := view(t, weighted(p, 1, 2, 3), "")
			got := picks(c, 0, n) // without a hash
			for i, a := range c.Config.Endpoints {
				near(t, fmt.Sprintf("weight %d", i+1), got[a], n, float64(i+1)/6)
			}
		})
	}
}

func TestTurnsAreSpreadEvenly(t *testing.T) {
	c, _ := view(t, weighted(config.RoundRobin, 5, 1, 1), "")
	got := ""
	for range 14 {
		got += string(rune('a' + c.Pick(0).Addr.Addr().As4()[3]))
	}
	if want := "aabacaaaabacaa"; got != want {
		t.Errorf("turns %s, want %s", got, want)
	}
}

func TestLeastRequestAvoidsWhatIsBusy(t *testing.T) {
	cfg := cluster(2)
	cfg.Balancing.Policy = config.LeastRequest
	c, _ := view(t, cfg, "")
	busy := c.Hosts()[0]
	busy.Begin()
	if got := picks(c, 0, 1000)[busy.Addr]; got != 0 {
		t.Errorf("the busy one of two was picked %d times of 1000", got)
	}
	busy.End()
	near(t, "after its request has ended", picks(c, 0, 10_000)[busy.Addr], 10_000, 0.5)
	big, _ := view(t, weighted(config.LeastRequest, 1, 3), "")
	for range 4000 { // nothing ever ends: what is open follows the weights
		big.Pick(0).Begin()
	}
	heavy := 0
	for range 4000 {
		h := big.Pick(0)
		h.Begin()
		if h == big.Hosts()[1] {
			heavy++
		}
	}
	near(t, "the heavy one of open requests", heavy, 4000, 0.75)
}

func TestPeakEWMAAvoidsWhatIsSlow(t *testing.T) {
	cfg := cluster(2)
	cfg.Balancing.Policy = config.PeakEWMA
	c, _ := view(t, cfg, "")
	slow, fast := c.Hosts()[0], c.Hosts()[1]
	now := time.Second
	for range 10 {
		slow.Report(upstream.OutcomeOK, now, 100*time.Millisecond)
		fast.Report(upstream.OutcomeOK, now, time.Millisecond)
	}
	if got := picks(c, now, 1000)[slow.Addr]; got != 0 {
		t.Errorf("the slow one of two was picked %d times of 1000", got)
	}
	for range 200 { // the fast one is worth it until it has a hundred times as many open
		fast.Begin()
	}
	if got := picks(c, now, 1000)[slow.Addr]; got != 1000 {
		t.Errorf("the idle slow one was picked %d times of 1000 beside 200 open requests", got)
	}
	for range 200 {
		fast.End()
	}
	for range 20 { // failing fast does not look fast
		slow.Report(upstream.OutcomeGateway, now, time.Microsecond)
	}
	if got := picks(c, now, 1000)[slow.Addr]; got != 0 {
		t.Errorf("one that fails fast was picked %d times of 1000", got)
	}
	now += 100 * time.Second
	fast.Report(upstream.OutcomeOK, now, time.Millisecond)
	if got := picks(c, now, 1000)[slow.Addr]; got != 1000 {
		t.Errorf("what was slow long ago was tried %d times of 1000, want to see it again", got)
	}
}

func TestHashesStick(t *testing.T) {
	const n, keys = 10, 20_000
	for _, p := range []config.Policy{config.RingHash, config.Maglev} {
		t.Run(p.String(), func(t *testing.T) {
			cfg := cluster(n)
			cfg.Balancing.Policy = p
			if p == config.RingHash {
				cfg.Balancing.TableSize = 16 << 10
			}
			c, _ := view(t, cfg, "")
			other, _ := view(t, cfg, "") // of another sidecar
			fewer := *cfg
			fewer.Endpoints = append([]netip.AddrPort{}, cfg.Endpoints[:n-1]...)
			less, _ := view(t, &fewer, "")
			count, moved := map[netip.AddrPort]int{}, 0
			for i := range keys {
				h := upstream.Hash(fmt.Appendf(nil, "user-%d", i))
				at := c.PickFor(0, h).Addr
				count[at]++
				if o := other.PickFor(0, h).Addr; o != at {
					t.Fatalf("key %d goes to %v here and to %v there", i, at, o)
				}
				if at != cfg.Endpoints[n-1] && less.PickFor(0, h).Addr != at {
					moved++
				}
			}
			for a, got := range count {
				if got < keys/n*3/4 || got > keys/n*5/4 {
					t.Errorf("%v has %d keys of %d, want %d give or take a quarter", a, got, keys, keys/n)
				}
			}
			if limit := map[config.Policy]int{config.RingHash: 0, config.Maglev: keys / 20}[p]; moved > limit {
				t.Errorf("%d keys of others moved when one endpoint of %d left, want at most %d", moved, n, limit)
			}
		})
	}
}

func TestAHashPassesOverWhatFails(t *testing.T) {
	for _, p := range []config.Policy{config.RingHash, config.Maglev} {
		cfg := cluster(5)
		cfg.Balancing.Policy = p
		c, _ := view(t, cfg, "")
		bad := c.Hosts()[2]
		before := map[uint64]netip.AddrPort{}
		for i := range uint64(2000) {
			h := upstream.Combine(i+1, 7)
			before[h] = c.PickFor(0, h).Addr
		}
		bad.Failed(0)
		for h, at := range before {
			got := c.PickFor(1, h).Addr
			if got == bad.Addr || at != bad.Addr && got != at {
				t.Fatalf("%s: a hash of %v goes to %v while %v rests", p, at, got, bad.Addr)
			}
		}
		for h, at := range before {
			if got := c.PickFor(time.Second, h).Addr; got != at {
				t.Fatalf("%s: a hash of %v goes to %v after the rest", p, at, got)
			}
		}
	}
}

func TestSlowStartGrows(t *testing.T) {
	cfg := cluster(1)
	cfg.Balancing.SlowStart = config.SlowStart{Window: 100 * time.Second}
	c, shared := view(t, cfg, "")
	c.Pick(0)
	more := cluster(2)
	more.Balancing = cfg.Balancing
	shared.Apply(more, "", 1)
	c.Update(more, 1)
	young := more.Endpoints[1]
	start := 1000 * time.Second // when the old one is long at its weight
	for _, at := range []struct {
		age  time.Duration
		part float64
	}{{0, 0.1}, {25 * time.Second, 0.25}, {50 * time.Second, 0.5}, {100 * time.Second, 1}} {
		got := picks(c, start+at.age, 6000)[young]
		if want := 6000 * at.part / (1 + at.part); math.Abs(float64(got)-want) > 60 {
			t.Errorf("after %s: %d of 6000, want %.0f", at.age, got, want)
		}
	}
}

// zones is a cluster with that many endpoints in zones a, b, c.
func zones(counts ...int) *config.Cluster {
	all := 0
	for _, n := range counts {
		all += n
	}
	cfg := cluster(all)
	cfg.Balancing.ZoneAware, cfg.Traits = true, map[netip.AddrPort]config.Trait{}
	at := 0
	for z, n := range counts {
		for range n {
			cfg.Traits[cfg.Endpoints[at]] = config.Trait{Zone: string(rune('a' + z))}
			at++
		}
	}
	return cfg
}

func TestZones(t *testing.T) {
	const n = 40_000
	cases := map[string]struct {
		counts []int
		zone   string
		fails  int // of the first zone
		want   map[string]float64
	}{
		"all stay where there is room":              {[]int{4, 4, 4}, "a", 0, map[string]float64{"a": 1}},
		"a large zone takes no more than its own":   {[]int{8, 2, 2}, "a", 0, map[string]float64{"a": 1}},
		"a small zone sends on what it cannot take": {[]int{2, 4, 6}, "a", 0, map[string]float64{"a": 0.5, "c": 0.5}},
		"what fails leaves less room":               {[]int{4, 4, 4}, "a", 2, map[string]float64{"a": 0.6, "b": 0.2, "c": 0.2}},
		"nobody home":                               {[]int{4, 4, 4}, "a", 4, map[string]float64{"b": 0.5, "c": 0.5}},
		"too few endpoints for zones":               {[]int{2, 2, 1}, "a", 0, map[string]float64{"a": 0.4, "b": 0.4, "c": 0.2}},
		"a zone without endpoints":                  {[]int{4, 4, 4}, "x", 0, map[string]float64{"a": 1. / 3, "b": 1. / 3, "c": 1. / 3}},
		"a sidecar that does not know its zone":     {[]int{4, 4, 4}, "", 0, map[string]float64{"a": 1. / 3, "b": 1. / 3, "c": 1. / 3}},
		"more endpoints than a loop uses, unevenly": {[]int{100, 300, 200}, "a", 0, map[string]float64{"a": 0.5, "b": 0.5}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := zones(tc.counts...)
			c, _ := view(t, cfg, tc.zone)
			for _, h := range c.Hosts()[:tc.fails] {
				h.Failed(0)
			}
			got := map[string]int{}
			for a, n := range picks(c, 1, n) {
				got[cfg.Traits[a].Zone] += n
			}
			for _, z := range []string{"a", "b", "c"} {
				near(t, "zone "+z, got[z], n, tc.want[z])
			}
		})
	}
}

func TestPanic(t *testing.T) {
	cases := map[string]struct {
		panic, sick int
		want        int // endpoints that are picked
	}{
		"well":                                  {50, 0, 4},
		"half is enough":                        {50, 2, 2},
		"below the threshold all are used":      {50, 3, 4},
		"none left":                             {1, 4, 4},
		"without a threshold the rest is used":  {0, 3, 1},
		"without a threshold there may be none": {0, 4, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := cluster(4)
			cfg.Balancing.Panic, cfg.Traits = tc.panic, map[netip.AddrPort]config.Trait{}
			for _, a := range cfg.Endpoints[:tc.sick] {
				cfg.Traits[a] = config.Trait{Unhealthy: true}
			}
			c, _ := view(t, cfg, "")
			got := map[netip.AddrPort]bool{}
			for range 100 {
				if h := c.Pick(0); h != nil {
					got[h.Addr] = true
				}
			}
			if len(got) != tc.want {
				t.Errorf("%d endpoints were picked, want %d", len(got), tc.want)
			}
		})
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	for _, p := range config.Policies() {
		cfg := zones(10, 10, 10)
		cfg.Balancing.Policy, cfg.Balancing.SlowStart.Window = p, time.Hour
		cfg.Outlier = &config.Outlier{Consecutive: 1000, Interval: time.Second, BaseEjection: time.Second, MaxEjection: time.Second, SuccessRate: &config.SuccessRate{Endpoints: 1, Requests: 1}}
		c, _ := view(t, cfg, "a")
		now, hash := time.Duration(0), uint64(0)
		n := testing.AllocsPerRun(2000, func() {
			now += 10 * time.Millisecond
			hash++
			h := c.PickFor(now, hash)
			h.Begin()
			h.Report(upstream.OutcomeError, now, time.Millisecond)
			h.Failed(now)
			h.Worked()
			h.End()
		})
		if n != 0 {
			t.Errorf("%s: %v allocations for one request, want 0", p, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, p := range config.Policies() {
		for name, cfg := range map[string]*config.Cluster{"even": weighted(p, make([]uint32, 32)...), "weighted": weighted(p, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16), "3": cluster(3)} {
			cfg.Balancing.Policy = p
			b.Run(p.String()+"/"+name, func(b *testing.B) {
				c, _ := view(b, cfg, "")
				b.ReportAllocs()
				hash := uint64(0)
				for b.Loop() {
					hash += 0x9E3779B97F4A7C15
					h := c.PickFor(time.Second, hash)
					h.Begin()
					h.End()
				}
			})
		}
	}
}

func BenchmarkTable(b *testing.B) {
	for _, p := range []config.Policy{config.RingHash, config.Maglev} {
		b.Run(p.String(), func(b *testing.B) {
			cfg := cluster(upstream.MaxHashed)
			cfg.Balancing.Policy = p
			b.ReportAllocs()
			for b.Loop() {
				upstream.NewTable(cfg)
			}
		})
	}
}

func BenchmarkHash(b *testing.B) {
	key := []byte("session-0123456789abcdef")
	for b.Loop() {
		upstream.Hash(key)
	}
}
