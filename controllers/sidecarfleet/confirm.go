package sidecarfleet

import (
	"fmt"
	"time"

	"github.com/axlemesh/axle/controllers/sidecars"
)

// A flip ends what runs in a slot, so it has to be the one that idles. The last report says which that is, and may be of before a failover: the
// replica of the operator that the serving slot is connected to is asked first.
const (
	// confirmedFor is how long its answer is good.
	confirmedFor = 30 * time.Second
	// answerIn is how long it is waited for; then the pod's turn passes to the next one.
	answerIn = 5 * time.Second
	// lingers is how long a candidate whose handover failed may stay with the clients it has; see lingerFor of the sidecar.
	lingers = 10 * time.Minute
)

// asked is when the pod was asked last, or the zero time; answered says whether it was confirmed since.
func (v view) asked() (at time.Time, answered bool) {
	if v.Desired == nil || v.Desired.Confirm == 0 {
		return time.Time{}, false
	}
	return time.Unix(v.Desired.Confirm, 0), v.Status.Confirmed == v.Desired.Confirm
}

// confirmed says whether the idle slot of a pod may be flipped now.
func (v view) confirmed(now time.Time) bool {
	at, answered := v.asked()
	return answered && now.Before(at.Add(confirmedFor))
}

// held says what keeps the idle slot of a pod from being flipped, or "".
func (v view) held(now time.Time) string {
	if !v.slotted() {
		return ""
	}
	if s, ok := sidecars.Find(v.Sidecars, v.serves); !ok || !s.Running {
		return fmt.Sprintf("%s (%s), which serves, is down", v.name(v.serves), v.version)
	}
	h, d := v.Status.Handover, v.Desired
	if h != nil && !h.OK && h.From == v.serves && d.Since != nil && now.Before(d.Since.Add(lingers)) {
		if s, ok := sidecars.Find(v.Sidecars, h.To); ok && s.Running && !s.Failed && !s.Died {
			return fmt.Sprintf("%s, whose handover failed, has not ended: it may have connections", v.name(h.To))
		}
	}
	if at, answered := v.asked(); !at.IsZero() && !answered && !now.Before(at.Add(answerIn)) {
		return fmt.Sprintf("%s (%s), which serves, is not connected to the operator", v.name(v.serves), v.version)
	}
	return ""
}

// confirm asks whether what serves is connected, where that is not known, and says whether the pod has to wait for it.
func (p *planner) confirm(v *view) (waits bool) {
	if !v.slotted() || v.confirmed(p.now) {
		return false
	}
	at, answered := v.asked()
	if !at.IsZero() && !answered {
		p.look(at.Add(answerIn))
		return true
	}
	d := v.Desired.DeepCopy()
	d.Confirm = p.now.Unix()
	p.replace(v.step(Ask, d, fmt.Sprintf("is %s (%s), which serves, connected?", v.name(v.serves), v.version)))
	return true
}
