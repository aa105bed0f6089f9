package sidecarfleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/webhook/inject"
)

// Labels of the operator's own pods that pull images.
const (
	pullFleet   = axlev1.GroupName + "/prepull-fleet"
	pullVersion = axlev1.GroupName + "/prepull-version"
	// pullName begins the names of the pods, and is the name of their container: the policy on the images of axle-* containers holds for it.
	pullName = "axle-prepull"
)

// pulls lists the pods that pull images for a fleet.
func (r *Reconciler) pulls(ctx context.Context, fleet string) ([]Pull, error) {
	var pods corev1.PodList
	err := r.Client.List(ctx, &pods, client.InNamespace(r.Namespace), client.MatchingLabels{pullFleet: fleet}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list pods of namespace %q that pull images for fleet %q: %w", r.Namespace, fleet, err)
	}
	all := make([]Pull, 0, len(pods.Items))
	for i := range pods.Items {
		all = append(all, pullFacts(&pods.Items[i]))
	}
	slices.SortFunc(all, func(a, b Pull) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func pullFacts(pod *corev1.Pod) Pull {
	u := Pull{
		NamespacedName: client.ObjectKeyFromObject(pod), UID: pod.UID, Version: pod.Labels[pullVersion], Node: pod.Spec.NodeName,
		Created: pod.CreationTimestamp.Time, Present: pod.Status.Phase == corev1.PodSucceeded, Going: pod.DeletionTimestamp != nil,
	}
	u.recall(pod)
	var state corev1.ContainerState
	if len(pod.Status.ContainerStatuses) > 0 {
		u.Seen, state = true, pod.Status.ContainerStatuses[0].State
	}
	switch {
	case u.Present:
	case state.Terminated != nil && state.Terminated.ExitCode == 0: // the pod's phase follows in a moment
		u.Present = true
	case state.Terminated != nil && pod.Status.Reason == "":
		u.Broken = fmt.Sprintf("does not run: it exited with code %d%s", state.Terminated.ExitCode, because(state.Terminated.Reason, state.Terminated.Message))
	case pod.Status.Phase == corev1.PodFailed:
		u.Refused = strings.TrimPrefix(because(pod.Status.Reason, pod.Status.Message), " ")
	case state.Waiting != nil:
		u.Reason, u.Message = state.Waiting.Reason, state.Waiting.Message
	}
	return u
}

// PullPod is the pod that makes the image of a version present on a node. It reserves nothing, runs anywhere, and may do nothing.
func PullPod(namespace, fleet, node, image string, v *axlev1.SidecarVersion, secrets ...string) *corev1.Pod {
	hash := sha256.Sum256([]byte(fleet + "/" + v.Name + "/" + node))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: pullName + "-" + hex.EncodeToString(hash[:6]),
		Labels:          map[string]string{pullFleet: fleet, pullVersion: v.Name, "app.kubernetes.io/name": "axle", "app.kubernetes.io/component": "prepull"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: axlev1.GroupVersion.String(), Kind: "SidecarVersion", Name: v.Name, UID: v.UID}},
	}}
	pod.Spec = corev1.PodSpec{
		NodeName: node, RestartPolicy: corev1.RestartPolicyNever, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		AutomountServiceAccountToken: new(false), EnableServiceLinks: new(false), TerminationGracePeriodSeconds: new(int64(0)),
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{
			Name: pullName, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Args: []string{"version"},
			Resources: corev1.ResourceRequirements{ // the limit alone would be a request as well
				Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("0")}, Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
			},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), RunAsUser: new(int64(inject.UserID)), RunAsGroup: new(int64(inject.UserID)),
				RunAsNonRoot: new(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		}},
	}
	for _, name := range secrets {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return pod
}
