// Package xds makes the sidecars' configuration from Services, EndpointSlices and pods, and serves it over delta ADS.
//
// What is the same for all sidecars (clusters, endpoints, virtual hosts) is made once for each Service and shared by everyone
// who subscribes; what belongs to one pod (its listeners) is kept for that pod. generate.go is pure; store.go holds the caches; controller.go keeps them
// current; server.go talks to sidecars. Every replica runs all of it.
package xds

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// connectTimeout of every upstream connection.
const connectTimeout = time.Second

// maxKeys bounds how many service keys one Service may claim.
const maxKeys = 256

// Resources are what one Service becomes.
type Resources struct {
	Clusters    []*clusterv3.Cluster
	Assignments []*endpointv3.ClusterLoadAssignment
	Hosts       []*routev3.VirtualHost
}

// ClusterName of one port of a Service.
func ClusterName(namespace, service string, port int32) string {
	return fmt.Sprintf("outbound/%s/%s/%d", namespace, service, port)
}

// Way says on which mesh port each application port of a pod is open now; an application port that is missing is reached
// directly. The sidecar has to say that it listens, its container has to be there, and nobody may have asked it to leave.
func Way(pod *corev1.Pod) map[int32]int32 {
	desired, err := axlev1.ParseDesired(pod.Annotations)
	if err != nil || desired == nil || desired.Leave {
		return nil
	}
	status, err := axlev1.ParseStatus(pod.Annotations)
	if err != nil || status == nil || status.Phase != axlev1.PhaseServing && status.Phase != axlev1.PhaseHandingOver {
		return nil
	}
	if sidecars.Serving(status, sidecars.Of(pod)) == 0 {
		return nil
	}
	way := map[int32]int32{}
	for _, p := range desired.Ports {
		if slices.Contains(status.Listening, p.Mesh()) {
			way[p.AppPort] = p.Mesh()
		}
	}
	return way
}

// Generate makes the resources of a Service. way gives the way into a pod of its namespace by name, nil when it is direct.
func Generate(svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, way func(pod string) map[int32]int32) Resources {
	var out Resources
	main, bolt := "", false
	for _, port := range svc.Spec.Ports {
		if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
			continue
		}
		name := ClusterName(svc.Namespace, svc.Name, port.Port)
		out.Clusters = append(out.Clusters, edsCluster(name))
		out.Assignments = append(out.Assignments, assignment(name, endpoints(port, endpointSlices, way)))
		if main == "" || isBolt(port) && !bolt { // service keys go to the first Bolt port, else to the first port
			main, bolt = name, isBolt(port)
		}
	}
	if main == "" {
		return Resources{}
	}
	for _, key := range serviceKeys(svc) {
		out.Hosts = append(out.Hosts, virtualHost(key, main))
	}
	return out
}

func isBolt(port corev1.ServicePort) bool {
	return port.AppProtocol != nil && (*port.AppProtocol == "bolt" || *port.AppProtocol == axlev1.GroupName+"/bolt")
}

// serviceKeys are the names that callers route by: those of the annotation, and the Service's own.
func serviceKeys(svc *corev1.Service) []string {
	keys := []string{svc.Name + "." + svc.Namespace}
	for key := range strings.SplitSeq(svc.Annotations[axlev1.ServicesAnnotation], ",") {
		if key = strings.TrimSpace(key); key != "" && key != "*" && len(keys) < maxKeys {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// endpoints lists the ready endpoints of a Service's port, sorted and unique.
func endpoints(port corev1.ServicePort, endpointSlices []*discoveryv1.EndpointSlice, way func(string) map[int32]int32) []netip.AddrPort {
	var all []netip.AddrPort
	for _, slice := range endpointSlices {
		app := slicePort(port, slice)
		if app == 0 {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if len(e.Addresses) == 0 || !usable(e.Conditions) {
				continue
			}
			ip, err := netip.ParseAddr(e.Addresses[0])
			if err != nil {
				continue
			}
			to := app
			if ref := e.TargetRef; ref != nil && ref.Kind == "Pod" {
				to = cmp.Or(way(ref.Name)[app], app)
			}
			all = append(all, netip.AddrPortFrom(ip.Unmap(), uint16(to)))
		}
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return slices.Compact(all)
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

func usable(c discoveryv1.EndpointConditions) bool {
	return (c.Ready == nil || *c.Ready) && (c.Terminating == nil || !*c.Terminating)
}

func edsCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		ConnectTimeout:       durationpb.New(connectTimeout),
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: &corev3.ConfigSource{
			ResourceApiVersion:    corev3.ApiVersion_V3,
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		}},
	}
}

func assignment(name string, all []netip.AddrPort) *endpointv3.ClusterLoadAssignment {
	a := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	if len(all) == 0 {
		return a
	}
	local := &endpointv3.LocalityLbEndpoints{}
	for _, at := range all {
		local.LbEndpoints = append(local.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(at.Addr().String(), int32(at.Port()))}},
		})
	}
	a.Endpoints = []*endpointv3.LocalityLbEndpoints{local}
	return a
}

func virtualHost(key, cluster string) *routev3.VirtualHost {
	return &routev3.VirtualHost{
		Name:    key,
		Domains: []string{key},
		Routes: []*routev3.Route{{
			Name:  "default",
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
			}},
		}},
	}
}

func socket(ip string, port int32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

func inboundCluster(port int32) string { return "inbound/" + strconv.Itoa(int(port)) }
