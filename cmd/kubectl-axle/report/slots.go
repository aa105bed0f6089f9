package report

import (
	"fmt"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// slotted says whether the pod was created with slots.
func (s *stand) slotted() bool { return sidecars.HasSlots(s.pod) }

// wanted says whether the pod is to have a sidecar. Switching injection in place off does not concern pods with slots.
func (s *stand) wanted() bool { return s.selection.wanted() || s.owner != nil && s.slotted() }

// name of the container that is, or would be, of a generation.
func (s *stand) name(generation int64) string { return sidecars.Container(s.sidecars, generation) }

// named is a generation with its version: "axle-g2 (v1-1-0)", and "axle-a (generation 3, v1-1-0)" in a slot, whose name does not tell.
func (s *stand) named(generation int64, version string) string {
	name := s.name(generation)
	if one, ok := sidecars.Find(s.sidecars, generation); ok && one.Slot != "" {
		if version == "" {
			return fmt.Sprintf("%s (generation %d)", name, generation)
		}
		return fmt.Sprintf("%s (generation %d, %s)", name, generation, version)
	}
	if version == "" {
		return name
	}
	return fmt.Sprintf("%s (%s)", name, version)
}

// versionOf is the SidecarVersion that a generation was made from, or "".
func (s *stand) versionOf(generation int64) string {
	if slots, err := axlev1.ParseSlots(s.pod.Annotations); err == nil && slots != nil {
		for _, slot := range []axlev1.PodSlot{slots.A, slots.B} {
			if slot.Generation == generation {
				return slot.Version
			}
		}
	}
	return versionOf(s.pod, s.name(generation))
}
