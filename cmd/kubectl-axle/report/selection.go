package report

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/axlemesh/axle/api/membership"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// selection is which fleets select a pod, and why the others do not.
type selection struct {
	// owner is the fleet that the pod belongs to; nil for none.
	owner *axlev1.SidecarFleet
	// has is the name of the fleet that the pod's desire names, whether or not it still selects the pod; "" for none.
	has string
	// barred says why no fleet can select the pod; "" when one could. fix is the command that changes that, if there is one.
	barred, fix string
	verdicts    []verdict
}

// verdict of one fleet on one pod; why is "" when it selects the pod.
type verdict struct {
	fleet *axlev1.SidecarFleet
	why   string
}

// selection follows the rules of the fleet controller: a pod stays with the fleet that it has while that one selects it; else
// the first in rank gets it.
func (c *Cluster) selection(pod *corev1.Pod, has string) selection {
	s := selection{has: has}
	ns := c.namespace(pod.Namespace)
	if s.barred, s.fix = c.barred(ns, pod); s.fix != "" {
		ns = ns.DeepCopy() // what the fleets would say once that is done
		ns.Labels = labels.Merge(ns.Labels, labels.Set{axlev1.InjectionLabel: axlev1.InjectionEnabled})
	}
	for _, f := range c.ranked() {
		s.verdicts = append(s.verdicts, verdict{fleet: f, why: mismatch(f, ns, pod)})
	}
	if s.barred != "" {
		return s
	}
	if claims, err := membership.Claims(c.Fleets); err == nil { // else the controller is stopped, and the verdict on that fleet says why
		s.owner, _ = membership.Owner(claims, ns, pod, has)
	}
	return s
}

// wanted says whether the owner wants a sidecar in the running pod.
func (s selection) wanted() bool { return s.owner != nil && s.owner.Spec.InPlace.On() }

// barred says what keeps a pod from every fleet, and the command that would let it in, if there is one.
func (c *Cluster) barred(ns *corev1.Namespace, pod *corev1.Pod) (why, fix string) {
	label := fmt.Sprintf("%s=%s", axlev1.InjectionLabel, axlev1.InjectionEnabled)
	switch value, labelled := ns.Labels[axlev1.InjectionLabel]; {
	case membership.Protected(ns.Name, c.OperatorNamespace):
		return fmt.Sprintf("Namespace %s never takes part, whatever its labels say.", ns.Name), ""
	case !labelled:
		return fmt.Sprintf("Namespace %s does not take part: it has no label %s.", ns.Name, label),
			fmt.Sprintf("kubectl label namespace %s %s", ns.Name, label)
	case value != axlev1.InjectionEnabled:
		return fmt.Sprintf("Namespace %s does not take part: its label says %s=%s.", ns.Name, axlev1.InjectionLabel, value),
			fmt.Sprintf("kubectl label namespace %s --overwrite %s", ns.Name, label)
	case ns.DeletionTimestamp != nil:
		return fmt.Sprintf("Namespace %s is being deleted.", ns.Name), ""
	}
	if membership.OptedOut(pod) {
		return fmt.Sprintf("The pod has opted out: its label says %s=%s.", axlev1.InjectionLabel, axlev1.InjectionDisabled),
			fmt.Sprintf("kubectl label pod -n %s %s %s-", pod.Namespace, pod.Name, axlev1.InjectionLabel)
	}
	return "", ""
}

// mismatch says why a fleet's selectors do not match, or "".
func mismatch(f *axlev1.SidecarFleet, ns *corev1.Namespace, pod *corev1.Pod) string {
	if why := unmatched(f.Spec.NamespaceSelector, "the namespace", ns.Labels); why != "" {
		return "its namespaceSelector needs " + why
	}
	if why := unmatched(f.Spec.PodSelector, "the pod", pod.Labels); why != "" {
		return "its podSelector needs " + why
	}
	return ""
}

// unmatched lists what a selector asks for and does not find; "" when it matches.
func unmatched(s *metav1.LabelSelector, whose string, has map[string]string) string {
	if s == nil {
		return ""
	}
	compiled, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return fmt.Sprintf("something that cannot be read (%v)", err)
	}
	requirements, _ := compiled.Requirements()
	var missing []string
	for _, r := range requirements {
		if !r.Matches(labels.Set(has)) {
			found := fmt.Sprintf("%s has no label %s", whose, r.Key())
			if value, ok := has[r.Key()]; ok {
				found = fmt.Sprintf("%s has %s=%s", whose, r.Key(), value)
			}
			missing = append(missing, fmt.Sprintf("%s (%s)", r.String(), found))
		}
	}
	slices.Sort(missing)
	return strings.Join(missing, " and ")
}
