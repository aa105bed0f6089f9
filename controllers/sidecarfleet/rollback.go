package sidecarfleet

import (
	"fmt"
	"strings"
	"time"

	"github.com/axlemesh/axle/controllers/sidecars"
)

// outcome is where a rollout stands as a whole.
type outcome string

const (
	going     outcome = ""               // nothing has stopped it
	halted    outcome = "Stopped"        // it has stopped, and what runs the version keeps it
	reverting outcome = "RollingBack"    // pods that run the version go back
	reverted  outcome = "RolledBack"     // none runs it any more
	stranded  outcome = "RollbackFailed" // it has stopped, and so has the way back
)

// outcomes by the reason of the Progressing condition: what is written there holds until the next attempt.
var outcomes = map[string]outcome{
	string(halted): halted, string(reverting): reverting, string(reverted): reverted, string(stranded): stranded,
}

// stopped finds the versions that must not reach further pods: those that failed more handovers than are tolerated, and those that failed to
// start and serve nowhere yet. A start that fails where others succeed is that pod's problem.
func stopped(f Fleet, views []view) map[string]bool {
	handovers, starts, proven := map[string]int{}, map[string]int{}, map[string]bool{}
	for _, v := range views {
		if v.serves != 0 {
			proven[v.version] = true
		}
		switch {
		case v.failure == "":
		case evident(kindOf(v.failure)) && f.Current == f.Version: // the rollout is over: there is nothing to stop
		case v.serves != 0:
			handovers[v.missed]++
		default:
			starts[v.missed]++
		}
	}
	all := map[string]bool{}
	if f.Stopped != "" {
		all[f.Version] = true
	}
	for version, n := range handovers {
		all[version] = all[version] || n > f.FailedHandovers
	}
	for version := range starts {
		all[version] = all[version] || !proven[version]
	}
	return all
}

// revert turns the plan around when the fleet's version has stopped and its pods are to go back: each pod that runs it is to run the current
// version, and every other pod what it runs.
func (p *planner) revert() {
	f := p.Fleet
	if !p.stopped[f.Version] || !f.Rollback || f.Current == "" || f.Current == f.Version || p.problem(f.Current) != "" {
		return
	}
	p.back = true
	for i := range p.views {
		p.views[i] = f.assess(p.views[i].Pod, p.now, true)
	}
	p.stopped = stopped(f, p.views)
	p.halt()
	p.stopped[f.Version] = true
}

// remains says whether a pod that follows the fleet's version runs it, or may come to run it.
func (p *planner) remains(v *view) bool {
	if !v.Wanted || v.Pin != "" || v.stage == away || v.serves == 0 {
		return false
	}
	return v.version == p.Fleet.Version || v.stage == handover && v.Desired.Version == p.Fleet.Version
}

// retreat counts the pods that run the version which they have to leave, and those of them for which there is no way back.
func (p *planner) retreat() (remaining, cannot int) {
	for i := range p.views {
		v := &p.views[i]
		if !p.remains(v) {
			continue
		}
		remaining++
		if p.blocked(v) != "" || v.failure != "" && v.missed == v.target {
			cannot++
		}
	}
	return remaining, cannot
}

func (p *planner) outcome() outcome {
	if !p.stopped[p.Fleet.Version] {
		return going
	}
	if !p.back {
		return halted
	}
	switch remaining, cannot := p.retreat(); {
	case remaining == 0:
		return reverted
	case p.stopped[p.Fleet.Current] || cannot == remaining:
		return stranded
	}
	return reverting
}

// remember takes over a failure that the pod's annotation tells of, if it is of this attempt of the fleet.
func (v *view) remember(f Fleet, back bool) {
	d := v.Desired
	if v.failure != "" || d == nil || d.Failed == nil || d.Failed.Attempt != f.Attempt {
		return
	}
	missed := d.Failed.Version == v.target && v.version != v.target
	proof := d.Failed.Version == f.Version && (back || evident(kindOf(d.Failed.Message)))
	if missed || proof {
		v.failure, v.recorded, v.missed = d.Failed.Message, true, d.Failed.Version
	}
}

// evidence looks for what speaks against the version of a pod that serves with it. Connections that were lost count while a rollout brings that
// version; crash loops are always said. What is on record counts once in an attempt.
func (f Fleet) evidence(v *view, now time.Time) {
	d := v.Desired
	if v.Pin != "" || d == nil || d.Generation != v.serves {
		return
	}
	known := d.Failed != nil && d.Failed.Generation == v.serves
	if h := v.Status.Handover; f.Current != f.Version && v.version == f.Version && !known && h != nil && h.OK && h.To == v.serves && h.Lost > 0 {
		v.missed = v.version
		v.failure = fmt.Sprintf("%s: %s: %s (%s) took over from %s, and the sidecars report lost connections: %d, beside %d that moved. %s",
			Lost, v.NamespacedName, v.name(v.serves), v.version, v.name(h.From), h.Lost, h.Moved, v.logs(v.serves))
		return
	}
	if d.Failed != nil && d.Failed.Attempt == f.Attempt && d.Failed.Version == f.Version {
		return
	}
	if why := f.crashing(v, now); why != "" {
		v.failure, v.missed = why, f.Version
	}
}

// evident says whether a failure is one of a generation that serves.
func evident(k Kind) bool { return k == Lost || k == Crash }

// kindOf a failure is what its message begins with.
func kindOf(message string) Kind {
	head, _, _ := strings.Cut(message, ":")
	switch k := Kind(head); k {
	case NoStart, Lost, Crash, NoImage:
		return k
	}
	return Fail
}

// name of the container that is, or would be, of that generation.
func (p Pod) name(generation int64) string { return sidecars.Container(p.Sidecars, generation) }

// logs is where a person looks next.
func (p Pod) logs(generation int64) string {
	previous := ""
	if s, ok := sidecars.Find(p.Sidecars, generation); ok && s.Failed {
		previous = " --previous" // the slot runs again since, and idles
	}
	return fmt.Sprintf("Logs: kubectl logs -n %s %s -c %s%s", p.Namespace, p.Name, p.name(generation), previous)
}
