package sidecarfleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// +kubebuilder:rbac:groups=axlemesh.io,resources=sidecarfleets,verbs=get;list;watch
// +kubebuilder:rbac:groups=axlemesh.io,resources=sidecarfleets/status,verbs=get;patch
// +kubebuilder:rbac:groups=axlemesh.io,resources=sidecarversions,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups="",namespace=axle-system,resources=pods,verbs=create;delete
// +kubebuilder:rbac:groups="",resources=pods/ephemeralcontainers,verbs=patch
// +kubebuilder:rbac:groups="",resources=namespaces;nodes;services,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// again is how soon a plan is made anew when a pod changed under it: the cache needs a moment to catch up.
const again = 100 * time.Millisecond

// patience is how long steps may fail before the status says so: a webhook whose operator has just been replaced is no trouble.
const patience = 5 * time.Second

// Reconciler keeps one fleet at a time on its way. Only the leader runs it.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder
	Log    logr.Logger
	// Namespace of the operator; its pods never get a sidecar.
	Namespace string
	// PullSecrets of that namespace are what images of sidecars are pulled with before a rollout; empty for none. A pod that names no secret of its
	// own cannot use such an image (KubeletEnsureSecretPulledImages).
	PullSecrets []string

	// awake is since when the reconciler has looked, and the API server answered, without a break.
	awake time.Time
	// told is what events have said of pods that were skipped, by fleet.
	told map[string]map[types.UID]string
	// troubled is since when the steps of a fleet fail without a break.
	troubled map[string]time.Time
}

// Setup makes the manager run the reconciler.
func (r *Reconciler) Setup(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &corev1.Pod{}, fleetIndex, indexFleet); err != nil {
		return fmt.Errorf("index pods by fleet: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("sidecarfleet").
		For(&axlev1.SidecarFleet{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, promotion()))).
		Watches(&axlev1.SidecarFleet{}, r.allFleets(), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&axlev1.SidecarVersion{}, r.allFleets()).
		Watches(&corev1.Namespace{}, r.namespaceFleets(), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		Watches(&corev1.Service{}, r.podFleets(), builder.WithPredicates(serviceChanged())).
		Watches(&corev1.Pod{}, r.podFleets(), builder.WithPredicates(podChanged())).
		Complete(r)
}

// Reconcile observes, plans, applies and reports.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if r.awake.IsZero() { // the leader begins
		r.awake = r.Clock.Now()
	}
	s, err := r.observe(ctx, req.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	steps, wake := Plan(r.Clock.Now(), s.seen)
	r.forgetGone(req.Name, s)
	stale, err := r.apply(ctx, s, steps)
	if stale && (wake == 0 || again < wake) {
		wake = again
	}
	if reportErr := r.report(ctx, s, r.lasting(req.Name, err)); reportErr != nil {
		err = errors.Join(err, reportErr)
	}
	if unreachable(err) {
		r.awake = r.Clock.Now()
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: wake}, nil
}

// lasting is what keeps a fleet's steps from being taken, once it has done so for a while. It is tried again in any case.
func (r *Reconciler) lasting(fleet string, trouble error) error {
	if trouble == nil {
		delete(r.troubled, fleet)
		return nil
	}
	if r.troubled == nil {
		r.troubled = map[string]time.Time{}
	}
	now := r.Clock.Now()
	since, known := r.troubled[fleet]
	if !known {
		since = now
		r.troubled[fleet] = now
	}
	if now.Sub(since) < patience {
		return nil
	}
	return trouble
}

// unreachable says whether the API server did not answer: what sidecars report is not written either then.
func unreachable(err error) bool {
	var network net.Error
	return errors.As(err, &network) || apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsTooManyRequests(err)
}

// forgetGone keeps what was said of pods that are still there.
func (r *Reconciler) forgetGone(fleet string, s *scene) {
	if r.told == nil {
		r.told = map[string]map[types.UID]string{}
	}
	kept := map[types.UID]string{}
	for i := range s.seen.Pods {
		if p := &s.seen.Pods[i]; p.Told != "" {
			kept[p.UID] = p.Told
		}
	}
	r.told[fleet] = kept
	if s.fleet == nil && len(kept) == 0 {
		delete(r.told, fleet)
	}
}

// report writes the fleet's status when it differs from the one there is. trouble is why steps could not be taken; it is tried again.
func (r *Reconciler) report(ctx context.Context, s *scene, trouble error) error {
	if s.fleet == nil {
		return nil
	}
	next := s.fleet.DeepCopy()
	next.Status = Summarize(r.Clock.Now(), s.seen, s.fleet.Status, trouble)
	if equality.Semantic.DeepEqual(s.fleet.Status, next.Status) {
		return nil
	}
	err := r.Client.Status().Patch(ctx, next, client.MergeFrom(s.fleet))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("status of SidecarFleet %q: %w", s.fleet.Name, err)
	}
	return nil
}
