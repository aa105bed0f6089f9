// Package sidecarfleet brings the pods of a SidecarFleet to the version that it names: it injects a sidecar into pods
// that run without one, rolls a new version out pod by pod, stops when a pod fails, and takes sidecars away where they are
// no longer wanted.
//
// observe.go collects facts, plan.go and assess.go decide (pure), apply.go acts, status.go reports. All state is in the objects: a step that
// was interrupted is planned again from what the pods show.
package sidecarfleet

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// Observed is everything that a plan for one fleet depends on.
type Observed struct {
	Fleet Fleet
	// Versions are the SidecarVersions by name.
	Versions map[string]Version
	// Pods that the fleet owns, and those that it owned and has to leave; sorted by namespace and name.
	Pods []Pod
	// Pulls are the operator's own pods that pull images for this fleet, sorted by name.
	Pulls []Pull
	// Rivals are fleets that own pods which this one selects too, sorted; Contested is how many pods.
	Rivals    []string
	Contested int
	// Secret says that images of sidecars are pulled with a secret, of which a pod has to name one of its own.
	Secret bool
}

// Fleet is the part of a SidecarFleet that matters here, defaults applied.
type Fleet struct {
	Name       string
	Generation int64
	// Attempt is which try this is, and Hash what it is of; see SidecarFleet.Try.
	Attempt int64
	Hash    string
	// Version that the pods are to run, and Current, which they ran when the last rollout had finished.
	Version, Current string
	// InPlace lets running pods get a sidecar.
	InPlace        bool
	MaxGenerations int
	Paused         bool
	MaxUpdating    intstr.IntOrString
	Steps          []axlev1.UpdateStep
	// Step as the status has it: how many steps are complete, and since when.
	StepIndex int32
	StepSince time.Time
	// Promoted is the last step whose pause somebody has ended, counted from 1.
	Promoted int
	// FailedHandovers that are tolerated.
	FailedHandovers int
	Deadline        time.Duration
	// Soak is how long the last pods have to serve well before the version is the current one.
	Soak time.Duration
	// Served is the version of the attempt before this one, when that had come to every pod and had not failed; else "".
	Served string
	// Prepull lets no pod be upgraded before its node has the image.
	Prepull bool
	// Rollback lets pods go back when their version has failed.
	Rollback bool
	// Awake is since when the operator has looked at its pods without a break: what nobody was there to hear is not late. Zero is for ever.
	Awake time.Time
	// Stopped is the message of what stopped this attempt, also when its pod is gone since, and StoppedBy its reason.
	Stopped   string
	StoppedBy string
}

// Version is what matters of a SidecarVersion.
type Version struct {
	// Problem says why it cannot be rendered; empty when it can.
	Problem  string
	Handover axlev1.VersionRange
	// Served says that a pod was served by it once.
	Served bool
}

// Pod is what matters of a pod.
type Pod struct {
	types.NamespacedName
	UID types.UID
	// Secret says that the pod names a secret to pull images with.
	Secret bool
	// Workload is the controller that owns it ("Deployment/pay"), Node where it runs, Zone where that is; "" when the node does not say.
	Workload, Node, Zone string
	// Wanted is true while the fleet selects and owns it.
	Wanted bool
	// Away pods cannot be changed now: not started yet, finished, or being deleted.
	Away bool
	// Skip says why this pod never gets a sidecar; Skipped is what its annotation says, and Told what an event has said.
	Skip, Skipped, Told string
	// Created is when the pod was.
	Created time.Time
	// Pin is the version that the pod's annotation holds it on.
	Pin string
	// Ports that its sidecar is to serve.
	Ports    []axlev1.PortSpec
	Desired  *axlev1.PodDesired
	Status   *axlev1.PodStatus
	Sidecars []sidecars.Sidecar
	// HasSlots is true for a pod that was created with slots, and Slots is what it says of them; nil when that cannot be read.
	HasSlots bool
	Slots    *axlev1.PodSlots
}

// highest generation that the pod ever got.
func (p Pod) highest() int64 {
	if len(p.Sidecars) == 0 {
		return 0
	}
	return p.Sidecars[len(p.Sidecars)-1].Generation
}

// running says whether any sidecar other than except runs.
func (p Pod) running(except int64) bool {
	for _, s := range p.Sidecars {
		if s.Running && s.Generation != except {
			return true
		}
	}
	return false
}
