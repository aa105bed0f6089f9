package sidecarfleet

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/webhook/inject"
)

// The sidecar's own ports on the loopback address. A listener on all addresses would collide with them.
var reserved = []int32{12220, 12280, 13330, 13331}

// ports returns what a pod's sidecar is to serve: what the fleet says, else what the Services that select the pod say. The defaults are
// applied and the list is sorted. A port whose mesh port is impossible or taken is left out, and callers go the direct way.
func ports(spec []axlev1.PortSpec, pod *corev1.Pod, services []*corev1.Service) []axlev1.PortSpec {
	wanted := slices.Clone(spec)
	if len(wanted) == 0 {
		wanted = derive(pod, services)
	}
	for i := range wanted {
		p := &wanted[i]
		p.MeshPort, p.Takeover = p.Mesh(), false // a running application keeps its port
		if p.Protocol == "" {
			p.Protocol = axlev1.ProtocolTCP
		}
	}
	slices.SortFunc(wanted, func(a, b axlev1.PortSpec) int { return cmp.Compare(a.AppPort, b.AppPort) })
	taken := map[int32]bool{}
	for _, p := range wanted {
		taken[p.AppPort] = true
	}
	for _, p := range reserved {
		taken[p] = true
	}
	var all []axlev1.PortSpec
	for _, p := range wanted {
		if p.MeshPort > 65535 || taken[p.MeshPort] || inject.PortOwner(pod, p.MeshPort) != "" {
			continue
		}
		taken[p.MeshPort] = true
		all = append(all, p)
	}
	return all
}

// derive reads the ports of a pod from the Services that select it. A port that any of them names a protocol for has that protocol.
func derive(pod *corev1.Pod, services []*corev1.Service) []axlev1.PortSpec {
	found := map[int32]axlev1.Protocol{}
	for _, svc := range services {
		if len(svc.Spec.Selector) == 0 || !labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			continue
		}
		for _, sp := range svc.Spec.Ports {
			port := target(sp, pod)
			if port == 0 || sp.Protocol != "" && sp.Protocol != corev1.ProtocolTCP {
				continue
			}
			if p := protocol(sp); p != axlev1.ProtocolTCP || found[port] == "" {
				found[port] = p
			}
		}
	}
	all := make([]axlev1.PortSpec, 0, len(found))
	for port, p := range found {
		all = append(all, axlev1.PortSpec{AppPort: port, Protocol: p})
	}
	return all
}

// target resolves a Service's port in one pod; 0 when the pod has no port of that name.
func target(sp corev1.ServicePort, pod *corev1.Pod) int32 {
	switch {
	case sp.TargetPort.Type == intstr.String:
		for _, c := range pod.Spec.Containers {
			for _, cp := range c.Ports {
				if cp.Name == sp.TargetPort.StrVal && (cp.Protocol == "" || cp.Protocol == corev1.ProtocolTCP) {
					return cp.ContainerPort
				}
			}
		}
		return 0
	case sp.TargetPort.IntVal != 0:
		return sp.TargetPort.IntVal
	}
	return sp.Port
}

// protocol of a Service's port. This release reads Bolt and HTTP/1.1; everything else is bytes.
func protocol(sp corev1.ServicePort) axlev1.Protocol {
	if sp.AppProtocol == nil {
		return axlev1.ProtocolTCP
	}
	switch *sp.AppProtocol {
	case "bolt", axlev1.GroupName + "/bolt":
		return axlev1.ProtocolBolt
	case "http", "http1", axlev1.GroupName + "/http1", "kubernetes.io/ws":
		return axlev1.ProtocolHTTP1
	}
	return axlev1.ProtocolTCP
}
