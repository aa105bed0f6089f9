package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Change is what a rollout command does to a fleet.
type Change struct {
	// Patch is a JSON patch (RFC 6902); nil when there is nothing to do. It fails if the fleet's version is no longer what the decision was made on.
	Patch []byte
	// Said is what to tell the person once it is done.
	Said []string
}

// operation of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func patch(operations ...operation) ([]byte, error) {
	raw, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("write the patch: %w", err)
	}
	return raw, nil
}

// Pause holds everything that changes a pod of the fleet.
func Pause(f *axlev1.SidecarFleet) (Change, error) {
	if f.Spec.Paused {
		return Change{Said: []string{fmt.Sprintf("SidecarFleet %s is paused already.", f.Name)}}, nil
	}
	raw, err := patch(operation{"add", "/spec/paused", true})
	said := []string{
		fmt.Sprintf("SidecarFleet %s is paused: spec.paused is true.", f.Name),
		"No pod is changed any more. What is in a handover finishes it, and sidecars that are not wanted leave.",
	}
	if goesBack(f) {
		said = append(said, fmt.Sprintf("Warning: that holds the way back from %s, which has failed, to %s as well: pods that still run %s keep it meanwhile.",
			f.Spec.Version, f.Status.CurrentVersion, f.Spec.Version))
	}
	return Change{Patch: raw, Said: append(said, fmt.Sprintf("To go on: kubectl axle rollout resume %s", f.Name))}, err
}

// Resume lets a paused fleet go on.
func Resume(f *axlev1.SidecarFleet) (Change, error) {
	if !f.Spec.Paused {
		said := []string{fmt.Sprintf("SidecarFleet %s is not paused.", f.Name)}
		if why, ok := stopped(f); ok {
			said = append(said, fmt.Sprintf("But the rollout of %s has stopped. %s", f.Spec.Version, sentence(why)))
			said = append(said, retry(f, f.Spec.Version)...)
		}
		return Change{Said: said}, nil
	}
	raw, err := patch(operation{"add", "/spec/paused", false})
	said := []string{fmt.Sprintf("SidecarFleet %s goes on: spec.paused is false.", f.Name)}
	_, failed := stopped(f)
	switch {
	case goesBack(f):
		said = append(said, fmt.Sprintf("The rollout of %s has failed: pods that still run it go back to %s.", f.Spec.Version, f.Status.CurrentVersion))
	case failed:
		said = append(said, fmt.Sprintf("But the rollout of %s has stopped, and stays so.", f.Spec.Version))
		said = append(said, retry(f, f.Spec.Version)...)
	case f.Status.CurrentVersion != f.Spec.Version:
		said = append(said, fmt.Sprintf("It brings %s to its pods.", f.Spec.Version))
	}
	return Change{Patch: raw, Said: append(said, watch(f))}, err
}

// Undo brings the fleet back to the version that it ran before, or to the one that is named.
func (c *Cluster) Undo(f *axlev1.SidecarFleet, to string) (Change, error) {
	from := f.Spec.Version
	if to == "" {
		if to = f.Status.CurrentVersion; to == "" || to == from {
			return Change{}, c.nothingToUndo(f)
		}
	}
	if to == from {
		return Change{Said: []string{fmt.Sprintf("The version of SidecarFleet %s is %s already.", f.Name, to)}}, nil
	}
	if !slices.Contains(c.VersionNames(), to) {
		return Change{}, fmt.Errorf("undo %s: no SidecarVersion %q: there is %s", f.Name, to, orSay(strings.Join(c.VersionNames(), ", "), "none"))
	}
	if why := c.problem(to); why != "" {
		return Change{}, fmt.Errorf("undo %s: %s", f.Name, why)
	}
	raw, err := patch(operation{"test", "/spec/version", from}, operation{"replace", "/spec/version", to})
	said := []string{
		fmt.Sprintf("SidecarFleet %s goes from %s back to %s.", f.Name, from, to),
		fmt.Sprintf("Pods that run %s hand over to %s, as many at once as spec.updateStrategy allows; the others are not touched.", from, to),
	}
	if f.Spec.Paused {
		said = append(said, fmt.Sprintf("But it is paused: nothing happens before kubectl axle rollout resume %s", f.Name))
	}
	return Change{Patch: raw, Said: append(said, watch(f))}, err
}

// nothingToUndo says why there is no version to go back to by itself.
func (c *Cluster) nothingToUndo(f *axlev1.SidecarFleet) error {
	others := slices.DeleteFunc(c.VersionNames(), func(v string) bool { return v == f.Spec.Version })
	state := fmt.Sprintf("it is at %s, the last version that was rolled out in full", f.Spec.Version)
	if f.Status.CurrentVersion == "" {
		state = "it has never finished a rollout"
	}
	if len(others) == 0 {
		return fmt.Errorf("undo %s: %s, and there is no other SidecarVersion", f.Name, state)
	}
	return errors.New("undo " + f.Name + ": " + state + "; name the version with --to: " + strings.Join(others, ", "))
}

func watch(f *axlev1.SidecarFleet) string {
	return fmt.Sprintf("To watch: kubectl axle status %s", f.Name)
}
