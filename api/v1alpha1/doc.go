// Package v1alpha1 holds the kinds that users write, group axlemesh.io, and the
// annotations by which the operator and its webhook speak about one pod.
//
// What a schema can say, it says: defaults, bounds and CEL rules are markers
// here and become the CRDs of config/crd. What it cannot say becomes a
// condition; no webhook rejects these kinds.
//
// +kubebuilder:object:generate=true
// +groupName=axlemesh.io
package v1alpha1
