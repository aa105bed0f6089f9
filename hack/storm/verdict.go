package main

import (
	"fmt"
	"strings"

	"github.com/axlemesh/axle/hack/peers/boltclient"
)

// Footprint is what a sidecar process holds while no request is under way.
type Footprint struct {
	// Kinds are the open descriptors: sockets, pollers, files by their names.
	Kinds      map[string]int
	Goroutines int
	// Heap in bytes, right after a collection.
	Heap int64
}

// Descriptors is how many there are of all kinds.
func (f Footprint) Descriptors() int {
	n := 0
	for _, k := range f.Kinds {
		n += k
	}
	return n
}

// Verdict is everything that a storm has seen.
type Verdict struct {
	Upgrades, Connections int
	Hedge                 bool
	// Clients are their last reports; Moved says how many connections are other sockets than before the first upgrade.
	Clients []boltclient.Report
	Moved   int
	// Executed is how many requests and oneways the servers did, and how many they were asked to do again.
	Executed, Repeated int64
	// BadChecksums and Resets as the servers saw them.
	BadChecksums, ServerResets int64
	First, Last                Footprint
	Handovers                  Handovers
	// SteadyP99 and UpgradeP99 are in milliseconds, over all clients.
	SteadyP99, UpgradeP99 float64
	// Foreign is the part of the machine that others used during the upgrades.
	Foreign float64
	// Seconds that the upgrades took in all, and the slowest one.
	Total, Slowest float64
}

// Limits of what a storm may show.
const (
	heapTolerance = 0.10
	p99Factor     = 2
	// p99Floor in milliseconds: below it a factor says more about the machine than about the sidecar.
	p99Floor = 10
	// swiftPart of the handovers keep the 99th percentile of a connection's standstill under 10 ms; none takes 50 ms.
	swiftPart = 0.9
	// maxForeign is how much of the machine others may use before latencies say nothing any more: they are shown then,
	// and not judged.
	maxForeign = 0.15
)

func (v Verdict) sum(f func(boltclient.Report) int64) int64 {
	var n int64
	for _, r := range v.Clients {
		n += f(r)
	}
	return n
}

func (v Verdict) failed() int64 {
	return v.sum(func(r boltclient.Report) int64 { return r.Failed })
}
func (v Verdict) resets() int64 {
	return v.sum(func(r boltclient.Report) int64 { return r.Resets })
}
func (v Verdict) reconnects() int64 {
	return v.sum(func(r boltclient.Report) int64 { return r.Reconnects })
}
func (v Verdict) duplicates() int64 {
	n := v.sum(func(r boltclient.Report) int64 { return r.Duplicates })
	if v.Hedge {
		return n // the servers may have got one again
	}
	return n + v.Repeated
}

// executed is what the servers did once: without what the sidecars have sent again.
func (v Verdict) executed() int64 {
	if v.Hedge {
		return v.Executed + v.Repeated - v.Handovers.Again
	}
	return v.Executed
}
func (v Verdict) requests() int64 {
	return v.sum(func(r boltclient.Report) int64 { return r.Requests })
}
func (v Verdict) sent() int64 {
	return v.sum(func(r boltclient.Report) int64 { return r.Sent + r.Oneways })
}

// Why lists everything that was not as it must be; nil means that nobody could notice the upgrades.
func (v Verdict) Why() []string {
	var why []string
	bad := func(is bool, format string, args ...any) {
		if is {
			why = append(why, fmt.Sprintf(format, args...))
		}
	}
	bad(v.requests() == 0, "no request was answered")
	bad(v.failed() > 0, "failed=%d %v", v.failed(), v.reasons())
	bad(v.resets() > 0, "resets=%d", v.resets())
	bad(v.reconnects() > 0, "reconnects=%d", v.reconnects())
	bad(v.duplicates() > 0, "duplicates=%d", v.duplicates())
	bad(v.executed() != v.sent(), "the clients sent %d messages, the servers got %d", v.sent(), v.executed())
	bad(v.Hedge && v.Handovers.Hedges == 0, "nothing was hedged")
	bad(v.BadChecksums > 0, "the servers saw %d bad checksums", v.BadChecksums)
	bad(v.ServerResets > 0, "the servers saw %d resets", v.ServerResets)
	bad(v.Moved > 0, "%d connections are other sockets than before", v.Moved)
	bad(v.Handovers.Done != v.Upgrades, "the sidecars counted %d handovers", v.Handovers.Done)
	bad(v.Handovers.Lost > 0, "the sidecars say that they lost %d connections", v.Handovers.Lost)
	bad(v.Handovers.Mismatch > 0, "the kernel's counters contradicted the sidecars' %d times", v.Handovers.Mismatch)
	bad(v.Handovers.Requests != v.sent(), "the clients sent %d messages, the sidecars counted %d", v.sent(), v.Handovers.Requests)
	bad(v.Foreign <= maxForeign && float64(v.Handovers.Swift) < swiftPart*float64(v.Handovers.Done),
		"connections stood still for more than 10 ms in %d of %d handovers", v.Handovers.Done-v.Handovers.Swift, v.Handovers.Done)
	bad(v.Foreign <= maxForeign && v.Handovers.Bearable < v.Handovers.Done,
		"connections stood still for more than 50 ms in %d of %d handovers", v.Handovers.Done-v.Handovers.Bearable, v.Handovers.Done)
	bad(v.Last.Descriptors() != v.First.Descriptors(), "descriptors went from %d %v to %d %v",
		v.First.Descriptors(), v.First.Kinds, v.Last.Descriptors(), v.Last.Kinds)
	bad(v.Last.Goroutines != v.First.Goroutines, "goroutines went from %d to %d", v.First.Goroutines, v.Last.Goroutines)
	bad(float64(v.Last.Heap) > float64(v.First.Heap)*(1+heapTolerance), "heap went from %d to %d bytes", v.First.Heap, v.Last.Heap)
	bad(v.Foreign <= maxForeign && v.UpgradeP99 > p99Floor && v.UpgradeP99 > p99Factor*v.SteadyP99, "p99 went from %.2f to %.2f ms", v.SteadyP99, v.UpgradeP99)
	return why
}

func (v Verdict) reasons() map[string]int64 {
	all := map[string]int64{}
	for _, r := range v.Clients {
		for k, n := range r.Reasons {
			all[k] += n
		}
	}
	return all
}

// String is the storm's last line.
func (v Verdict) String() string {
	word := "PASS"
	why := v.Why()
	if len(why) > 0 {
		word = "FAIL " + strings.Join(why, "; ")
	}
	judged := "yes"
	if v.Foreign > maxForeign {
		judged = fmt.Sprintf("no,_others_used_%.0f%%_of_the_machine", 100*v.Foreign)
	}
	again := ""
	if v.Hedge {
		again = fmt.Sprintf(" again=%d hedges=%d", v.Handovers.Again, v.Handovers.Hedges)
	}
	return fmt.Sprintf("storm: %s upgrades=%d connections=%d requests=%d failed=%d resets=%d reconnects=%d duplicates=%d same_sockets=%d "+
		"fds=%d/%d goroutines=%d/%d heap_kb=%d/%d p99_steady_ms=%.2f p99_upgrade_ms=%.2f freeze_p99_under_10ms=%d/%d moved=%d latencies_judged=%s mean_upgrade_s=%.2f slowest_upgrade_s=%.2f%s",
		word, v.Upgrades, v.Connections, v.requests(), v.failed(), v.resets(), v.reconnects(), v.duplicates(), v.Connections-v.Moved,
		v.First.Descriptors(), v.Last.Descriptors(), v.First.Goroutines, v.Last.Goroutines, v.First.Heap/1024, v.Last.Heap/1024,
		v.SteadyP99, v.UpgradeP99, v.Handovers.Swift, v.Handovers.Done, v.Handovers.Moved, judged, v.Total/float64(max(v.Upgrades, 1)), v.Slowest, again)
}
