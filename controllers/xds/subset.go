package xds

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Labels of a subset in one string: name=value, sorted, commas between. Neither names nor values can contain "=" or ",".
// Empty means every pod.
type Labels string

// labelsOf makes Labels of what a rule says.
func labelsOf(subset map[string]axlev1.SubsetValue) Labels {
	var b strings.Builder
	for i, name := range slices.Sorted(maps.Keys(subset)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name + "=" + string(subset[name]))
	}
	return Labels(b.String())
}

// Select says whether a pod with those labels is meant.
func (l Labels) Select(pod map[string]string) bool {
	if l == "" {
		return true
	}
	for pair := range strings.SplitSeq(string(l), ",") {
		name, want, _ := strings.Cut(pair, "=")
		if have, ok := pod[name]; !ok || have != want {
			return false
		}
	}
	return true
}

// Subset is a part of the pods behind one port of a Service.
type Subset struct {
	Service string
	Port    int32
	Labels  Labels
}

// cluster is its name.
func (s Subset) cluster(namespace string) string {
	return ClusterName(namespace, s.Service, s.Port) + "/" + string(s.Labels)
}

// Subsets makes the clusters of those subsets that are of this Service, and their endpoints.
func Subsets(of Provider, look func(string) Pod, wanted []Subset) Resources {
	var out Resources
	if of.Service == nil {
		return out
	}
	ports := tcpPorts(of.Service)
	for _, subset := range wanted {
		at := slices.IndexFunc(ports, func(p corev1.ServicePort) bool { return p.Port == subset.Port })
		if subset.Service != of.Service.Name || at < 0 {
			continue
		}
		name := subset.cluster(of.Service.Namespace)
		out.Clusters = append(out.Clusters, edsCluster(name, of.Service, ports[at], of.Upstreams[subset.Port]))
		out.Assignments = append(out.Assignments, assignment(name, endpoints(ports[at], of, look, subset.Labels)))
	}
	return out
}
