package main

import (
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/hack/peers/boltclient"
)

// clean is a verdict of a storm that nobody could notice.
func clean() Verdict {
	f := Footprint{Kinds: map[string]int{"socket": 510, "anon_inode": 10}, Goroutines: 14, Heap: 10 << 20}
	return Verdict{
		Upgrades: 50, Connections: 500, Executed: 1030, First: f, Last: f, Handovers: Handovers{Done: 50, Moved: 25000, Swift: 50, Bearable: 50, Requests: 1030}, SteadyP99: 12, UpgradeP99: 20, Total: 25, Slowest: 0.75,
		Clients: []boltclient.Report{{Sent: 500, Requests: 500, Oneways: 10}, {Sent: 510, Requests: 510, Oneways: 10}},
	}
}

func TestVerdict(t *testing.T) {
	cases := map[string]struct {
		change func(*Verdict)
		want   string // part of the only reason; empty for a pass
	}{
		"nothing to be seen":                         {func(*Verdict) {}, ""},
		"less heap is fine":                          {func(v *Verdict) { v.Last.Heap /= 2 }, ""},
		"a little more heap is fine":                 {func(v *Verdict) { v.Last.Heap += v.Last.Heap / 20 }, ""},
		"a factor of a small p99":                    {func(v *Verdict) { v.SteadyP99, v.UpgradeP99 = 1, 5 }, ""},
		"slow upgrades on a machine that others use": {func(v *Verdict) { v.UpgradeP99, v.Foreign = 300, 0.5 }, ""},
		"no requests": {func(v *Verdict) {
			v.Clients, v.Executed, v.Handovers.Requests = nil, 0, 0
		}, "no request was answered"},
		"a failure": {func(v *Verdict) {
			v.Clients[1].Failed, v.Clients[1].Reasons = 2, map[string]int64{"timeout": 2}
		}, "failed=2 map[timeout:2]"},
		"a reset":                      {func(v *Verdict) { v.Clients[0].Resets = 1 }, "resets=1"},
		"a reconnect":                  {func(v *Verdict) { v.Clients[0].Reconnects = 1 }, "reconnects=1"},
		"an answer twice":              {func(v *Verdict) { v.Clients[0].Duplicates = 3 }, "duplicates=3"},
		"a request twice at a server":  {func(v *Verdict) { v.Repeated = 1 }, "duplicates=1"},
		"a request more than was sent": {func(v *Verdict) { v.Executed++ }, "sent 1030 messages, the servers got 1031"},
		"a lost oneway":                {func(v *Verdict) { v.Executed-- }, "sent 1030 messages, the servers got 1029"},
		"a changed byte":               {func(v *Verdict) { v.BadChecksums = 1 }, "bad checksums"},
		"a reset at a server":          {func(v *Verdict) { v.ServerResets = 1 }, "the servers saw 1 resets"},
		"a handover that was none":     {func(v *Verdict) { v.Handovers.Done, v.Handovers.Swift, v.Handovers.Bearable = 49, 49, 49 }, "counted 49 handovers"},
		"a connection lost":            {func(v *Verdict) { v.Handovers.Lost = 1 }, "lost 1 connections"},
		"a kernel that disagrees":      {func(v *Verdict) { v.Handovers.Mismatch = 2 }, "contradicted the sidecars' 2 times"},
		"a counter that goes back":     {func(v *Verdict) { v.Handovers.Requests = 30 }, "the sidecars counted 30"},
		"a long standstill":            {func(v *Verdict) { v.Handovers.Swift = 40 }, "more than 10 ms in 10 of 50 handovers"},
		"a longer standstill":          {func(v *Verdict) { v.Handovers.Bearable = 49 }, "more than 50 ms in 1 of 50 handovers"},
		"another socket":               {func(v *Verdict) { v.Moved = 1 }, "1 connections are other sockets"},
		"a descriptor left":            {func(v *Verdict) { v.Last.Kinds = map[string]int{"socket": 511, "anon_inode": 10} }, "descriptors went from 520 "},
		"a goroutine left":             {func(v *Verdict) { v.Last.Goroutines++ }, "goroutines went from 14 to 15"},
		"a heap that grows":            {func(v *Verdict) { v.Last.Heap += v.Last.Heap / 5 }, "heap went"},
		"hedged requests are done again": {func(v *Verdict) {
			v.Hedge, v.Executed, v.Repeated, v.Handovers.Again, v.Handovers.Hedges = true, 1048, 2, 20, 15
		}, ""},
		"a hedged request too often": {func(v *Verdict) { v.Hedge, v.Handovers.Again, v.Handovers.Hedges = true, 20, 20 }, "sent 1030 messages, the servers got 1010"},
		"no request hedged":          {func(v *Verdict) { v.Hedge = true }, "nothing was hedged"},
		"slow upgrades":              {func(v *Verdict) { v.UpgradeP99 = 30 }, "p99 went from 12.00 to 30.00"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			v := clean()
			tc.change(&v)
			why := v.Why()
			if tc.want == "" {
				if len(why) != 0 || !strings.HasPrefix(v.String(), "storm: PASS upgrades=50 connections=500 requests=1010 failed=0 ") {
					t.Errorf("reasons %q, line %q", why, v)
				}
				return
			}
			if len(why) != 1 || !strings.Contains(why[0], tc.want) {
				t.Errorf("reasons %q, want one about %q", why, tc.want)
			}
			if !strings.HasPrefix(v.String(), "storm: FAIL ") || !strings.Contains(v.String(), tc.want) {
				t.Errorf("line %q", v)
			}
		})
	}
}

func TestForeign(t *testing.T) {
	at := time.Unix(1000, 0)
	cores := float64(runtime.NumCPU())
	before := effort{at, 5 * time.Second, time.Second}
	after := effort{at.Add(10 * time.Second), 11 * time.Second, 2 * time.Second}
	if got, want := foreign(before, after), 5/(10*cores); math.Abs(got-want) > 1e-9 {
		t.Errorf("others used %v of the machine, want %v", got, want)
	}
}

func TestChangedSockets(t *testing.T) {
	before := map[string]string{"0/0": "a:1", "0/1": "a:2"}
	cases := map[string]struct {
		after map[string]string
		want  int
	}{
		"the same":       {map[string]string{"0/0": "a:1", "0/1": "a:2"}, 0},
		"another port":   {map[string]string{"0/0": "a:1", "0/1": "a:9"}, 1},
		"one is missing": {map[string]string{"0/0": "a:1"}, 1},
		"one more":       {map[string]string{"0/0": "a:1", "0/1": "a:2", "0/2": "a:3"}, 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, changed(before, tc.after)); diff != "" {
				t.Errorf("changed (-want +got):\n%s", diff)
			}
		})
	}
}
