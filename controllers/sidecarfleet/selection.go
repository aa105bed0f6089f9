package sidecarfleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/webhook/inject"
)

// claim is a fleet with its selectors compiled.
type claim struct {
	fleet      *axlev1.SidecarFleet
	namespaces labels.Selector
	pods       labels.Selector
}

// claims compiles the fleets, in the order in which they come to own a pod: priority, then age, then name.
func claims(fleets []axlev1.SidecarFleet) ([]claim, error) {
	all := make([]claim, 0, len(fleets))
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
		all = append(all, claim{fleet: f, namespaces: ns, pods: pods})
	}
	slices.SortFunc(all, func(a, b claim) int {
		return cmp.Or(
			cmp.Compare(b.fleet.Spec.Priority, a.fleet.Spec.Priority),
			a.fleet.CreationTimestamp.Compare(b.fleet.CreationTimestamp.Time),
			strings.Compare(a.fleet.Name, b.fleet.Name),
		)
	})
	return all, nil
}

func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// enabled says whether a namespace takes part.
func enabled(ns *corev1.Namespace) bool {
	return ns.Labels[axlev1.InjectionLabel] == axlev1.InjectionEnabled && ns.DeletionTimestamp == nil
}

func (c claim) selects(ns *corev1.Namespace, pod *corev1.Pod) bool {
	return enabled(ns) && pod.Labels[axlev1.InjectionLabel] != axlev1.InjectionDisabled &&
		c.namespaces.Matches(labels.Set(ns.Labels)) && c.pods.Matches(labels.Set(pod.Labels))
}

// owner returns the fleet that owns a pod, and all that select it, in order. A fleet that has the pod keeps it while it selects it.
func owner(all []claim, ns *corev1.Namespace, pod *corev1.Pod, has string) (owns string, selecting []string) {
	for _, c := range all {
		if c.selects(ns, pod) {
			selecting = append(selecting, c.fleet.Name)
		}
	}
	switch {
	case len(selecting) == 0:
		return "", nil
	case slices.Contains(selecting, has):
		return has, selecting
	}
	return selecting[0], selecting
}

// isAway says whether a pod cannot be changed now, and why not is its own affair: it has not started, has ended, is being deleted,
// or its sandbox is not there.
func isAway(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" {
		return true
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionFalse {
			return true
		}
	}
	return false
}

// skip says why a pod never gets a sidecar, or "". What passes by itself makes a pod away instead.
func skip(pod *corev1.Pod) string {
	for _, f := range inject.Skip(pod) {
		switch f.Reason {
		case inject.Terminating, inject.Finished, inject.NoAddress:
			continue
		}
		return string(f.Reason) + ": " + f.Message
	}
	return ""
}

// workload names the controller that owns a pod. A ReplicaSet of a Deployment stands for the Deployment, so that a rolling update of the application
// does not double what may be disturbed at once.
func workload(pod *corev1.Pod) string {
	ref := metav1.GetControllerOf(pod)
	if ref == nil {
		return "Pod/" + pod.Name
	}
	if hash := pod.Labels["pod-template-hash"]; ref.Kind == "ReplicaSet" && hash != "" {
		if name, ok := strings.CutSuffix(ref.Name, "-"+hash); ok {
			return "Deployment/" + name
		}
	}
	return ref.Kind + "/" + ref.Name
}
