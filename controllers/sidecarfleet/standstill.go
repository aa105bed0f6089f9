package sidecarfleet

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// moved is when something moved last in a rollout that has pods left, is not held, and waits for no pause; the zero time in every other one.
func (p *planner) moved() time.Time {
	f := p.Fleet
	total, there, _ := p.progress()
	if f.Paused || f.StepSince.IsZero() || there == total || p.stopped[f.Version] || p.problem(f.Version) != "" {
		return time.Time{}
	}
	if !pauseEnd(f, stepsDone(f.Steps, total, there), p.now).IsZero() {
		return time.Time{}
	}
	last := f.StepSince
	if i := int(f.StepIndex); i > 0 && i < len(f.Steps) && i > f.Promoted && f.Steps[i-1].Pause != nil {
		last = last.Add(f.Steps[i-1].Pause.Duration)
	}
	latest := func(t time.Time) {
		if t.After(last) {
			last = t
		}
	}
	latest(f.Awake)
	for i := range p.views {
		if d := p.views[i].Desired; p.views[i].Wanted && d != nil && d.Since != nil && d.Version == f.Version {
			latest(d.Since.Time)
		}
	}
	for _, u := range p.Pulls {
		if !u.stalls(p.now) && u.Failed == "" {
			latest(u.Created)
		}
	}
	return last
}

// still says whether a rollout has stood still for its progress deadline, and makes sure that it is looked at again by then.
func (p *planner) still() bool {
	last := p.moved()
	if last.IsZero() {
		return false
	}
	end := last.Add(p.Fleet.Deadline)
	p.look(end)
	return !p.now.Before(end)
}

// moves says whether a step brings the rollout on.
func (s Step) moves() bool {
	switch s.Kind {
	case Inject, Upgrade, Begin, Done, Over, Ask:
		return true
	}
	return s.Kind == Pulling && s.UID == ""
}

// awaits lists what the pods wait for that have yet to get the fleet's version, pod by pod.
func (p *planner) awaits() string {
	var said []string
	for i := range p.views {
		v := &p.views[i]
		if !v.Wanted || v.Pin != "" || v.stage == away || v.Skip != "" || v.serves == 0 || v.version == p.Fleet.Version {
			continue
		}
		if why := p.await(v); why != "" {
			said = append(said, fmt.Sprintf("%s: %s", v.NamespacedName, why))
		}
	}
	slices.Sort(said)
	if len(said) == 0 {
		return "their turn: spec.updateStrategy.maxUpdating"
	}
	const most = 3
	if n := len(said) - most; n > 0 {
		said = append(said[:most], fmt.Sprintf("and %d more pods", n))
	}
	return strings.Join(said, "; ")
}

// await says what one pod waits for; "" when that is its turn.
func (p *planner) await(v *view) string {
	u, pulls := p.pulls[place{v.target, v.Node}]
	switch d := v.Desired; {
	case v.failure != "":
		return v.failure
	case p.blocked(v) != "":
		return p.blocked(v)
	case v.stage == handover:
		return fmt.Sprintf("%s (%s) takes over", v.name(d.Generation), d.Version)
	case v.underway():
		return fmt.Sprintf("%s (%s) has not connected to the operator", v.name(d.Generation), d.Version)
	case v.held(p.now) != "":
		return v.held(p.now)
	case pulls && u.stalls(p.now) && v.slotted():
		return u.stalled()
	case d != nil && d.Predecessor != 0 && v.running(v.serves):
		return fmt.Sprintf("%s has handed over and has not ended", v.name(d.Predecessor))
	}
	return ""
}
