package sidecarfleet

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/axlemesh/axle/api/membership"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
	"github.com/axlemesh/axle/webhook/inject"
)

// claim is a fleet with its selectors compiled.
type claim = membership.Claim

// claims compiles the fleets, in the order in which they come to own a pod.
func claims(fleets []axlev1.SidecarFleet) ([]claim, error) { return membership.Claims(fleets) }

// enabled says whether a namespace takes part.
func enabled(ns *corev1.Namespace) bool { return membership.Enabled(ns) }

// owner names the fleet that owns a pod, and all that select it, in order; see membership.Owner.
func owner(all []claim, ns *corev1.Namespace, pod *corev1.Pod, has string) (owns string, selecting []string) {
	f, selecting := membership.Owner(all, ns, pod, has)
	if f == nil {
		return "", nil
	}
	return f.Name, selecting
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

// workload names the controller that owns a pod. A Deployment stands for its ReplicaSets, so that a rolling update of the application does not
// double what may be disturbed at once.
func workload(pod *corev1.Pod) string {
	kind, name := sidecars.Workload(pod)
	return kind + "/" + name
}
