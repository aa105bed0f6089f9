package sidecarfleet

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/sidecars"
)

// settle is how long events about pods are collected before a fleet is planned: a plan looks at every pod of the fleet, and
// hundreds of pods may change together.
const settle = 50 * time.Millisecond

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// affected is a handler that wakes the fleets that an object concerns, a moment later.
func affected(fleets func(ctx context.Context, o client.Object) []string) handler.EventHandler {
	enqueue := func(ctx context.Context, o client.Object, q queue) {
		for _, name := range fleets(ctx, o) {
			q.AddAfter(ctrl.Request{NamespacedName: types.NamespacedName{Name: name}}, settle)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { enqueue(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			enqueue(ctx, e.ObjectOld, q)
			enqueue(ctx, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, e.Object, q) },
	}
}

func (r *Reconciler) allFleets() handler.EventHandler {
	return affected(func(ctx context.Context, _ client.Object) []string { return r.fleets(ctx) })
}

// podFleets wakes the fleets of a pod or Service: every fleet when its namespace takes part, and the one that a pod carries the name of.
func (r *Reconciler) podFleets() handler.EventHandler {
	return affected(func(ctx context.Context, o client.Object) []string {
		has := indexFleet(o)
		if fleet := o.GetLabels()[pullFleet]; fleet != "" && o.GetNamespace() == r.Namespace {
			has = append(has, fleet)
		}
		var ns corev1.Namespace
		if err := r.Client.Get(ctx, client.ObjectKey{Name: o.GetNamespace()}, &ns); err != nil || !enabled(&ns) {
			return has
		}
		return append(has, r.fleets(ctx)...)
	})
}

// namespaceFleets wakes every fleet, and those that pods of the namespace carry the name of although they no longer exist.
func (r *Reconciler) namespaceFleets() handler.EventHandler {
	return affected(func(ctx context.Context, o client.Object) []string {
		names := map[string]bool{}
		for _, f := range r.fleets(ctx) {
			names[f] = true
		}
		var pods corev1.PodList
		if err := r.Client.List(ctx, &pods, client.InNamespace(o.GetName()), client.UnsafeDisableDeepCopy); err != nil {
			r.Log.Error(err, "pods of a namespace not listed", "namespace", o.GetName())
		}
		for i := range pods.Items {
			for _, f := range indexFleet(&pods.Items[i]) {
				names[f] = true
			}
		}
		all := make([]string, 0, len(names))
		for name := range names {
			all = append(all, name)
		}
		return all
	})
}

func (r *Reconciler) fleets(ctx context.Context) []string {
	var list axlev1.SidecarFleetList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		r.Log.Error(err, "fleets not listed")
		return nil
	}
	names := make([]string, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// podChanged lets pod updates through that a plan could depend on; a kubelet also writes much else.
func podChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Pod)
		after, ok2 := e.ObjectNew.(*corev1.Pod)
		if !ok1 || !ok2 {
			return true
		}
		if after.Labels[pullFleet] != "" {
			return !equality.Semantic.DeepEqual(before.Status, after.Status)
		}
		return isAway(before) != isAway(after) ||
			!maps.Equal(before.Labels, after.Labels) || !maps.Equal(before.Annotations, after.Annotations) ||
			!slices.Equal(sidecars.Of(before), sidecars.Of(after))
	}}
}

// promotion lets a fleet through whose step was promoted, or that is to try again.
func promotion() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.GetAnnotations(), e.ObjectNew.GetAnnotations()
			return before[axlev1.PromoteAnnotation] != after[axlev1.PromoteAnnotation] || before[axlev1.RetryAnnotation] != after[axlev1.RetryAnnotation]
		},
	}
}

// serviceChanged is for Services, which have no generation.
func serviceChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Service)
		after, ok2 := e.ObjectNew.(*corev1.Service)
		return !ok1 || !ok2 || !equality.Semantic.DeepEqual(before.Spec, after.Spec)
	}}
}
