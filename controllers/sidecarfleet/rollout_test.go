package sidecarfleet

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestFirstSidecarsAreLimited(t *testing.T) {
	var pods []Pod
	for i := range 40 {
		pods = append(pods, pod(fmt.Sprintf("p%02d", i), bare, on(fmt.Sprintf("node-%d", i%4))))
	}
	steps, _ := Plan(t0, Observed{Fleet: fleet(first), Versions: versions(), Pods: pods})
	if len(steps) != startingAtOnce {
		t.Errorf("%d pods at once, want %d", len(steps), startingAtOnce)
	}
	for i := range pods {
		pods[i].Node = "node-1"
	}
	steps, _ = Plan(t0, Observed{Fleet: fleet(first), Versions: versions(), Pods: pods})
	if len(steps) != startingPerNode {
		t.Errorf("%d pods of one node at once, want %d", len(steps), startingPerNode)
	}
}

func TestFailureMessage(t *testing.T) {
	steps, _ := Plan(t0, Observed{Fleet: fleet(), Versions: versions(), Pods: []Pod{
		pod("pay-7d9f-x2x", wants(2, "v2", 1, true, 0), has(2, exited(1, "Error")), ended(1, 2, false)),
	}})
	want := "HandoverFailed: payments/pay-7d9f-x2x: axle-g2 (v2) failed in Move: candidate died; axle-g1 (v1) serves on, 0 connections lost." +
		" Logs: kubectl logs -n payments pay-7d9f-x2x -c axle-g2"
	if len(steps) != 1 || steps[0].Note != want {
		t.Errorf("note:\n got %v\nwant %s", steps, want)
	}
}

// A rollout that is played by hand: every pod does at once what it is told.
func TestARolloutEndsWithEveryPodUpgradedAndNeverMoreThanAllowedOnTheWay(t *testing.T) {
	var pods []Pod
	for i := range 23 {
		pods = append(pods, pod(fmt.Sprintf("p%02d", i), of(fmt.Sprintf("Deployment/d%d", i%3)), on(fmt.Sprintf("node-%d", i%5))))
	}
	f, turns := fleet(upTo("20%")), 0
	for ; turns < 500; turns++ {
		seen := Observed{Fleet: f, Versions: versions(), Pods: pods}
		steps, _ := Plan(t0, seen)
		if len(steps) == 0 {
			break
		}
		byName := map[string]*Pod{}
		for i := range pods {
			byName[pods[i].Name] = &pods[i]
		}
		for _, s := range steps {
			obey(byName[s.Pod.Name], s)
		}
		busy := map[string]int{}
		for _, p := range pods {
			if v := f.assess(p, t0, false); v.underway() {
				busy["all"]++
				busy[p.Workload]++
				busy[p.Node]++
			}
		}
		for scope, n := range busy {
			limit := map[bool]int{true: 5, false: 2}[scope == "all"]
			if strings.HasPrefix(scope, "node-") {
				limit = 1
			}
			if n > limit {
				t.Fatalf("turn %d: %d pods of %s are on their way, want at most %d", turns, n, scope, limit)
			}
		}
	}
	for _, p := range pods {
		if p.Status.Version != "v2" || p.Desired.Predecessor != 0 {
			t.Errorf("after %d turns %s runs %s, desired %+v", turns, p.Name, p.Status.Version, p.Desired)
		}
	}
}

func obey(p *Pod, s Step) {
	p.Desired = s.Desired
	switch s.Kind {
	case Upgrade:
		has(s.Desired.Generation)(p)
		candidate(s.Desired.Generation)(p)
	case Begin:
		ended(s.Desired.Predecessor, s.Desired.Generation, true)(p)
		serves(s.Desired.Generation, s.Desired.Version)(p)
		ends(s.Desired.Predecessor, 0)(p)
	}
}

func TestPlanOf5000PodsIsQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it plans for 5,000 pods")
	}
	var pods []Pod
	for i := range 5000 {
		pods = append(pods, pod(fmt.Sprintf("p%04d", i), of(fmt.Sprintf("Deployment/d%d", i%50)), on(fmt.Sprintf("node-%d", i%200))))
	}
	steps, _ := Plan(t0, Observed{Fleet: fleet(upTo("10%")), Versions: versions(), Pods: pods})
	if len(steps) != 500 {
		t.Errorf("%d pods start, want 500", len(steps))
	}
}

// A proxy that crashed in its handover was restarted by its supervisor and stays: nothing may wait for its end for ever.
func TestAnOldSidecarThatStaysIsWaitedForUntilTheDeadline(t *testing.T) {
	stays := func(since time.Duration) Observed {
		return Observed{Fleet: fleet(), Versions: versions(), Pods: []Pod{
			pod("p", wants(2, "v2", 1, true, since), has(2), ended(1, 2, true), serves(2, "v2")),
		}}
	}
	if steps, wake := Plan(t0, stays(-minute)); len(steps) != 0 || wake <= 0 {
		t.Errorf("before the deadline: steps %v, look again in %v; want none, and later", steps, wake)
	}
	steps, _ := Plan(t0, stays(-24*time.Hour))
	if len(steps) != 1 || steps[0].Desired == nil || steps[0].Desired.Predecessor != 0 || steps[0].Desired.Generation != 2 {
		t.Errorf("after the deadline: %v, want generation 2 desired without a predecessor", steps)
	}
}
