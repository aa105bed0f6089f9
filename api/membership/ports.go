package membership

import (
	"cmp"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// The sidecar's own ports on the loopback address. A listener on all addresses would collide with them.
var reserved = []int32{12220, 12230, 12280, 13330, 13331}

const maxPort = 65535

// Ports returns what the sidecar of an existing pod is to serve: what the fleet says, else what the Services that select the pod say. The
// defaults are applied and the list is sorted. A port whose mesh port is impossible or taken is left out, and callers go the direct way.
//
// What was taken over at the pod's creation stays so whatever the fleet says now: the application has moved and is told nothing new.
// Nothing else is taken over: a running application keeps its port.
func Ports(spec []axlev1.PortSpec, pod *corev1.Pod, services []*corev1.Service) []axlev1.PortSpec {
	told := Told(pod)
	if told == 0 {
		return serve(spec, pod, services, 0)
	}
	return serve(spec, pod, services, told+1)
}

// PortsAtCreation is Ports for a pod that is being created with slots. Of the ports that the fleet asks to take over the first is: the
// application can be told one port. It becomes {appPort: 12199, meshPort: 12200, takeover: true} where the fleet says appPort 12200.
func PortsAtCreation(spec []axlev1.PortSpec, pod *corev1.Pod, services []*corev1.Service) []axlev1.PortSpec {
	return serve(spec, pod, services, movable(spec, pod))
}

// Told is the port that the pod's application was told at its creation to listen on; 0 when it was told none. It is kept in the slots, which
// nobody but Axle may have.
func Told(pod *corev1.Pod) int32 {
	for _, c := range pod.Spec.InitContainers {
		if c.Name != axlev1.SlotA {
			continue
		}
		for _, e := range c.Env {
			if e.Name != axlev1.AppPortEnv {
				continue
			}
			if port, err := strconv.ParseUint(e.Value, 10, 16); err == nil && port < maxPort {
				return int32(port)
			}
		}
	}
	return 0
}

// TakenOver is the port of a list that the sidecar takes over from the application; nil for none.
func TakenOver(ports []axlev1.PortSpec) *axlev1.PortSpec {
	at := slices.IndexFunc(ports, func(p axlev1.PortSpec) bool { return p.Takeover })
	if at < 0 {
		return nil
	}
	return &ports[at]
}

// PortOwner names the container of the pod that declares a TCP port; "" for none.
func PortOwner(pod *corev1.Pod, port int32) string {
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for _, c := range containers {
			for _, p := range c.Ports {
				if p.ContainerPort == port && (p.Protocol == corev1.ProtocolTCP || p.Protocol == "") {
					return c.Name
				}
			}
		}
	}
	return ""
}

// movable is the first port that the fleet asks to take over and the application can be moved from: the port below must be free. 0 for none.
func movable(spec []axlev1.PortSpec, pod *corev1.Pod) int32 {
	listed := map[int32]bool{}
	for _, p := range spec {
		listed[p.AppPort] = true
	}
	for _, p := range spec {
		below := p.AppPort - 1
		if p.Takeover && below > 0 && !listed[below] && !slices.Contains(reserved, below) && !slices.Contains(reserved, p.AppPort) && PortOwner(pod, below) == "" {
			return p.AppPort
		}
	}
	return 0
}

// serve lists the ports to serve; moved is the one that the sidecar takes over, 0 for none.
func serve(spec []axlev1.PortSpec, pod *corev1.Pod, services []*corev1.Service, moved int32) []axlev1.PortSpec {
	wanted := slices.Clone(spec)
	if len(wanted) == 0 {
		wanted = derive(pod, services)
	}
	if moved != 0 && !slices.ContainsFunc(wanted, func(p axlev1.PortSpec) bool { return p.AppPort == moved }) {
		wanted = append(wanted, axlev1.PortSpec{AppPort: moved}) // nobody else listens there
	}
	taken := map[int32]bool{}
	for i := range wanted {
		p := &wanted[i]
		p.Takeover, p.MeshPort = false, p.Mesh()
		if p.Protocol == "" {
			p.Protocol = axlev1.ProtocolTCP
		}
		taken[p.AppPort] = true
		if p.AppPort == moved {
			p.Takeover, p.AppPort, p.MeshPort = true, moved-1, moved
			taken[p.AppPort] = true
		}
	}
	slices.SortFunc(wanted, func(a, b axlev1.PortSpec) int { return cmp.Compare(a.AppPort, b.AppPort) })
	for _, p := range reserved {
		taken[p] = true
	}
	var all []axlev1.PortSpec
	for _, p := range wanted {
		if !p.Takeover && (p.MeshPort > maxPort || taken[p.MeshPort] || PortOwner(pod, p.MeshPort) != "") {
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

// protocol of a Service's port. This release reads Bolt, Dubbo, HTTP/1.1 with SOAP in it, and HTTP/2; everything else is bytes.
func protocol(sp corev1.ServicePort) axlev1.Protocol {
	if sp.AppProtocol == nil {
		return axlev1.ProtocolTCP
	}
	switch *sp.AppProtocol {
	case "bolt", axlev1.GroupName + "/bolt":
		return axlev1.ProtocolBolt
	case "dubbo", axlev1.GroupName + "/dubbo":
		return axlev1.ProtocolDubbo
	case "http", "http1", axlev1.GroupName + "/http1", "kubernetes.io/ws":
		return axlev1.ProtocolHTTP1
	case "http2", "grpc", "tri", axlev1.GroupName + "/http2", "kubernetes.io/h2c":
		return axlev1.ProtocolHTTP2
	case "soap", axlev1.GroupName + "/soap":
		return axlev1.ProtocolSOAP
	}
	return axlev1.ProtocolTCP
}
