// Package xds makes the sidecars' configuration from Services, EndpointSlices and pods, and serves it over delta ADS.
//
// What is the same for all sidecars (clusters, endpoints, virtual hosts) is made once for each Service and shared by everyone
// who subscribes; what belongs to one pod (its listeners) is kept for that pod. What makes resources is pure: generate.go, scene.go and subset.go for
// Services, rules.go, matchers.go, routes.go, edits.go, actions.go, target.go and upstream.go for TrafficRules, listeners.go and settings.go for pods. store.go holds the caches; controller.go and watch.go keep them
// current; server.go talks to sidecars, and acks.go keeps what they answer. Every replica runs all of it.
package xds

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	corev1 "k8s.io/api/core/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// connectTimeout of upstream connections, where no rule says otherwise.
const connectTimeout = time.Second

// maxKeys bounds how many service keys one Service may claim.
const maxKeys = 256

// Resources are what one Service becomes.
type Resources struct {
	Clusters    []*clusterv3.Cluster
	Assignments []*endpointv3.ClusterLoadAssignment
	Hosts       []*routev3.VirtualHost
	// Reports say what became of the rules of the Service, Subsets which subsets the hosts route to.
	Reports []Report
	Subsets []Subset
	// Upstreams are what is in force for the Service's ports: its subsets need it, too.
	Upstreams map[int32]InForce
}

// ClusterName of one port of a Service.
func ClusterName(namespace, service string, port int32) string {
	return fmt.Sprintf("outbound/%s/%s/%d", namespace, service, port)
}

// Way says on which mesh port each application port of a pod is open now; an application port that is missing is reached
// directly. The sidecar has to say that it listens, its container has to be there, and nobody may have asked it to leave.
//
// A port that the sidecar has taken over is the other way round: Services name the mesh port, so that one is right while it is open, and the direct
// way leads to where the application has moved.
func Way(pod *corev1.Pod) map[int32]int32 {
	desired, err := axlev1.ParseDesired(pod.Annotations)
	if err != nil || desired == nil {
		return nil
	}
	open := listening(pod, desired)
	way := map[int32]int32{}
	for _, p := range desired.Ports {
		switch isOpen := slices.Contains(open, p.Mesh()); {
		case p.Takeover && !isOpen:
			way[p.Mesh()] = p.AppPort
		case !p.Takeover && isOpen:
			way[p.AppPort] = p.Mesh()
		}
	}
	return way
}

// listening are the mesh ports of a pod that callers may use now.
func listening(pod *corev1.Pod, desired *axlev1.PodDesired) []int32 {
	status, err := axlev1.ParseStatus(pod.Annotations)
	if err != nil || status == nil || status.Phase != axlev1.PhaseServing && status.Phase != axlev1.PhaseHandingOver {
		return nil
	}
	if desired.Leave || sidecars.Serving(status, sidecars.Of(pod)) == 0 {
		return nil
	}
	return status.Listening
}

// Generate makes the resources of a Service, its rules worked in. The clusters of subsets are made by Subsets: a Service's
// subsets may be wanted by others.
func Generate(s Scene) Resources {
	c := compile(&s)
	out := Resources{Hosts: c.hosts, Reports: c.reports, Subsets: c.subsets, Upstreams: c.upstreams}
	for _, port := range tcpPorts(s.Service) {
		name := ClusterName(s.Service.Namespace, s.Service.Name, port.Port)
		out.Clusters = append(out.Clusters, edsCluster(name, s.Service, port, c.upstreams[port.Port]))
		out.Assignments = append(out.Assignments, assignment(name, endpoints(port, s.Provider, s.Pod, "")))
	}
	return out
}

// edsCluster keeps requests in the caller's zone when the Service asks for that (spec.trafficDistribution), and uses its endpoints as
// up says.
func edsCluster(name string, svc *corev1.Service, port corev1.ServicePort, up InForce) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		ConnectTimeout:       durationpb.New(connectTimeout),
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: &corev3.ConfigSource{
			ResourceApiVersion:    corev3.ApiVersion_V3,
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		}},
	}
	if near(svc) {
		c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_{
			ZoneAwareLbConfig: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig{},
		}}
	}
	apply(up, svc, port, c)
	return c
}

// near says whether a Service prefers endpoints in the caller's zone. What asks for the same node gets the same zone.
func near(svc *corev1.Service) bool {
	if svc.Spec.TrafficDistribution == nil {
		return false
	}
	switch *svc.Spec.TrafficDistribution {
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode:
		return true
	}
	return false
}

// assignment groups endpoints, which are in the order of their zones, by zone.
func assignment(name string, all []spot) *endpointv3.ClusterLoadAssignment {
	a := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for i, e := range all {
		if i == 0 || e.zone != all[i-1].zone {
			group := &endpointv3.LocalityLbEndpoints{}
			if e.zone != "" {
				group.Locality = &corev3.Locality{Zone: e.zone}
			}
			a.Endpoints = append(a.Endpoints, group)
		}
		group := a.Endpoints[len(a.Endpoints)-1]
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(e.at.Addr().String(), int32(e.at.Port()))}},
		})
	}
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
