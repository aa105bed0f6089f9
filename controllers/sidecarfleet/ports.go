package sidecarfleet

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/axlemesh/axle/api/membership"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// ports returns what a pod's sidecar is to serve; see membership.Ports.
func ports(spec []axlev1.PortSpec, pod *corev1.Pod, services []*corev1.Service) []axlev1.PortSpec {
	return membership.Ports(spec, pod, services)
}
