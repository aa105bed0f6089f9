package sidecarfleet

import (
	"time"

	"github.com/axlemesh/axle/controllers/sidecars"
)

// soaking is until when the version that every pod has has yet to prove itself, or the zero time: so long the version before it is the current
// one, and what fails goes back. Pods that join meanwhile do not begin it anew.
func (p *planner) soaking() time.Time {
	f := p.Fleet
	total, there, _ := p.progress()
	if p.stopped[f.Version] || f.Current == "" || f.Current == f.Version || there == 0 || there < total {
		return time.Time{}
	}
	since := p.now.Truncate(time.Second)
	if f.through() && !f.StepSince.IsZero() {
		since = f.StepSince
	}
	if end := since.Add(f.Soak); p.now.Before(end) {
		return end
	}
	return time.Time{}
}

// through says whether every step of this attempt has been completed once. Pods of the old version that come later get the new one without steps.
func (f Fleet) through() bool { return len(f.Steps) > 0 && int(f.StepIndex) == len(f.Steps) }

// succeed makes a version current that every pod serves with, when another one is asked for before it had its time: the way back from that
// one leads to where the pods are, and not to where they were before.
func (p *planner) succeed() {
	f := &p.Fleet
	if f.Served == "" || f.Version == f.Current {
		return
	}
	for i := range p.Pods {
		pod := &p.Pods[i]
		if !pod.Wanted || pod.Pin != "" || pod.Away || pod.Skip != "" || sidecars.Serving(pod.Status, pod.Sidecars) == 0 {
			continue
		}
		if pod.Status.Version != f.Served {
			return
		}
	}
	f.Current = f.Served
}
