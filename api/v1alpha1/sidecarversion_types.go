package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SidecarVersion is one release of the sidecar. Its spec never changes: another release is another object.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=scv,categories=axle
// +kubebuilder:printcolumn:name="Verified",type=string,JSONPath=`.status.conditions[?(@.type=="Verified")].status`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.pods`
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.spec.image`
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.status.digest`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name must be a DNS label: lower-case letters, digits and dashes, at most 63, like v1-2-0"
type SidecarVersion struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   SidecarVersionSpec   `json:"spec"`
	Status SidecarVersionStatus `json:"status,omitempty"`
}

// SidecarVersionSpec says what the release is.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a SidecarVersion is immutable: create another one and name it in the fleet's spec.version"
type SidecarVersionSpec struct {
	// Image of the sidecar: registry/repository@sha256:digest. A tag is accepted too; it is resolved once, into
	// status.digest, and warned about.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`
	// +kubebuilder:validation:XValidation:rule="self.contains('@sha256:') || self.matches(':[^/]+$')",message="the image needs a digest (preferred) or a tag"
	Image string `json:"image"`

	// HandoverProtocol is the range of handover protocol versions that it speaks: with which predecessors and
	// successors it can exchange connections.
	//
	// +optional
	// +kubebuilder:default={min: 1, max: 1}
	HandoverProtocol VersionRange `json:"handoverProtocol,omitzero"`

	// Protocols that it speaks.
	//
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Protocols []Protocol `json:"protocols"`

	// Resources of the sidecar's container. Containers that are added to a running pod cannot have resources: there
	// limits.memory sets the runtime's memory target and the rest is advice.
	//
	// +optional
	// +kubebuilder:default={requests: {cpu: "50m", memory: "32Mi"}, limits: {memory: "128Mi"}}
	Resources Resources `json:"resources,omitzero"`
}

// VersionRange is a range of protocol versions, both ends included.
//
// +kubebuilder:validation:XValidation:rule="self.min <= self.max",message="min must not be greater than max"
type VersionRange struct {
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Min int32 `json:"min"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Max int32 `json:"max"`
}

// Overlaps says whether two sides with these ranges have a version in common.
func (r VersionRange) Overlaps(o VersionRange) bool {
	return r.Min <= o.Max && o.Min <= r.Max
}

// Resources of a sidecar's container.
//
// +kubebuilder:validation:XValidation:rule="!has(self.limits) || !has(self.limits.memory) || quantity(string(self.limits.memory)).compareTo(quantity('32Mi')) >= 0",message="limits.memory must be at least 32Mi"
type Resources struct {
	// +optional
	Requests ResourceAmounts `json:"requests,omitzero"`
	// +optional
	Limits ResourceAmounts `json:"limits,omitzero"`
}

// ResourceAmounts are amounts of the two resources that a sidecar uses.
type ResourceAmounts struct {
	// +optional
	CPU *resource.Quantity `json:"cpu,omitempty"`
	// +optional
	Memory *resource.Quantity `json:"memory,omitempty"`
}

// SidecarVersionStatus is what the operator knows of the release.
type SidecarVersionStatus struct {
	// ObservedGeneration is the metadata.generation that this status speaks of.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Digest of the image, sha256:...; what pods run, whatever a tag says later.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:Pattern=`^(sha256:[0-9a-f]{64})?$`
	Digest string `json:"digest,omitempty"`

	// Pods that run this version now.
	//
	// +optional
	Pods int32 `json:"pods"`

	// Conditions: Verified.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// SidecarVersionList is a list of SidecarVersions.
//
// +kubebuilder:object:root=true
type SidecarVersionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []SidecarVersion `json:"items"`
}
