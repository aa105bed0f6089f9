package sidecarfleet

import (
	"fmt"
	"math"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// First sidecars disturb nobody, but they pull an image and start a process: at most this many at once, in all (or maxUpdating, when
// that is more) and on one node.
const (
	startingAtOnce  = 10
	startingPerNode = 5
)

// start plans what begins something new: first sidecars and upgrades, as far as the limits allow.
func (p *planner) start() {
	if p.Fleet.Paused {
		return
	}
	p.injectFirst()
	p.pull()
	p.upgradeNext()
}

func (p *planner) injectFirst() {
	base := p.base()
	all, nodes := 0, map[string]int{}
	for _, v := range p.views {
		if v.stage == starting && !v.slotted() { // pods with slots bring their sidecars along
			all, nodes[v.Node] = all+1, nodes[v.Node]+1
		}
	}
	limit := max(startingAtOnce, limitOf(p.Fleet.MaxUpdating, len(p.views)))
	for i := range p.views {
		v := &p.views[i]
		if !v.Wanted || v.stage != fresh || p.blocked(v) != "" {
			continue
		}
		version := base
		if v.Pin != "" {
			version = v.Pin
		}
		if p.stopped[version] || p.problem(version) != "" || all >= limit || nodes[v.Node] >= startingPerNode {
			continue
		}
		if v.slotted() {
			p.steps = append(p.steps, p.revive(v, version))
			continue
		}
		all, nodes[v.Node] = all+1, nodes[v.Node]+1
		d := p.desire(v, v.highest()+1, version)
		d.Failed = p.reason(v)
		s := v.step(Inject, d, fmt.Sprintf("%s (%s) is added to the running pod", v.name(d.Generation), version))
		s.Stub = true
		p.steps = append(p.steps, s)
	}
}

// base is the version that pods get first: during a rollout the one that the others still run, so that a bad version never arrives
// by scale-up.
func (p *planner) base() string {
	f := p.Fleet
	if p.back {
		return f.Current
	}
	if f.Current == "" || f.Current == f.Version || p.problem(f.Current) != "" {
		return f.Version
	}
	for _, v := range p.views {
		if v.Wanted && v.serves != 0 && v.version == f.Current {
			return f.Current
		}
	}
	return f.Version
}

// scope counts the pods of a workload, of a node, of a zone or of the fleet.
type scope struct{ pods, busy int }

func (s scope) full(limit intstr.IntOrString) bool { return s.busy >= limitOf(limit, s.pods) }

func (p *planner) upgradeNext() {
	if p.problem(p.Fleet.Version) != "" && !p.pinned() {
		return
	}
	scopes := map[string]*scope{}
	busy := func(v *view) []*scope {
		keys := []string{"all", "node/" + v.Node, "workload/" + v.Namespace + "/" + v.Workload}
		if v.Zone != "" {
			keys = append(keys, "zone/"+v.Zone)
		}
		mine := make([]*scope, 0, len(keys))
		for _, k := range keys {
			if scopes[k] == nil {
				scopes[k] = &scope{}
			}
			mine = append(mine, scopes[k])
		}
		return mine
	}
	for i := range p.views {
		v := &p.views[i]
		if !v.Wanted || v.stage == away {
			continue
		}
		for _, s := range busy(v) {
			s.pods++
			if v.underway() && !p.stopped[v.Desired.Version] {
				s.busy++
			}
		}
	}
	open := p.allowance()
	for i := range p.views {
		v := &p.views[i]
		if !p.upgradable(v) || !p.present(v) {
			continue
		}
		if v.Pin == "" && open <= 0 && !p.back {
			continue
		}
		mine := busy(v)
		if v.held(p.now) != "" {
			continue
		}
		if slices.ContainsFunc(mine, func(s *scope) bool { return s.full(p.Fleet.MaxUpdating) }) {
			continue
		}
		for _, s := range mine {
			s.busy++
		}
		if v.Pin == "" {
			open--
		}
		if !p.confirm(v) {
			p.replace(v.renew(Upgrade, p.upgrade(v), upgradeNote(v)))
		}
	}
}

// upgradable says whether a pod may start its way to its target now.
func (p *planner) upgradable(v *view) bool {
	if !v.Wanted || v.stage != serving || v.version == v.target || v.failure != "" && (v.missed == v.target || !v.recorded) {
		return false
	}
	if d := v.Desired; v.slotted() && (d == nil || d.Predecessor != 0 || d.Generation != v.serves || !v.hinted()) {
		return false // what serves has to be written down before the other slot is flipped
	} else if d != nil && d.Predecessor != 0 && v.running(v.serves) {
		return false // the last handover's old side has not ended yet: at most two generations hold descriptors
	}
	return !p.stopped[v.target] && p.problem(v.target) == "" && p.barred(v) == ""
}

// replace appends a step; a step that only settles the same pod is swallowed by it.
func (p *planner) replace(s Step) {
	for i := range p.steps {
		if p.steps[i].Pod == s.Pod && (p.steps[i].Kind == Settle || p.steps[i].Kind == Unskip) {
			p.steps[i] = s
			return
		}
		if p.steps[i].Pod == s.Pod {
			return // one step a pod and turn; the upgrade comes in the next
		}
	}
	p.steps = append(p.steps, s)
}

func (p *planner) pinned() bool {
	for _, v := range p.views {
		if v.Pin != "" {
			return true
		}
	}
	return false
}

// allowance is how many more pods may go to the fleet's version: what the current step of the rollout asks for, less
// those that are there or on their way. It is 0 while a step's pause holds.
func (p *planner) allowance() int {
	total, there, coming := p.progress()
	if p.Fleet.Version == p.Fleet.Current || p.Fleet.through() { // nothing new is tried, or it has been everywhere
		return total - there - coming
	}
	index := stepsDone(p.Fleet.Steps, total, there)
	if end := pauseEnd(p.Fleet, index, p.now); !end.IsZero() {
		p.look(end)
		return 0
	}
	want := total
	if index < len(p.Fleet.Steps) {
		want = share(p.Fleet.Steps[index].Percent, total)
	}
	return want - there - coming
}

// progress counts the pods that follow the fleet's version, those that serve with it, and those on their way to it.
func (p *planner) progress() (total, there, coming int) {
	for i := range p.views {
		v := &p.views[i]
		if !v.Wanted || v.Pin != "" || v.stage == away || v.serves == 0 || v.Skip != "" {
			continue
		}
		total++
		switch {
		case v.version == p.Fleet.Version:
			there++
		case v.underway() && v.Desired.Version == p.Fleet.Version:
			coming++
		}
	}
	return total, there, coming
}

// stepsDone is how many steps of a rollout are complete when there of total pods have the version.
func stepsDone(steps []axlev1.UpdateStep, total, there int) int {
	for i, s := range steps {
		if there < share(s.Percent, total) {
			return i
		}
	}
	return len(steps)
}

// share is a percentage of total, rounded up.
func share(percent int32, total int) int {
	return int(math.Ceil(float64(percent) * float64(total) / 100))
}

// limitOf is maxUpdating for a scope of so many pods: rounded up, at least 1.
func limitOf(limit intstr.IntOrString, pods int) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(&limit, pods, true)
	if err != nil {
		n = 1 // the schema does not let it come to this
	}
	return max(n, 1)
}

// pauseEnd is until when the pause after so many steps holds, or the zero time. A step that was completed just now pauses from now on.
func pauseEnd(f Fleet, index int, now time.Time) time.Time {
	if f.Version == f.Current || f.through() || index == 0 || index >= len(f.Steps) || index <= f.Promoted || f.Steps[index-1].Pause == nil {
		return time.Time{}
	}
	since := now.Truncate(time.Second)
	if int(f.StepIndex) == index && !f.StepSince.IsZero() {
		since = f.StepSince
	}
	if end := since.Add(f.Steps[index-1].Pause.Duration); now.Before(end) {
		return end
	}
	return time.Time{}
}
