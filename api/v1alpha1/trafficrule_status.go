package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Conditions of a TrafficRule, and of each of its parents.
const (
	// ConditionAccepted is True when the rule is in force for the parent.
	ConditionAccepted = "Accepted"
	// ConditionResolvedRefs is True when everything that the rule refers to exists and can take requests.
	ConditionResolvedRefs = "ResolvedRefs"
	// ConditionProgrammed is True when every connected sidecar has acknowledged the rule's routes.
	ConditionProgrammed = "Programmed"
)

// TrafficRuleStatus is what became of a TrafficRule.
type TrafficRuleStatus struct {
	// ObservedGeneration is the metadata.generation that this status speaks of.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Accepted, ResolvedRefs, Programmed. Each is the worst of the parents'.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Parents are the parentRefs of the spec, in their order.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Parents []ParentStatus `json:"parents,omitempty"`

	// Proxies sums up what the replicas of the operator say.
	//
	// +optional
	Proxies ProxyCounts `json:"proxies,omitzero"`

	// Replicas of the operator that have sidecars connected. Each writes only its own entry.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Replicas []ReplicaProxies `json:"replicas,omitempty"`
}

// ParentStatus is what became of a rule for one parent.
type ParentStatus struct {
	// ParentRef of the spec.
	ParentRef ParentRef `json:"parentRef"`

	// Conditions: Accepted, ResolvedRefs, Programmed.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ProxyCounts counts connected sidecars. In a handover both generations of a pod are connected.
type ProxyCounts struct {
	// Total that get the rule's routes.
	Total int32 `json:"total"`
	// Acked took them as they are now.
	Acked int32 `json:"acked"`
	// Nacked rejected them and go on with what they had.
	Nacked int32 `json:"nacked"`
}

// ReplicaProxies is what one replica of the operator knows of the sidecars that are connected to it.
type ReplicaProxies struct {
	// Name of the replica: its pod.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Version of the routes that the counts are about: replicas that see the same objects make the same one.
	//
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version"`

	ProxyCounts `json:",inline"`

	// Message of a sidecar that rejected the routes.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// TrafficRuleList is a list of TrafficRules.
//
// +kubebuilder:object:root=true
type TrafficRuleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []TrafficRule `json:"items"`
}
