package sidecarfleet

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/webhook/inject"
)

// Annotations of a pod that pulls: what its status does not tell. Times are in RFC 3339.
const (
	pullSince   = axlev1.GroupName + "/prepull-since"        // when the node was asked first
	pullRefused = axlev1.GroupName + "/prepull-refused"      // why it did not take the pod before this one
	pullErring  = axlev1.GroupName + "/prepull-erring-since" // when the kubelet could not pull first
	pullFailed  = axlev1.GroupName + "/prepull-failed"       // "ATTEMPT WHY": it has failed for good, in this attempt of the fleet
)

// recall reads the annotations of a pod that pulls. What cannot be read counts as absent.
func (u *Pull) recall(pod *corev1.Pod) {
	u.Since, u.Before = u.Created, pod.Annotations[pullRefused]
	if t, err := time.Parse(time.RFC3339, pod.Annotations[pullSince]); err == nil {
		u.Since = t
	}
	if t, err := time.Parse(time.RFC3339, pod.Annotations[pullErring]); err == nil {
		u.Erring = t
	}
	in, why, _ := strings.Cut(pod.Annotations[pullFailed], " ")
	if n, err := strconv.ParseInt(in, 10, 64); err == nil {
		u.FailedIn, u.Failed = n, why
	}
}

// isPull says whether a step concerns a pod that pulls.
func (s Step) isPull() bool {
	return s.Kind == Pulling || s.Kind == Pulled || s.Kind == Erring || s.Kind == NoImage
}

// applyPull creates, marks or removes a pod that pulls.
func (r *Reconciler) applyPull(ctx context.Context, s *scene, step Step) error {
	r.Log.Info("step", "fleet", s.seen.Fleet.Name, "kind", string(step.Kind), "node", step.Node, "version", step.Version, "note", step.Note)
	var err error
	switch {
	case step.Kind == Pulling:
		return r.createPull(ctx, s, step)
	case step.Kind == Erring:
		return r.markPull(ctx, step, pullErring, r.Clock.Now().UTC().Format(time.RFC3339))
	case step.Kind == NoImage && step.Record != "":
		err = r.markPull(ctx, step, pullFailed, fmt.Sprintf("%d %s", s.seen.Fleet.Attempt, bounded(step.Record)))
	default:
		err = r.deletePull(ctx, step)
	}
	if err == nil && step.Kind == NoImage && s.fleet != nil {
		r.Events.Eventf(s.fleet, nil, corev1.EventTypeWarning, string(step.Kind), string(step.Kind), "%s", bounded(step.Note))
	}
	return err
}

func (r *Reconciler) deletePull(ctx context.Context, step Step) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: step.Pod.Namespace, Name: step.Pod.Name}}
	return r.Client.Delete(ctx, pod, client.Preconditions{UID: &step.UID}, client.GracePeriodSeconds(0))
}

// markPull annotates a pod that pulls, if it is still the one that was observed.
func (r *Reconciler) markPull(ctx context.Context, step Step, annotation, value string) error {
	pod := &corev1.Pod{}
	if err := r.Client.Get(ctx, step.Pod, pod); err != nil {
		return err
	}
	if pod.UID != step.UID {
		return nil
	}
	next := pod.DeepCopy()
	metav1.SetMetaDataAnnotation(&next.ObjectMeta, annotation, value)
	return r.Client.Patch(ctx, next, client.MergeFromWithOptions(pod, client.MergeFromWithOptimisticLock{}))
}

// createPull creates a pod that pulls, in place of the one that the node did not take where there is one.
func (r *Reconciler) createPull(ctx context.Context, s *scene, step Step) error {
	v := s.versions[step.Version]
	image, findings := inject.Image(step.Version, v)
	if len(findings) > 0 {
		return fmt.Errorf("image for node %q: %s", step.Node, findings[0].Message)
	}
	pod := PullPod(r.Namespace, s.seen.Fleet.Name, step.Node, image, v, r.PullSecrets...)
	if step.UID != "" {
		if err := r.deletePull(ctx, step); client.IgnoreNotFound(err) != nil {
			return err
		}
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, pullSince, step.Since.UTC().Format(time.RFC3339))
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, pullRefused, bounded(step.Record))
	}
	err := r.Client.Create(ctx, pod)
	if apierrors.IsAlreadyExists(err) { // the cache has not seen it yet, or it is still going
		return nil
	}
	return err
}
