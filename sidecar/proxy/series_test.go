package proxy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/route"
)

// TestSeriesAreBounded has more routes than are counted by themselves, and keeps what is known when the table changes.
func TestSeriesAreBounded(t *testing.T) {
	hosts := func(n int) *route.Table {
		all := map[string]*config.Host{}
		for i := range n {
			key := fmt.Sprintf("h%04d", i)
			all[key] = &config.Host{Name: key, Routes: []config.Route{{Name: "r", Status: 200}, {Name: "r", Status: 201}, {Status: 202}}}
		}
		return route.Compile(all)
	}
	l, err := newTestLoop()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(&Engine{}, 0, l)
	from := &config.Listener{Direction: config.Outbound}
	w.retarget(hosts(maxRouteCounts/2+10), nil) // two names each
	for i := range w.targets {
		to := goal{route: &w.targets[i]}
		w.enter(&to, from, SpokenHTTP1)
		to.account.end(w, CodeOf(200), FlagNone)
	}
	w.retarget(hosts(maxRouteCounts/2+20), []string{"a cluster"})
	straight := goal{cluster: &cluster{name: "a cluster"}}
	w.enter(&straight, &config.Listener{}, SpokenBolt)
	straight.account.end(w, CodeOf(0), FlagNone)
	var s Stats
	w.countSeries(&s)
	name := func(host, route string) SeriesName {
		return SeriesName{config.Outbound, SpokenHTTP1, RouteName{host, route}}
	}
	got := map[string]uint64{}
	for _, n := range []SeriesName{name(Other, Other), name("h0000", "r"), name("h0000", "#2"), {config.Inbound, SpokenBolt, straightName("a cluster")}} {
		c := s.Series[n]
		got[n.Host+" "+n.Route] = c.Ended()
	}
	want := map[string]uint64{Other + " " + Other: 30, "h0000 r": 2, "h0000 #2": 1, "a cluster -": 1}
	if diff := cmp.Diff(want, got); diff != "" || len(s.Series) > maxRouteCounts+1 {
		t.Errorf("%d series; ends (-want +got):\n%s", len(s.Series), diff)
	}
}

// TestCodesAreBounded has an endpoint that makes statuses up.
func TestCodesAreBounded(t *testing.T) {
	var one tally
	for status := range 1000 {
		one.add(CodeOf(status), FlagNone, time.Millisecond)
	}
	c := SeriesCount{Codes: one.codes}
	if rest := c.at(codeOther, FlagNone, false); len(c.Codes) != maxCodes+1 || rest == nil || *rest != 1000-maxCodes || c.Ended() != 1000 {
		t.Errorf("%d codes, %d in all: %+v", len(c.Codes), c.Ended(), c.Codes)
	}
}

func TestSeriesTravel(t *testing.T) {
	var c Counters
	name := SeriesName{config.Outbound, SpokenGRPC, RouteName{"com.x.Pay:1.0", "payments/gray/0"}}
	var one tally
	one.add(CodeOf(0), FlagNone, 3*time.Millisecond)
	one.add(0, FlagClientGone, time.Hour)
	c.Series = c.Series.add(seriesCounts{name: {Codes: one.codes, Latency: one.latency, Total: one.total}})
	c.Upstreams = clusterCounts{"shop": {Retries: 1}, "idle": {Sent: 1}}
	warm := c
	one.add(0, FlagOf(FailTimeout), time.Second)
	want := SeriesCount{Codes: one.codes, Latency: one.latency, Total: one.total}
	c.Series = seriesCounts{name: want}
	c.Upstreams = c.Upstreams.add(clusterCounts{"shop": {Retries: 2}})
	since := c
	since.sub(&warm)
	if len(since.Upstreams) != 1 {
		t.Errorf("the difference has what has not changed: %+v", since.Upstreams)
	}
	b, err := json.Marshal([]Counters{warm, since})
	if err != nil {
		t.Fatal(err)
	}
	var got []Counters
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	got[0].add(&got[1])
	if diff := cmp.Diff(seriesCounts{name: want}, got[0].Series); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(clusterCounts{"shop": {Retries: 3}, "idle": {Sent: 1}}, got[0].Upstreams); diff != "" {
		t.Errorf("clusters (-want +got):\n%s", diff)
	}
}

// TestCountersOfALaterBuild: what this build has no name for does not keep it from taking over, and is counted together.
func TestCountersOfALaterBuild(t *testing.T) {
	const later = `{"Series":{
		"outbound\nhttp3\nshop.demo\nall":{"Codes":[{"Code":"200","Flag":"tired","N":2},{"Code":"200","Flag":"bored","N":1}],"Latency":[3],"Total":7},
		"outbound\nhttp4\nshop.demo\nall":{"Codes":[{"Code":"200","Flag":"tired","N":4}],"Latency":[4],"Total":5}},"More":1}`
	var c Counters
	if err := json.Unmarshal([]byte(later), &c); err != nil {
		t.Fatal(err)
	}
	want := seriesCounts{{config.Outbound, spokens, RouteName{"shop.demo", "all"}}: {
		Codes: []CodeCount{{CodeOf(200), flags, 7}}, Latency: Latency{7}, Total: 12,
	}}
	if diff := cmp.Diff(want, c.Series); diff != "" || spokens.String() != Other || flags.String() != Other {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestCodesHaveNames(t *testing.T) {
	for want, c := range map[string]Code{"-": 0, "0": CodeOf(0), "200": CodeOf(200), Other: codeOther} {
		var again Code
		if err := again.UnmarshalText([]byte(want)); c.String() != want || err != nil || again != c {
			t.Errorf("code %d is %q and %d again, want %q; %v", c, c, again, want, err)
		}
	}
	seen := map[string]bool{}
	for _, f := range Flags() {
		if name := f.String(); seen[name] || flagNamed(name) != f {
			t.Errorf("flag %d is %q, which is taken or another one", f, name)
		}
		seen[f.String()] = true
	}
}

func FuzzSources(f *testing.F) {
	e := encoder{}
	e.byte(sourceVersion)
	e.uint(7 << 40)
	e.addr(netip.MustParseAddrPort("192.0.2.1:5000"))
	f.Add(e.b)
	f.Add([]byte{sourceVersion + 1})
	l, err := newTestLoop()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWorker(&Engine{}, 0, l)
		w.takeSources(b)
		for id, at := range w.sources {
			again := encoder{}
			again.byte(sourceVersion)
			again.uint(id)
			again.addr(*at)
			to := newWorker(&Engine{}, 0, l)
			if to.takeSources(again.b); to.sources[id] == nil || *to.sources[id] != *at {
				t.Errorf("%v comes back as %v", at, to.sources[id])
			}
		}
	})
}

func FuzzRecords(f *testing.F) {
	e := encoder{}
	e.byte(recordVersion)
	e.record(recordPlace{7 << 40, 3}, &accountState{name: SeriesName{config.Outbound, SpokenDubbo, RouteName{"h", "r"}}, age: time.Second, code: CodeOf(20)})
	f.Add(e.b)
	f.Add([]byte{recordVersion + 1})
	l, err := newTestLoop()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWorker(&Engine{}, 0, l)
		w.takeRecords(b)
		for at := range w.records {
			var a account
			w.recorded(&a, at.conn, at.id)
			a.end(w, 0, FlagNone)
		}
		if len(w.records) > 0 {
			t.Errorf("%d records are left", len(w.records))
		}
	})
}
