package upstream_test

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/upstream"
)

const (
	okay = upstream.OutcomeOK
	fail = upstream.OutcomeError
	gate = upstream.OutcomeGateway
)

func outlier() *config.Outlier {
	return &config.Outlier{Consecutive: 3, Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjection: 80 * time.Second, MaxPercent: 100}
}

// ejected lists the endpoints that are out at now, by their place.
func ejected(c *upstream.Cluster[int], s *upstream.Shared, now time.Duration) []int {
	var out []int
	for i, one := range s.Standings("", 1, now) {
		if one.Health == "ejected" {
			out = append(out, i)
		}
	}
	for _, i := range out {
		for range 50 {
			if c.Pick(now) == c.Hosts()[i] {
				out = append(out, -1) // it is picked all the same
			}
		}
	}
	return out
}

func TestEjections(t *testing.T) {
	type report struct {
		host int
		at   time.Duration
		all  []upstream.Outcome
	}
	cases := map[string]struct {
		hosts   int
		change  func(*config.Outlier)
		reports []report
		at      time.Duration
		want    []int
	}{
		"too few in a row":               {hosts: 2, reports: []report{{0, 1, []upstream.Outcome{fail, gate, okay, fail, fail}}}, at: 2},
		"enough in a row, of both kinds": {hosts: 2, reports: []report{{0, 1, []upstream.Outcome{fail, gate, fail}}}, at: 2, want: []int{0}},
		"an answer that is an error is no gateway's": {
			hosts: 2, change: func(o *config.Outlier) { o.Consecutive, o.ConsecutiveGateway = 0, 2 },
			reports: []report{{0, 1, []upstream.Outcome{gate, fail, gate, fail, fail}}, {1, 1, []upstream.Outcome{gate, gate}}}, at: 2, want: []int{1},
		},
		"it ends":                        {hosts: 2, reports: []report{{0, 1, []upstream.Outcome{fail, fail, fail}}}, at: 30*time.Second + 1},
		"the next one is longer":         {hosts: 2, reports: []report{{0, 0, []upstream.Outcome{fail, fail, fail}}, {0, 31 * time.Second, []upstream.Outcome{fail, fail, fail}}}, at: 90 * time.Second, want: []int{0}},
		"and ends, too":                  {hosts: 2, reports: []report{{0, 0, []upstream.Outcome{fail, fail, fail}}, {0, 31 * time.Second, []upstream.Outcome{fail, fail, fail}}}, at: 92 * time.Second},
		"but not after a quiet while":    {hosts: 2, reports: []report{{0, 0, []upstream.Outcome{fail, fail, fail}}, {0, 41 * time.Second, []upstream.Outcome{fail, fail, fail}}}, at: 72 * time.Second},
		"a limit to its length":          {hosts: 2, change: func(o *config.Outlier) { o.MaxEjection = 30 * time.Second }, reports: []report{{0, 0, []upstream.Outcome{fail, fail, fail}}, {0, 31 * time.Second, []upstream.Outcome{fail, fail, fail}}}, at: 62 * time.Second},
		"while it is out nothing counts": {hosts: 2, reports: []report{{0, 0, []upstream.Outcome{fail, fail, fail, fail, fail, fail}}, {0, 31 * time.Second, []upstream.Outcome{fail}}}, at: 32 * time.Second},
		"half of them at a time": {
			hosts: 4, change: func(o *config.Outlier) { o.MaxPercent = 50 },
			reports: []report{{3, 1, []upstream.Outcome{fail, fail, fail}}, {2, 1, []upstream.Outcome{fail, fail, fail}}, {1, 1, []upstream.Outcome{fail, fail, fail}}}, at: 2, want: []int{2, 3},
		},
		"ten percent of four are none": {hosts: 4, change: func(o *config.Outlier) { o.MaxPercent = 10 }, reports: []report{{3, 1, []upstream.Outcome{fail, fail, fail}}}, at: 2},
		"unless one is always allowed": {
			hosts: 4, change: func(o *config.Outlier) { o.MaxPercent, o.AlwaysOne = 10, true },
			reports: []report{{3, 1, []upstream.Outcome{fail, fail, fail}}, {2, 1, []upstream.Outcome{fail, fail, fail}}}, at: 2, want: []int{3},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := cluster(tc.hosts)
			if cfg.Outlier = outlier(); tc.change != nil {
				tc.change(cfg.Outlier)
			}
			c, shared := view(t, cfg, "")
			for _, r := range tc.reports {
				for _, o := range r.all {
					c.Hosts()[r.host].Report(o, r.at, 0)
				}
			}
			if diff := cmp.Diff(tc.want, ejected(c, shared, tc.at)); diff != "" {
				t.Errorf("ejected (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEjectionsAreSharedAndSurviveSnapshots(t *testing.T) {
	cfg := cluster(3)
	cfg.Outlier = outlier()
	var count atomic.Uint64
	shared := &upstream.Shared{Ejected: &count}
	shared.Apply(cfg, "", 1)
	var loops [2]upstream.Cluster[int]
	for i := range loops {
		loops[i].Place.Shared = shared
		loops[i].Update(cfg, 1)
		loops[i].Pick(0)
	}
	for i := range 3 {
		loops[i%2].Hosts()[1].Report(fail, 0, 0)
	}
	more := cluster(4)
	more.Outlier = cfg.Outlier
	for _, next := range []*config.Cluster{cfg, more} {
		shared.Apply(next, "", 1)
		for i := range loops {
			loops[i].Update(next, 1)
			if diff := cmp.Diff([]int{1}, ejected(&loops[i], shared, 1)); diff != "" {
				t.Errorf("loop %d, %d endpoints (-want +got):\n%s", i, len(next.Endpoints), diff)
			}
		}
	}
	if _, out, sick := shared.Count(1); out != 1 || sick != 0 || count.Load() != 1 {
		t.Errorf("out %d, unhealthy %d, ejections %d; want 1, 0, 1", out, sick, count.Load())
	}
	none := cluster(3)
	shared.Apply(none, "", 1)
	loops[0].Update(none, 1)
	if got := len(picks(&loops[0], 1, 9)); got != 3 {
		t.Errorf("%d endpoints are picked when nothing ejects any more, want 3", got)
	}
}

func TestSuccessRates(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	run := func(bad float64) []int {
		cfg := cluster(6)
		cfg.Outlier = outlier()
		cfg.Outlier.Consecutive = 0
		cfg.Outlier.SuccessRate = &config.SuccessRate{Endpoints: 5, Requests: 100, Factor: 1.9}
		c, shared := view(t, cfg, "")
		for i := range 6000 {
			for k, h := range c.Hosts() {
				o, rate := okay, 0.001
				if k == 4 {
					rate = bad
				}
				if rnd.Float64() < rate {
					o = fail
				}
				h.Report(o, time.Second+time.Duration(i)*2*time.Millisecond, 0)
			}
		}
		return ejected(c, shared, 13*time.Second)
	}
	if diff := cmp.Diff([]int{4}, run(0.2)); diff != "" {
		t.Errorf("one of six fails 20 %% (-want +got):\n%s", diff)
	}
}

func TestChecksDecide(t *testing.T) {
	cfg := cluster(3)
	cfg.Check = &config.Check{}
	c, shared := view(t, cfg, "")
	at := cfg.Endpoints[1]
	if !shared.Checked(at, false) || shared.Checked(at, false) {
		t.Error("the first bad verdict is a change, the second is none")
	}
	if got := picks(c, 0, 9)[at]; got != 0 {
		t.Errorf("an unhealthy endpoint was picked %d times", got)
	}
	if !shared.Checked(at, true) {
		t.Error("a good verdict after a bad one is a change")
	}
	if got := picks(c, 0, 9)[at]; got != 3 {
		t.Errorf("an endpoint that is healthy again was picked %d times of 9, want 3", got)
	}
}

func TestLimits(t *testing.T) {
	cfg := cluster(1)
	cfg.MaxRequests, cfg.MaxRetries = 2, 1
	shared := &upstream.Shared{}
	shared.Apply(cfg, "", 1)
	l := shared.Limits(cfg)
	if l.Connections != nil || !l.Pending.Take() || l.Pending.Full() || l.Pending.Held() != 0 {
		t.Error("what has no limit holds something")
	}
	for i, want := range []bool{true, true, false} {
		if got := l.Requests.Take(); got != want {
			t.Errorf("request %d of a limit of 2: %v", i, got)
		}
	}
	if !l.Requests.Full() || l.Requests.Held() != 2 {
		t.Errorf("a limit of 2 holds %d", l.Requests.Held())
	}
	l.Requests.Force()
	l.Requests.Give()
	if l.Requests.Take() || shared.Idle() {
		t.Error("what came over the limit and went has made room")
	}
	more := *cfg
	more.MaxRequests = 3
	shared.Apply(&more, "", 1)
	if !l.Requests.Take() || l.Requests.Take() {
		t.Error("a limit that was raised to 3 has not exactly one more place")
	}
	for range 3 {
		l.Requests.Give()
	}
	if !shared.Idle() {
		t.Error("everything was given back, and it is not idle")
	}
}

// TestManyLoopsReport runs with the race detector: verdicts come from anywhere.
func TestManyLoopsReport(t *testing.T) {
	cfg := cluster(8)
	cfg.Outlier = outlier()
	cfg.Outlier.SuccessRate = &config.SuccessRate{Endpoints: 1, Requests: 1}
	shared := &upstream.Shared{}
	shared.Apply(cfg, "", 1)
	done := make(chan struct{})
	for i := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			c := upstream.Cluster[int]{Place: upstream.Place{Shared: shared, Salt: uint64(i)}}
			c.Update(cfg, 1)
			for n := range 5000 {
				now := time.Duration(n) * 10 * time.Millisecond
				if h := c.Pick(now); h != nil {
					h.Report(upstream.Outcome(n*7%3), now, 1)
				}
				shared.Checked(cfg.Endpoints[n%8], n%5 > 0)
			}
		}()
	}
	for range 4 {
		<-done
	}
}
