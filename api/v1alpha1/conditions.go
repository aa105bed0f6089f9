package v1alpha1

// Conditions of a SidecarVersion.
const (
	// ConditionVerified is True when the image is known by digest and may be rendered into pods.
	ConditionVerified = "Verified"
	// ConditionServed is True once a pod has been served by the version: its image can be pulled and works. It stays True.
	ConditionServed = "Served"
)

// Conditions of a SidecarFleet.
const (
	// ConditionAvailable is True when every matched pod that can have a sidecar has a serving one.
	ConditionAvailable = "Available"
	// ConditionProgressing is True while pods are being injected or upgraded.
	ConditionProgressing = "Progressing"
	// ConditionDegraded is True when something stopped a rollout or left pods behind.
	ConditionDegraded = "Degraded"
	// ConditionPaused is True while spec.paused, or a step's pause, holds the rollout.
	ConditionPaused = "Paused"
	// ConditionRolledBack is True when the last rollout went back to the version before it.
	ConditionRolledBack = "RolledBack"
	// ConditionConflicted is True when another fleet owns pods that this one selects too.
	ConditionConflicted = "Conflicted"
)
