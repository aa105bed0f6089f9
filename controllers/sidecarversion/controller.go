// Package sidecarversion keeps the status of SidecarVersions: the digest that the image stands for, and how many pods run it.
package sidecarversion

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// +kubebuilder:rbac:groups=axlemesh.io,resources=sidecarversions,verbs=get;list;watch
// +kubebuilder:rbac:groups=axlemesh.io,resources=sidecarversions/status,verbs=get;patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch

const (
	// versionIndex finds the pods that a version serves.
	versionIndex = "axlemesh.io/version"
	// retryAfter is how long after a registry did not answer it is asked again.
	retryAfter = 30 * time.Second
	// askFor bounds one question to a registry.
	askFor = 10 * time.Second
	// gather is how long changes of pods are collected before they are counted.
	gather = 500 * time.Millisecond
)

// Reasons of the Verified condition.
const (
	reasonDigest       = "Digest"
	reasonTagResolved  = "TagResolved"
	reasonInvalidImage = "InvalidImage"
	reasonUnresolved   = "TagUnresolved"
)

// Reason of the Served condition.
const reasonServes = "Serves"

// Reconciler keeps one SidecarVersion at a time. Only the leader runs it.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Log    logr.Logger
	// Resolve asks a registry for the digest that a tag has now.
	Resolve func(ctx context.Context, image string) (digest string, err error)
}

// Setup makes the manager run the reconciler.
func (r *Reconciler) Setup(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &corev1.Pod{}, versionIndex, serves); err != nil {
		return fmt.Errorf("index pods by version: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("sidecarversion").
		For(&axlev1.SidecarVersion{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Pod{}, podVersions(), builder.WithPredicates(servesAnother())).
		Complete(r)
}

// Reconcile brings one version's status up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	v := &axlev1.SidecarVersion{}
	if err := r.Client.Get(ctx, req.NamespacedName, v); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	next := v.DeepCopy()
	wake := r.verify(ctx, next)
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.MatchingFields{versionIndex: v.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("count pods of SidecarVersion %q: %w", v.Name, err)
	}
	next.Status.Pods = int32(len(pods.Items))
	r.serves(next)
	next.Status.ObservedGeneration = v.Generation
	if !equality.Semantic.DeepEqual(v.Status, next.Status) {
		if err := r.Client.Status().Patch(ctx, next, client.MergeFrom(v)); client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("status of SidecarVersion %q: %w", v.Name, err)
		}
	}
	return ctrl.Result{RequeueAfter: wake}, nil
}

// verify finds the digest, once: what a tag says later does not matter any more. It returns when to try again, or 0.
func (r *Reconciler) verify(ctx context.Context, v *axlev1.SidecarVersion) time.Duration {
	if v.Status.Digest != "" && meta.IsStatusConditionTrue(v.Status.Conditions, axlev1.ConditionVerified) {
		return 0
	}
	digest, err := digestOf(v.Spec.Image)
	switch {
	case err != nil:
		r.set(v, "", metav1.ConditionFalse, reasonInvalidImage, fmt.Sprintf("Image %q: %v.", v.Spec.Image, err))
		return 0
	case digest != "":
		r.set(v, digest, metav1.ConditionTrue, reasonDigest, "The image is named by its digest.")
		return 0
	}
	ask, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	if digest, err = r.Resolve(ask, v.Spec.Image); err != nil {
		if ctx.Err() == nil {
			r.Log.Error(err, "tag not resolved; trying again", "version", v.Name, "image", v.Spec.Image)
		}
		r.set(v, "", metav1.ConditionFalse, reasonUnresolved, fmt.Sprintf("The tag of image %q could not be resolved: %s.", v.Spec.Image, cause(err)))
		return retryAfter
	}
	r.set(v, digest, metav1.ConditionTrue, reasonTagResolved,
		fmt.Sprintf("The image is named by a tag, which was resolved once, to %s. Name it by its digest, and everyone knows what runs.", digest))
	return 0
}

// serves notes that a pod was served by the version, for good.
func (r *Reconciler) serves(v *axlev1.SidecarVersion) {
	if v.Status.Pods == 0 {
		return
	}
	meta.SetStatusCondition(&v.Status.Conditions, metav1.Condition{
		Type: axlev1.ConditionServed, Status: metav1.ConditionTrue, Reason: reasonServes, Message: "A pod was served by this version.",
		ObservedGeneration: v.Generation, LastTransitionTime: metav1.NewTime(r.Clock.Now().Truncate(time.Second)),
	})
}

func (r *Reconciler) set(v *axlev1.SidecarVersion, digest string, status metav1.ConditionStatus, reason, message string) {
	v.Status.Digest = digest
	meta.SetStatusCondition(&v.Status.Conditions, metav1.Condition{
		Type: axlev1.ConditionVerified, Status: status, Reason: reason, Message: message,
		ObservedGeneration: v.Generation, LastTransitionTime: metav1.NewTime(r.Clock.Now().Truncate(time.Second)),
	})
}

// cause is the innermost error, which names no connection that differs from try to try.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// serves is the index function of versionIndex.
func serves(o client.Object) []string {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return nil
	}
	st, err := axlev1.ParseStatus(pod.Annotations)
	if err != nil || st == nil || st.Version == "" || pod.DeletionTimestamp != nil || sidecars.Serving(st, sidecars.Of(pod)) == 0 {
		return nil
	}
	return []string{st.Version}
}

func podVersions() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]
	enqueue := func(o client.Object, q queue) {
		for _, name := range serves(o) {
			q.AddAfter(ctrl.Request{NamespacedName: types.NamespacedName{Name: name}}, gather)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { enqueue(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			enqueue(e.ObjectOld, q)
			enqueue(e.ObjectNew, q)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { enqueue(e.Object, q) },
	}
}

func servesAnother() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !equality.Semantic.DeepEqual(serves(e.ObjectOld), serves(e.ObjectNew))
	}}
}
