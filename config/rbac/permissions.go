// Package rbac lists what the operator may do, in one file, so that a review of
// its power is a review of this list. Markers beside the code add to it and are
// merged; role.yaml and the chart's RBAC are generated from both.
//
// What is not here on purpose: secrets of the whole cluster, pods/exec, pods/log,
// creating or deleting pods of other namespaces, changing a user's SidecarFleet, SidecarVersion or
// TrafficRule, and any wildcard. A test holds on to that.
package rbac

// Pods: seen everywhere, annotated, slots flipped, and given ephemeral containers. A policy (config/admission) bounds what may be
// patched.
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups="",resources=pods/ephemeralcontainers,verbs=patch

// Its own pods that pull images onto nodes before an upgrade, in its own namespace.
// +kubebuilder:rbac:groups="",namespace=axle-system,resources=pods,verbs=create;delete

// What configuration is made from.
// +kubebuilder:rbac:groups="",resources=namespaces;nodes;services,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch

// What is said to people.
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// The operator's own kinds. It creates the defaults once, and never writes a spec after that.
// +kubebuilder:rbac:groups=axlemesh.io,resources=sidecarversions;sidecarfleets,verbs=get;list;watch;create
// +kubebuilder:rbac:groups=axlemesh.io,resources=sidecarversions/status;sidecarfleets/status,verbs=get;update;patch
// +kubebuilder:rbac:groups=axlemesh.io,resources=trafficrules,verbs=get;list;watch
// +kubebuilder:rbac:groups=axlemesh.io,resources=trafficrules/status,verbs=get;patch

// Leader election, in its own namespace.
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=axle-system,resources=leases,verbs=get;create;update;patch
