package story

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/hack/peers/boltclient"
	"github.com/axlemesh/axle/hack/peers/boltserver"
	"github.com/axlemesh/axle/hack/peers/meshstate"
)

// stage is a cluster in which everything that is asked for has happened at the next look.
type stage struct {
	t        *testing.T
	clock    time.Time
	looks    int
	joined   bool
	left     bool
	version  string
	versions int
	windows  []string
	requests int64
	added    int   // pods with slots
	percent  int   // of the requests that go to them, by rule
	ruled    int64 // and what they got by it
	broken   bool
	// spoil changes what is seen.
	spoil func(s *stage, o *Observation)
	fail  error
	lines []string
}

const (
	clients = 3
	servers = 3
	perPod  = 2
)

func (s *stage) Join(context.Context) error {
	s.joined, s.version, s.versions = true, "v1", 1
	return s.fail
}
func (s *stage) Leave(context.Context) error { s.left = true; return nil }
func (s *stage) Upgrade(_ context.Context, v string) error {
	s.broken = v == "v5-broken"
	if s.broken || v == s.version {
		return nil
	}
	s.version = v
	s.versions++
	return nil
}
func (s *stage) Scale(_ context.Context, n int) error       { s.added = n; return nil }
func (s *stage) Split(_ context.Context, percent int) error { s.percent = percent; return nil }
func (s *stage) Enter(_ context.Context, w string) error {
	s.windows = append(s.windows, w)
	return nil
}
func (s *stage) Pause(context.Context) error { return nil }

func (s *stage) Observe(context.Context) (Observation, error) {
	s.looks++
	s.requests += 1000
	o := Observation{Programmed: s.percent > 0}
	if s.broken {
		o.RolledBack, o.Trouble = "went back to v4", "HandoverFailed"
	}
	s.ruled += int64(10 * clients * s.percent)
	for i := range clients {
		p := s.pod(fmt.Sprintf("cashier-%d", i), i)
		r := boltclient.Report{Sent: s.requests, Requests: s.requests, Via: map[boltclient.Via]int{boltclient.Direct: perPod}}
		port := 1000
		if s.joined {
			r.Moves, r.Via = perPod, map[boltclient.Via]int{boltclient.Mesh: perPod}
			port = 2000
		}
		if s.left {
			r.Returns, r.Via = perPod, map[boltclient.Via]int{boltclient.Direct: perPod}
			port = 3000
		}
		r.Windows = []boltclient.Window{window(s.t, "baseline", 1), window(s.t, "steady", 1.2), window(s.t, "upgrade", 2)}
		p.Client = &Client{Report: r}
		for n := range perPod {
			p.Client.Connections = append(p.Client.Connections, boltclient.Connection{Number: uint32(n), Local: fmt.Sprintf("10.0.0.1:%d", port+n)})
		}
		o.Pods = append(o.Pods, p)
	}
	for i := range servers {
		p := s.pod(fmt.Sprintf("ledger-%d", i), clients+i)
		p.Server = &boltserver.Report{Requests: s.requests}
		if i == 0 {
			p.Server.Requests -= s.ruled + int64(s.added)
		}
		p.Ruled = true
		o.Pods = append(o.Pods, p)
	}
	for i := range s.added {
		p := s.pod(fmt.Sprintf("ledger-v2-%d", i), clients+servers+i)
		p.Sidecars = []Sidecar{{Name: "axle-a", Slot: true, Running: true}, {Name: "axle-b", Slot: true, Running: true}}
		p.Server = &boltserver.Report{Requests: 1}
		if i == 0 {
			p.Server.Requests += s.ruled
		}
		p.Added, p.Ruled = true, true
		o.Pods = append(o.Pods, p)
	}
	if s.spoil != nil {
		s.spoil(s, &o)
	}
	return o, nil
}

func (s *stage) pod(name string, i int) Pod {
	p := Pod{Name: name, UID: "uid-" + name, IP: fmt.Sprintf("10.1.0.%d", i), Node: "n", Container: "c-" + name}
	p.Mesh.State.State = meshstate.Absent
	for g := range s.versions {
		c := Sidecar{Name: fmt.Sprintf("axle-g%d", g+1), Ended: true}
		if g == s.versions-1 && !s.left {
			c.Running, c.Ended = true, false
		}
		p.Sidecars = append(p.Sidecars, c)
	}
	if s.joined && !s.left {
		p.Mesh.State = meshstate.State{State: meshstate.Serving, Version: s.version, Generation: int64(s.versions)}
		p.Mesh.Metrics = []string{`axle_build_info{version="` + s.version + `"} 1`}
	}
	return p
}

var windows = map[string]boltclient.Window{}

func window(t *testing.T, name string, ms float64) boltclient.Window {
	t.Helper()
	if w, ok := windows[name]; ok {
		return w
	}
	h := hdr.New(1, 60_000_000, 2)
	for range 100 {
		if err := h.RecordValue(int64(ms * 1000)); err != nil {
			t.Fatal(err)
		}
	}
	enc, err := h.Encode(hdr.V2CompressedEncodingCookieBase)
	if err != nil {
		t.Fatal(err)
	}
	windows[name] = boltclient.Window{Name: name, Count: 100, MeanMS: ms, Histogram: string(enc)}
	return windows[name]
}

func (s *stage) tell(t *testing.T) Verdict {
	t.Helper()
	s.t = t
	s.clock = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return Story{
		Plan: Plan{
			First: "v1", Upgrades: []string{"v2", "v3", "v4"}, Broken: "v5-broken", Added: 2, Split: 10, Measure: 20 * time.Second, Pods: clients + servers, Connections: clients * perPod,
			Baseline: time.Minute, Steady: 30 * time.Second, Settle: 10 * time.Second, Patience: time.Minute, Poll: 500 * time.Millisecond,
		},
		Watcher: s, Operator: s, Load: s,
		Say: func(format string, args ...any) { s.lines = append(s.lines, fmt.Sprintf(format, args...)) },
		Now: func() time.Time { return s.clock },
		Wait: func(_ context.Context, d time.Duration) bool {
			s.clock = s.clock.Add(d)
			return true
		},
	}.Tell(context.Background())
}

func TestAStoryWithoutALossPasses(t *testing.T) {
	s := &stage{}
	v := s.tell(t)
	want := fmt.Sprintf("demo: PASS pods=8 in_place=6 slots=2 upgrades=3 rolled_back=1 moves=6 requests=%d failed=0 resets=0 reconnects=0 duplicates=0 "+
		"app_restarts=0 split=0.10 added_mean_ms=0.200 p99_steady_ms=1.21 p99_upgrade_ms=2.01 left=ok", 3*s.requests)
	if v.String() != want {
		t.Errorf("line\n got %s\nwant %s", v, want)
	}
	entered := []string{"baseline", "moving", "steady", "growing", "upgrade", "steady", "upgrade", "steady", "upgrade", "steady", "upgrade", "steady", "split", "leaving"}
	if diff := cmp.Diff(entered, s.windows); diff != "" {
		t.Errorf("windows (-want +got):\n%s", diff)
	}
	if took := s.clock.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)); took < 2*time.Minute {
		t.Errorf("the story took only %v", took)
	}
}

// TestWhateverIsNoticedFails spoils one thing each, from the second upgrade on unless it says otherwise.
func TestWhateverIsNoticedFails(t *testing.T) {
	late := func(change func(o *Observation)) func(*stage, *Observation) {
		return func(s *stage, o *Observation) {
			if s.versions >= 3 {
				change(o)
			}
		}
	}
	cases := map[string]struct {
		spoil func(*stage, *Observation)
		want  string
	}{
		"a failed request": {late(func(o *Observation) {
			o.Pods[1].Client.Failed, o.Pods[1].Client.Reasons = 1, map[string]int64{"timeout": 1}
		}), "failed=1 (timeout: 1)"},
		"a reset":            {late(func(o *Observation) { o.Pods[0].Client.Resets = 1 }), "resets=1"},
		"a reconnect":        {late(func(o *Observation) { o.Pods[0].Client.Reconnects = 2 }), "reconnects=2"},
		"an answer twice":    {late(func(o *Observation) { o.Pods[2].Client.Duplicates = 1 }), "duplicates=1"},
		"a request twice":    {late(func(o *Observation) { o.Pods[4].Server.Duplicates = 1 }), "duplicates=1"},
		"a changed byte":     {late(func(o *Observation) { o.Pods[4].Server.BadChecksums = 1 }), "bad_checksums=1"},
		"another socket":     {late(func(o *Observation) { o.Pods[0].Client.Connections[1].Local = "10.0.0.1:9" }), "after the upgrade to v3 1 connections are other sockets"},
		"an old version":     {late(func(o *Observation) { o.Pods[5].Mesh.Version = "v2" }), "version v3 everywhere did not happen within 1m0s: ledger-2 (serving with v2)"},
		"old metrics":        {late(func(o *Observation) { o.Pods[5].Mesh.Metrics = nil }), "version v3 everywhere did not happen"},
		"what operators say": {late(func(o *Observation) { o.Pods[5].Mesh.Version = "v2"; o.Trouble = "HandoverFailed: x" }), "HandoverFailed: x"},
		"an app that restarts": {late(func(o *Observation) {
			o.Pods[0].Restarts, o.Pods[0].Container = 1, "other"
		}), "the application of pod cashier-0 restarted 1 times"},
		"a pod that is another":    {late(func(o *Observation) { o.Pods[3].UID = "other" }), "pod ledger-0 was replaced"},
		"a pod at another address": {late(func(o *Observation) { o.Pods[3].IP = "10.9.9.9" }), "pod ledger-0 went from 10.1.0.3"},
		"a connection that changes before the mesh": {func(s *stage, o *Observation) {
			if s.looks > 5 && !s.joined {
				o.Pods[0].Client.Connections[0].Local = "10.0.0.1:9"
			}
		}, "1 connections changed without a mesh"},
		"a connection that does not move": {func(s *stage, o *Observation) {
			if s.joined {
				o.Pods[0].Client.Moves--
			}
		}, "5 of 6 moves"},
		"a connection that moves twice": {func(s *stage, o *Observation) {
			if s.left {
				o.Pods[0].Client.Moves++
			}
		}, "moves=7 and returns=6, want 6 of each"},
		"a sidecar that does not leave": {func(s *stage, o *Observation) {
			if s.left {
				o.Pods[0].Sidecars[3].Ended = false
			}
		}, "every sidecar's end did not happen within 1m0s: cashier-0 axle-g4 has not ended"},
		"a sidecar that crashed": {func(s *stage, o *Observation) {
			if s.left {
				o.Pods[0].Sidecars[1].ExitCode, o.Pods[0].Sidecars[1].Reason = 137, "OOMKilled"
			}
		}, "cashier-0 axle-g2 ended with 137 (OOMKilled)"},
		"a new pod without slots": {func(s *stage, o *Observation) {
			if s.added > 0 {
				o.Pods[6].Sidecars = nil
			}
		}, "the new pods' part of the calls did not happen within 1m0s: ledger-v2-0 has no slots"},
		"a slot that serves on": {func(s *stage, o *Observation) {
			if s.left {
				o.Pods[7].Mesh.State.State = meshstate.Serving
			}
		}, "ledger-v2-1 is still served"},
		"a rollback that does not happen": {func(_ *stage, o *Observation) { o.RolledBack = "" }, "the fleet does not say that it rolled back; HandoverFailed"},
		"a rule that no sidecar has":      {func(_ *stage, o *Observation) { o.Programmed = false }, "the rule in every sidecar did not happen"},
		"a rule that moves too much": {func(s *stage, o *Observation) {
			if s.percent > 0 {
				o.Pods[6].Server.Requests += s.ruled
				o.Pods[4].Server.Requests -= s.ruled
			}
		}, "split=0.2000, want 0.10"},
		"a message that got lost": {func(s *stage, o *Observation) {
			o.Pods[5].Server.Requests--
		}, "messages, the servers got"},
		"no pods": {func(_ *stage, o *Observation) { o.Pods = nil }, "a direct start did not happen within 1m0s: 0 of 6 pods"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			v := (&stage{spoil: tc.spoil}).tell(t)
			if v.Passed() || !strings.HasPrefix(v.String(), "demo: FAIL ") || !strings.Contains(v.String(), tc.want) {
				t.Errorf("line %q\nwant a failure about %q", v, tc.want)
			}
		})
	}
}

func TestAnErrorOfTheClusterFails(t *testing.T) {
	v := (&stage{fail: errors.New("the apiserver is away")}).tell(t)
	if v.Passed() || !strings.Contains(v.String(), "the apiserver is away") {
		t.Errorf("line %q", v)
	}
}
