package story

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Verdict is how the story ended.
type Verdict struct {
	// Why lists everything that was not as it must be; nil is a pass.
	Why                                              []string
	Pods, InPlace, Slots, Upgrades, RolledBack       int
	Moves                                            int64
	Requests, Failed, Resets, Reconnects, Duplicates int64
	AppRestarts                                      int
	AddedMeanMS, P99SteadyMS, P99UpgradeMS           float64
	// Left says that all sidecars went away as they should.
	Left bool
	// Split is the measured part of the requests that the TrafficRule moved, from 0 to 1.
	Split float64
}

// Passed says whether nothing was wrong.
func (v Verdict) Passed() bool { return len(v.Why) == 0 }

// String is the demo's last line.
func (v Verdict) String() string {
	word := "PASS"
	if !v.Passed() {
		word = "FAIL " + strings.Join(v.Why, "; ")
	}
	left := "no"
	if v.Left {
		left = "ok"
	}
	return fmt.Sprintf("demo: %s pods=%d in_place=%d slots=%d upgrades=%d rolled_back=%d moves=%d requests=%d failed=%d resets=%d reconnects=%d duplicates=%d "+
		"app_restarts=%d split=%.2f added_mean_ms=%.3f p99_steady_ms=%.2f p99_upgrade_ms=%.2f left=%s",
		word, v.Pods, v.InPlace, v.Slots, v.Upgrades, v.RolledBack, v.Moves, v.Requests, v.Failed, v.Resets, v.Reconnects, v.Duplicates,
		v.AppRestarts, v.Split, v.AddedMeanMS, v.P99SteadyMS, v.P99UpgradeMS, left)
}

// losses lists what the clients must never see, in one observation. They are final: a story with a loss has failed.
func losses(o Observation) []string {
	t := o.tally()
	var why []string
	if t.failed > 0 {
		why = append(why, fmt.Sprintf("failed=%d (%s)", t.failed, list(t.reasons)))
	}
	for _, c := range []struct {
		name string
		n    int64
	}{
		{"resets", t.resets}, {"reconnects", t.reconnects}, {"duplicates", t.duplicates}, {"bad_checksums", t.badChecksums},
	} {
		if c.n > 0 {
			why = append(why, fmt.Sprintf("%s=%d", c.name, c.n))
		}
	}
	return why
}

// disturbed lists the pods that are not what they were: another pod, address or node, or an application that restarted.
func disturbed(before, after Observation) (why []string, restarts int) {
	for _, b := range before.Pods {
		a, ok := after.pod(b.Name)
		switch {
		case !ok || a.UID != b.UID:
			why = append(why, fmt.Sprintf("pod %s was replaced", b.Name))
			continue
		case a.IP != b.IP || a.Node != b.Node:
			why = append(why, fmt.Sprintf("pod %s went from %s on %s to %s on %s", b.Name, b.IP, b.Node, a.IP, a.Node))
		}
		n := a.Restarts - b.Restarts
		if n == 0 && a.Container != b.Container {
			n = 1
		}
		if n > 0 {
			restarts += n
			why = append(why, fmt.Sprintf("the application of pod %s restarted %d times", b.Name, n))
		}
	}
	return why, restarts
}

// executed compares what the clients sent with what the servers got, once nothing is on its way any more.
func executed(o Observation) []string {
	t := o.tally()
	if t.sent == t.executed {
		return nil
	}
	return []string{fmt.Sprintf("the clients sent %d messages, the servers got %d", t.sent, t.executed)}
}

func list(m map[string]int64) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s: %d", k, m[k]))
	}
	return strings.Join(out, ", ")
}
