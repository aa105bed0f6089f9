package sidecarfleet

import (
	"fmt"
	"slices"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// Flip is the change of a pod that was created with slots. It is sent in one patch with the desire.
type Flip struct {
	// Slot whose image becomes that of Desired's generation and version; "" leaves both slots as they are.
	Slot string
	// Serving is the generation that is to serve when nobody does; nil leaves it as it is, 0 is for none.
	Serving *int64
}

// slotted says whether the pod was created with slots: it gets no ephemeral container, ever.
func (p Pod) slotted() bool { return p.HasSlots }

// garbled says what is wrong with what a pod says of its slots, or "".
func (p Pod) garbled() string {
	const cannot = "Blocked: annotation " + axlev1.SlotsAnnotation + " "
	switch s := p.Slots; {
	case !p.slotted():
	case s == nil:
		return cannot + "cannot be read; replace the pod"
	case s.A.Generation == s.B.Generation:
		return fmt.Sprintf("%sgives both slots the generation %d; replace the pod", cannot, s.A.Generation)
	}
	return ""
}

// idle is the container of the slot that the generation is not in.
func (p Pod) idle(generation int64) string {
	if p.Slots != nil && p.Slots.A.Generation == generation {
		return axlev1.SlotB
	}
	return axlev1.SlotA
}

// unclear says that a pod with slots reports a generation that neither of them is: nothing is done before it is known who serves.
func (v view) unclear() bool {
	st := v.Status
	if !v.slotted() || st == nil || st.Generation == 0 || st.Phase == axlev1.PhaseLeft {
		return false
	}
	_, ok := sidecars.Find(v.Sidecars, st.Generation)
	return !ok
}

// fallen says that a slot which had served is down and the other one serves in its place. That is no upgrade, and no failed one.
func (v view) fallen() bool {
	d, h := v.Desired, v.Status.Handover
	if !v.slotted() || d.Generation <= v.serves {
		return false
	}
	return d.Predecessor == 0 && !d.Begin || h != nil && h.OK && h.To == d.Generation && v.Status.Phase == axlev1.PhaseServing
}

// previousLogs are the last words of a slot that has died and runs again since.
func (v view) previousLogs(generation int64) string {
	return fmt.Sprintf("Logs: kubectl logs -n %s %s -c %s --previous", v.Namespace, v.Name, v.name(generation))
}

// hinted says whether the slots know who serves.
func (v view) hinted() bool {
	return !v.slotted() || v.Slots != nil && v.Slots.Serving == v.serves
}

// resident is the slot that starts cold, without a flip, in a pod that serves nothing: the later one, for the earlier one would
// leave the later one to be a candidate. It must have the version, and must not have failed.
func (v view) resident(version string) (generation int64, ok bool) {
	at := slices.IndexFunc(v.Sidecars, func(s sidecars.Sidecar) bool { return s.Slot != "" && s.Generation == v.highest() })
	if at < 0 || v.Slots == nil {
		return 0, false
	}
	has := v.Slots.B
	if v.Slots.A.Generation == v.highest() {
		has = v.Slots.A
	}
	failed := v.Sidecars[at].Failed || v.Desired != nil && v.Desired.Failed != nil && v.Desired.Failed.Generation == has.Generation
	return has.Generation, has.Version == version && !failed
}

// renew is the step that brings a generation into a pod: by a flip where there are slots, by a stub where there are none.
func (v *view) renew(kind Kind, d *axlev1.PodDesired, note string) Step {
	s := v.step(kind, d, note)
	if !v.slotted() {
		s.Stub = true
		return s
	}
	s.Flip = &Flip{Slot: v.idle(v.serves)}
	return s
}

// revive is the step that lets a pod with slots, in which nothing serves, start cold.
func (p *planner) revive(v *view, version string) Step {
	generation, ok := v.resident(version)
	if !ok {
		generation = v.highest() + 1
	}
	d := p.desire(v, generation, version)
	d.Failed = p.reason(v)
	f := &Flip{Serving: &generation}
	if ok {
		s := v.step(Inject, d, fmt.Sprintf("%s (%s) is to serve again", v.name(generation), version))
		s.Flip = f
		return s
	}
	f.Slot = v.idle(v.highest())
	s := v.step(Inject, d, fmt.Sprintf("%s becomes generation %d (%s) and is to serve", f.Slot, generation, version))
	s.Flip = f
	return s
}

// hint lets a step tell the slots who serves, where they do not know it yet.
func (v *view) hint(s Step, serving int64) Step {
	if v.slotted() && v.Slots != nil && v.Slots.Serving != serving {
		s.Flip = &Flip{Serving: &serving}
	}
	return s
}
