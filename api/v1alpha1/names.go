package v1alpha1

// Names that users, the operator and the webhook agree on. They are part of the API.
const (
	// GroupName is the API group of every kind of this package.
	GroupName = "axlemesh.io"

	// InjectionLabel on a namespace or a pod says whether it takes part: InjectionEnabled or InjectionDisabled.
	InjectionLabel    = "axlemesh.io/injection"
	InjectionEnabled  = "enabled"
	InjectionDisabled = "disabled"

	// PinVersionAnnotation holds one pod on the SidecarVersion that it names.
	PinVersionAnnotation = "axlemesh.io/pin-version"

	// DesiredAnnotation is the operator's wish for one pod: a PodDesired as JSON. Only the
	// fleet controller writes it.
	DesiredAnnotation = "axlemesh.io/desired"

	// StatusAnnotation is what the pod's sidecar last reported: a PodStatus as JSON. Only the
	// control channel writes it.
	StatusAnnotation = "axlemesh.io/status"

	// SkippedAnnotation says why a pod was left alone; absent when it was not.
	SkippedAnnotation = "axlemesh.io/skipped"

	// ServicesAnnotation on a Kubernetes Service lists the RPC service keys that its pods
	// provide, separated by commas: "com.x.Pay:1.0,com.x.Refund:1.0".
	ServicesAnnotation = "axlemesh.io/rpc-services"

	// SlotsAnnotation says, in a pod that was created with slots, which generation each slot is and which one is to serve: a
	// PodSlots as JSON. The webhook writes it at creation and the fleet controller afterwards; the slots read it from a file.
	SlotsAnnotation = "axlemesh.io/slots"

	// PromoteAnnotation on a SidecarFleet ends a step's pause before its time: "VERSION/STEP@ATTEMPT", where STEP counts from 1 and
	// is the last step whose pause is over, and ATTEMPT is the fleet's status.attempt ("v1-1-0/2@3").
	PromoteAnnotation = "axlemesh.io/promote"

	// RetryAnnotation on a SidecarFleet tries a version again that has failed: each new value is another attempt.
	RetryAnnotation = "axlemesh.io/retry"

	// WarningsAnnotation says what the owner of an injected pod should know; absent when there is nothing.
	WarningsAnnotation = "axlemesh.io/warnings"

	// SlotA and SlotB are the two native sidecars of a pod that was created with slots.
	SlotA = "axle-a"
	SlotB = "axle-b"

	// MarkerEnv is set to "1" in the application's containers of a pod with slots: what an SDK looks for. AppPortEnv says, with
	// takeover, on which port the application is to listen.
	MarkerEnv  = "AXLE_SIDECAR"
	AppPortEnv = "AXLE_APP_PORT"

	// TokenAudience is the audience of the projected service account tokens that slots join with.
	TokenAudience = "axlemesh.io/control"

	// ContainerPrefix starts the name of every container that Axle adds to a pod.
	ContainerPrefix = "axle-"
	// InPlacePrefix, followed by a generation, names a sidecar that was injected into a running pod.
	InPlacePrefix = "axle-g"

	// StubVersionEnv, StubGenerationEnv and StubFleetEnv are the only environment that the controller puts on the stub it
	// sends to pods/ephemeralcontainers; the webhook renders the sidecar that they name.
	StubVersionEnv    = "AXLE_VERSION"
	StubGenerationEnv = "AXLE_GENERATION"
	StubFleetEnv      = "AXLE_FLEET"

	// DefaultMeshPortOffset is added to an application's port for the port its sidecar listens on.
	DefaultMeshPortOffset = 3000
)
