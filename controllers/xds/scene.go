package xds

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Provider is a Service and what is behind it.
type Provider struct {
	Service *corev1.Service
	Slices  []*discoveryv1.EndpointSlice
	// Upstreams in force, by port; Subsets looks at them. Generate finds them.
	Upstreams map[int32]InForce
}

// Pod is what an endpoint depends on. Way gives its mesh port by application port, see Way.
type Pod struct {
	Way    map[int32]int32
	Labels map[string]string
	// Lost says that its node was not heard of, and nothing worse: see lost.
	Lost bool
}

// Scene is everything that one Service's resources are made from. All of it is in one namespace.
type Scene struct {
	Provider
	// Pod finds a pod by name; the zero Pod is one that is reached directly and is in no subset.
	Pod func(name string) Pod
	// Rules that have the Service as a parent.
	Rules []*axlev1.TrafficRule
	// Others are the Services, besides this one, that those rules name and that exist.
	Others map[string]Provider
}

// named finds a Service that a rule names.
func (s *Scene) named(name string) (Provider, bool) {
	if name == s.Service.Name {
		return s.Provider, true
	}
	p, ok := s.Others[name]
	return p, ok && p.Service != nil
}

// keyed is a service key and the port that its requests go to.
type keyed struct {
	key  string
	port corev1.ServicePort
}

// keys are the names that callers route by, sorted: those of the annotation, which go to the first Bolt port, and SOAP's among them
// and the Service's own, which go to the first HTTP/1 port, else to the first of HTTP/2. Without such a port both go to the first port of Bolt, else of
// Dubbo, else to the first.
func keys(svc *corev1.Service) []keyed {
	rpc, ok := portOf(svc, protocolBolt)
	if !ok {
		return nil
	}
	own, _ := portOf(svc, protocolHTTP, protocolHTTP2)
	all := []keyed{{ownKey(svc), own}}
	for key := range strings.SplitSeq(svc.Annotations[axlev1.ServicesAnnotation], ",") {
		if key = strings.TrimSpace(key); key != "" && key != "*" && len(all) < maxKeys {
			port := rpc
			if soapKey(key) {
				port = own
			}
			all = append(all, keyed{key, port})
		}
	}
	slices.SortStableFunc(all, func(a, b keyed) int { return cmp.Compare(a.key, b.key) })
	return slices.CompactFunc(all, func(a, b keyed) bool { return a.key == b.key })
}

// soapKey says that a service key is one of SOAP: it begins with a namespace, which is a URI. Its requests are HTTP.
func soapKey(key string) bool { return strings.Contains(key, "://") || strings.HasPrefix(key, "urn:") }

func ownKey(svc *corev1.Service) string { return svc.Name + "." + svc.Namespace }

// protocol of a port, as far as it decides who may call it.
type protocol string

const (
	protocolBolt  protocol = "Bolt"
	protocolDubbo protocol = "Dubbo"
	protocolHTTP  protocol = "HTTP"
	protocolHTTP2 protocol = "HTTP/2"
)

// protocolOf a port; empty when the Service does not say.
func protocolOf(port corev1.ServicePort) protocol {
	if port.AppProtocol == nil {
		return ""
	}
	switch *port.AppProtocol {
	case "bolt", axlev1.GroupName + "/bolt":
		return protocolBolt
	case "dubbo", axlev1.GroupName + "/dubbo":
		return protocolDubbo
	case "http", "http1", axlev1.GroupName + "/http1", "kubernetes.io/ws", "soap", axlev1.GroupName + "/soap":
		return protocolHTTP
	case "http2", "grpc", "tri", axlev1.GroupName + "/http2", "kubernetes.io/h2c":
		return protocolHTTP2
	}
	return ""
}

// tcpPorts of a Service, in its order.
func tcpPorts(svc *corev1.Service) []corev1.ServicePort {
	return slices.DeleteFunc(slices.Clone(svc.Spec.Ports), func(p corev1.ServicePort) bool {
		return p.Protocol != "" && p.Protocol != corev1.ProtocolTCP
	})
}

// portOf is the port of a Service that requests go to: the first that speaks the first of the wanted protocols, then those after it, then the
// first of Bolt, of Dubbo, and of all. ok is false when there is none.
func portOf(svc *corev1.Service, wanted ...protocol) (port corev1.ServicePort, ok bool) {
	all := tcpPorts(svc)
	for _, speaks := range append(wanted, protocolBolt, protocolDubbo) {
		at := slices.IndexFunc(all, func(p corev1.ServicePort) bool { return protocolOf(p) == speaks })
		if speaks != "" && at >= 0 {
			return all[at], true
		}
	}
	if len(all) == 0 {
		return corev1.ServicePort{}, false
	}
	return all[0], true
}

// spot is where one pod is reached, and the zone of its node.
type spot struct {
	zone string
	at   netip.AddrPort
}

// endpoints lists the ready endpoints of a Service's port that are in a subset, by zone, sorted and each address once.
//
// Pods that are lost count as ready where they are more than the others: it is the control plane then that has gone, and not most of the nodes.
func endpoints(port corev1.ServicePort, of Provider, look func(string) Pod, in Labels) []spot {
	known, lost := map[netip.AddrPort]string{}, map[netip.AddrPort]string{}
	for _, slice := range of.Slices {
		app := slicePort(port, slice)
		if app == 0 {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if len(e.Addresses) == 0 || ptr.Deref(e.Conditions.Terminating, false) {
				continue
			}
			ip, err := netip.ParseAddr(e.Addresses[0])
			if err != nil {
				continue
			}
			var pod Pod
			if ref := e.TargetRef; ref != nil && ref.Kind == "Pod" {
				pod = look(ref.Name)
			}
			to := known
			if !ptr.Deref(e.Conditions.Ready, true) {
				to = lost
			}
			if in.Select(pod.Labels) && (pod.Lost || ptr.Deref(e.Conditions.Ready, true)) {
				at := netip.AddrPortFrom(ip.Unmap(), uint16(cmp.Or(pod.Way[app], app)))
				to[at] = max(to[at], ptr.Deref(e.Zone, "")) // two slices may list it for a while
			}
		}
	}
	if len(lost) > len(known) {
		maps.Copy(known, lost)
	}
	var all []spot
	for at, zone := range known {
		all = append(all, spot{zone, at})
	}
	slices.SortFunc(all, func(a, b spot) int { return cmp.Or(cmp.Compare(a.zone, b.zone), a.at.Compare(b.at)) })
	return all
}

// slicePort is the number that a Service's port has in a slice; 0 when it has none.
func slicePort(port corev1.ServicePort, slice *discoveryv1.EndpointSlice) int32 {
	if slice.AddressType == discoveryv1.AddressTypeFQDN {
		return 0
	}
	for _, p := range slice.Ports {
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		if name == port.Name && p.Port != nil && *p.Port > 0 && *p.Port <= 65535 && (p.Protocol == nil || *p.Protocol == corev1.ProtocolTCP) {
			return *p.Port
		}
	}
	return 0
}

// lost says that the node lifecycle controller has marked a pod not ready because its node was not heard of, while the kubelet's own last word is that
// its containers are ready: the kubelet gives a reason whenever it says that a pod is not (node_lifecycle_controller.go, MarkPodsNotReady). It does that
// to every pod when the API server was away for long.
func lost(p *corev1.Pod) bool {
	ready, containers := false, false
	for _, c := range p.Status.Conditions {
		switch c.Type {
		case corev1.PodReady:
			ready = c.Status == corev1.ConditionTrue || c.Reason != ""
		case corev1.ContainersReady:
			containers = c.Status == corev1.ConditionTrue
		}
	}
	return containers && !ready
}
