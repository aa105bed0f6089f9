package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// SidecarFleetStatus is how far the fleet is.
type SidecarFleetStatus struct {
	// ObservedGeneration is the metadata.generation that this status speaks of.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// CurrentVersion is what new pods get until a rollout has finished.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	CurrentVersion string `json:"currentVersion,omitempty"`

	// UpdateVersion is what the running rollout brings, or the last one brought.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	UpdateVersion string `json:"updateVersion,omitempty"`

	// Attempt counts the rollouts, tries and undos. It grows when spec.version, spec.ports or the annotation axlemesh.io/retry changes; what failed
	// is not tried again before.
	//
	// +optional
	Attempt int64 `json:"attempt,omitempty"`

	// UpdateHash is of what the attempt is of.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	UpdateHash string `json:"updateHash,omitempty"`

	// Pods of the fleet, counted.
	//
	// +optional
	Pods FleetPods `json:"pods,omitzero"`

	// Step of the running rollout.
	//
	// +optional
	Step FleetStep `json:"step,omitzero"`

	// Handover sums up the handovers of the running or last rollout.
	//
	// +optional
	Handover FleetHandover `json:"handover,omitzero"`

	// Conditions: Available, Progressing, Degraded, Paused, RolledBack, Conflicted.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// FleetPods counts the pods of a fleet. One pod can count in several.
type FleetPods struct {
	// Matched by the fleet, and owned by it.
	Matched int32 `json:"matched"`
	// Injected have a serving sidecar.
	Injected int32 `json:"injected"`
	// InPlace have one that was added while they ran.
	InPlace int32 `json:"inPlace"`
	// Slots have one that came with them when they were created.
	//
	// +optional
	Slots int32 `json:"slots"`
	// Carrying have one that their application's calls go through.
	Carrying int32 `json:"carrying"`
	// Updated serve with spec.version.
	Updated int32 `json:"updated"`
	// Failed a handover or a start of the running rollout.
	Failed int32 `json:"failed"`
	// Blocked cannot have a sidecar, or another one; the pod's annotation axlemesh.io/skipped says why.
	Blocked int32 `json:"blocked"`
}

// FleetStep is where a rollout stands.
type FleetStep struct {
	// Index in spec.updateStrategy.steps.
	Index int32 `json:"index"`
	// Since when.
	//
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// Reason that it is there, in a word.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason,omitempty"`
}

// FleetHandover sums up the handovers of one rollout.
type FleetHandover struct {
	ConnectionsMoved int64 `json:"connectionsMoved"`
	ConnectionsLost  int64 `json:"connectionsLost"`
	// FreezeP99 is the longest 99th percentile, of all pods, of how long a connection stood still.
	//
	// +optional
	FreezeP99 *metav1.Duration `json:"freezeP99,omitempty"`
}

// SidecarFleetList is a list of SidecarFleets.
//
// +kubebuilder:object:root=true
type SidecarFleetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []SidecarFleet `json:"items"`
}
