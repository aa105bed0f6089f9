package sidecarfleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
	"github.com/axlemesh/axle/webhook/inject"
)

// maxNote is what the events API takes, with room to spare.
const maxNote = 1000

// apply carries out the steps in order. A step whose pod has changed since it was observed is dropped, and again says that the plan has to be
// made anew soon.
func (r *Reconciler) apply(ctx context.Context, s *scene, steps []Step) (again bool, err error) {
	var errs []error
	for _, step := range steps {
		switch err := r.applyOne(ctx, s, step); {
		case err == nil:
		case apierrors.IsConflict(err):
			again = true
		case apierrors.IsNotFound(err): // the pod is gone, and that is all right
		default:
			errs = append(errs, fmt.Errorf("%s %s: %w", step.Kind, step.Pod, err))
		}
	}
	return again, errors.Join(errs...)
}

func (r *Reconciler) applyOne(ctx context.Context, s *scene, step Step) error {
	pod := s.pods[step.Pod]
	written, err := r.annotate(ctx, pod, step)
	if err != nil {
		return err
	}
	if step.Stub {
		err := r.send(ctx, written, step.Desired)
		if refused(err) {
			return r.recordRefusal(ctx, s, written, step, err)
		}
		if err != nil {
			return err
		}
	}
	r.announce(s, pod, step)
	return nil
}

// annotate writes the step's annotations, if the pod is still the one that was observed, and returns the pod as it is then.
func (r *Reconciler) annotate(ctx context.Context, pod *corev1.Pod, step Step) (*corev1.Pod, error) {
	next := pod.DeepCopy()
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	switch step.Kind {
	case Skip:
		next.Annotations[axlev1.SkippedAnnotation] = step.Note
	case Forget:
		delete(next.Annotations, axlev1.DesiredAnnotation)
		delete(next.Annotations, axlev1.SkippedAnnotation)
	case Unskip, Inject:
		delete(next.Annotations, axlev1.SkippedAnnotation)
	}
	if step.Desired != nil {
		raw, err := json.Marshal(step.Desired)
		if err != nil {
			return nil, err
		}
		next.Annotations[axlev1.DesiredAnnotation] = string(raw)
	}
	patch := client.MergeFromWithOptions(pod, client.MergeFromWithOptimisticLock{})
	return next, r.Client.Patch(ctx, next, patch)
}

// send adds the stub of a generation to the pod; the webhook renders the sidecar that it names.
func (r *Reconciler) send(ctx context.Context, pod *corev1.Pod, d *axlev1.PodDesired) error {
	next := pod.DeepCopy()
	stub := inject.NewStub(inject.Stub{Version: d.Version, Generation: d.Generation, Fleet: d.Fleet})
	next.Spec.EphemeralContainers = append(next.Spec.EphemeralContainers, stub)
	patch := client.StrategicMergeFrom(pod, client.MergeFromWithOptimisticLock{})
	return r.Client.SubResource("ephemeralcontainers").Patch(ctx, next, patch)
}

// refused says whether the API server, a policy or the webhook said no for good. Trouble on the way is not a no.
func refused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// recordRefusal writes down that a pod did not take its stub; what serves goes on.
func (r *Reconciler) recordRefusal(ctx context.Context, s *scene, pod *corev1.Pod, step Step, refusal error) error {
	facts := podFacts(pod)
	facts.Wanted = true
	p := newPlanner(r.Clock.Now(), Observed{Fleet: s.seen.Fleet, Versions: s.seen.Versions, Pods: []Pod{facts}})
	message := fmt.Sprintf("SidecarRefused: %s: the container %s (%s) was refused: %v", step.Pod, sidecars.Name(step.Desired.Generation), step.Desired.Version, refusal)
	fail := p.fail(&p.views[0], message)
	if _, err := r.annotate(ctx, pod, fail); err != nil {
		return err
	}
	r.announce(s, pod, fail)
	return nil
}

// announce leaves an event on the pod, and on the fleet where it concerns the rollout as a whole.
func (r *Reconciler) announce(s *scene, pod *corev1.Pod, step Step) {
	kind := corev1.EventTypeNormal
	if step.Kind == Fail || step.Kind == NoStart || evident(step.Kind) {
		kind = corev1.EventTypeWarning
	}
	note := step.Note
	if len(note) > maxNote {
		note = note[:maxNote]
	}
	r.Log.Info("step", "fleet", s.seen.Fleet.Name, "kind", string(step.Kind), "pod", step.Pod, "note", note)
	if step.Kind == Settle || step.Kind == Unskip {
		return // bookkeeping
	}
	if s.fleet == nil {
		r.Events.Eventf(pod, nil, kind, string(step.Kind), string(step.Kind), "%s", note)
		return
	}
	r.Events.Eventf(pod, s.fleet, kind, string(step.Kind), string(step.Kind), "%s", note)
	if kind == corev1.EventTypeWarning {
		r.Events.Eventf(s.fleet, pod, kind, string(step.Kind), string(step.Kind), "%s", note)
	}
}
