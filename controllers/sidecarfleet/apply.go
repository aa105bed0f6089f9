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
	if step.isPull() {
		return r.applyPull(ctx, s, step)
	}
	pod := s.pods[step.Pod]
	written, err := r.write(ctx, s, pod, step)
	if refused(err) && step.Flip != nil && step.Flip.Slot != "" {
		return r.recordRefusal(ctx, s, pod, step, err)
	}
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

// write changes the pod's annotations and slots in one patch, if the pod is still the one that was observed, and returns the pod as it is then.
// The patch names what changes and nothing else: fields of a pod that this program does not know stay as they are.
func (r *Reconciler) write(ctx context.Context, s *scene, pod *corev1.Pod, step Step) (*corev1.Pod, error) {
	next := pod.DeepCopy()
	if err := annotate(next, step); err != nil {
		return nil, err
	}
	if f := step.Flip; f != nil && f.Slot != "" {
		if err := inject.Flip(next, f.Slot, s.versions[step.Desired.Version], step.Desired.Generation); err != nil {
			return nil, err
		}
	}
	if f := step.Flip; f != nil && f.Serving != nil {
		if err := inject.SetServing(next, *f.Serving); err != nil {
			return nil, err
		}
	}
	patch := client.StrategicMergeFrom(pod, client.MergeFromWithOptimisticLock{})
	return next, r.Client.Patch(ctx, next, patch)
}

func annotate(pod *corev1.Pod, step Step) error {
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	switch step.Kind {
	case Skip:
		pod.Annotations[axlev1.SkippedAnnotation] = step.Note
	case Forget:
		delete(pod.Annotations, axlev1.DesiredAnnotation)
		delete(pod.Annotations, axlev1.SkippedAnnotation)
	case Unskip, Inject:
		delete(pod.Annotations, axlev1.SkippedAnnotation)
	}
	if step.Desired == nil {
		return nil
	}
	raw, err := json.Marshal(step.Desired)
	if err != nil {
		return fmt.Errorf("encode annotation %s: %w", axlev1.DesiredAnnotation, err)
	}
	pod.Annotations[axlev1.DesiredAnnotation] = string(raw)
	return nil
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

// recordRefusal writes down that a pod did not take its next generation; what serves goes on.
func (r *Reconciler) recordRefusal(ctx context.Context, s *scene, pod *corev1.Pod, step Step, refusal error) error {
	facts := podFacts(pod)
	facts.Wanted, facts.Desired = true, step.Desired
	p := newPlanner(r.Clock.Now(), Observed{Fleet: s.seen.Fleet, Versions: s.seen.Versions, Pods: []Pod{facts}})
	what := "the container " + sidecars.Name(step.Desired.Generation)
	if step.Flip != nil {
		what = fmt.Sprintf("generation %d in slot %s", step.Desired.Generation, step.Flip.Slot)
	}
	message := fmt.Sprintf("SidecarRefused: %s: %s (%s) was refused: %v", step.Pod, what, step.Desired.Version, refusal)
	fail := p.fail(&p.views[0], message)
	if _, err := r.write(ctx, s, pod, fail); err != nil {
		return err
	}
	r.announce(s, pod, fail)
	return nil
}

func bounded(note string) string { return note[:min(len(note), maxNote)] }

// announce leaves an event on the pod, and on the fleet where it concerns the rollout as a whole.
func (r *Reconciler) announce(s *scene, pod *corev1.Pod, step Step) {
	kind := corev1.EventTypeNormal
	if step.Kind == Fail || step.Kind == NoStart || step.Kind == Over || evident(step.Kind) {
		kind = corev1.EventTypeWarning
	}
	if told := r.told[s.seen.Fleet.Name]; step.Kind == Skip && told != nil {
		told[pod.UID] = step.Note
	}
	note := bounded(step.Note)
	r.Log.Info("step", "fleet", s.seen.Fleet.Name, "kind", string(step.Kind), "pod", step.Pod, "note", note)
	if step.Kind == Settle || step.Kind == Unskip || step.Kind == Ask {
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
