// Package membership says which SidecarFleet owns a pod, and which ports that pod's sidecar serves. The webhook asks it when a pod is
// created, the fleet controller afterwards and kubectl-axle when it explains: one set of rules, so that all three say the same. Everything
// here is pure.
package membership

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Claim is a fleet with its selectors compiled.
type Claim struct {
	Fleet      *axlev1.SidecarFleet
	namespaces labels.Selector
	pods       labels.Selector
}

// Claims compiles the fleets, in the order in which they come to own a pod. The error names the fleet and the selector that cannot be read.
func Claims(fleets []axlev1.SidecarFleet) ([]Claim, error) {
	all := make([]Claim, 0, len(fleets))
	for i := range fleets {
		f := &fleets[i]
		ns, err := selector(f.Spec.NamespaceSelector)
		if err != nil {
			return nil, fmt.Errorf("namespaceSelector of SidecarFleet %q: %w", f.Name, err)
		}
		pods, err := selector(f.Spec.PodSelector)
		if err != nil {
			return nil, fmt.Errorf("podSelector of SidecarFleet %q: %w", f.Name, err)
		}
		all = append(all, Claim{Fleet: f, namespaces: ns, pods: pods})
	}
	slices.SortFunc(all, func(a, b Claim) int { return Rank(a.Fleet, b.Fleet) })
	return all, nil
}

// Rank orders fleets by who comes to own a pod that both select: priority, then age, then name.
func Rank(a, b *axlev1.SidecarFleet) int {
	return cmp.Or(
		cmp.Compare(b.Spec.Priority, a.Spec.Priority),
		a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
		strings.Compare(a.Name, b.Name),
	)
}

func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// Protected namespaces never take part, whatever their labels say: the cluster's own, and the operator's.
func Protected(namespace, operators string) bool {
	return namespace == metav1.NamespaceSystem || namespace == operators
}

// Enabled says whether a namespace takes part.
func Enabled(ns *corev1.Namespace) bool {
	return ns.Labels[axlev1.InjectionLabel] == axlev1.InjectionEnabled && ns.DeletionTimestamp == nil
}

// OptedOut says whether a pod's own label keeps it out.
func OptedOut(pod *corev1.Pod) bool {
	return pod.Labels[axlev1.InjectionLabel] == axlev1.InjectionDisabled
}

func (c Claim) selects(ns *corev1.Namespace, pod *corev1.Pod) bool {
	return Enabled(ns) && !OptedOut(pod) && c.namespaces.Matches(labels.Set(ns.Labels)) && c.pods.Matches(labels.Set(pod.Labels))
}

// Owner returns the fleet that owns a pod, nil for none, and the names of all that select it, in order. A fleet that has the pod keeps
// it while it selects it; has is "" for a pod that none has.
func Owner(all []Claim, ns *corev1.Namespace, pod *corev1.Pod, has string) (owns *axlev1.SidecarFleet, selecting []string) {
	for _, c := range all {
		if !c.selects(ns, pod) {
			continue
		}
		selecting = append(selecting, c.Fleet.Name)
		if owns == nil || c.Fleet.Name == has {
			owns = c.Fleet
		}
	}
	return owns, selecting
}
