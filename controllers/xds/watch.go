package xds

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// podServices wakes the Services whose endpoints a pod is.
func (s *Source) podServices() handler.EventHandler {
	enqueue := func(ctx context.Context, o client.Object, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
		var list discoveryv1.EndpointSliceList
		err := s.Client.List(ctx, &list, client.InNamespace(o.GetNamespace()), client.MatchingFields{podIndex: o.GetName()}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return // the cache is closing
		}
		for i := range list.Items {
			for _, req := range s.sliceServices(ctx, &list.Items[i]) {
				q.AddAfter(req, gather)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			if pod, ok := e.Object.(*corev1.Pod); ok && (len(Way(pod)) > 0 || s.ruled(ctx, pod.Namespace)) {
				enqueue(ctx, e.Object, q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			enqueue(ctx, e.ObjectNew, q)
		},
	}
}

// ruled says whether a namespace has rules. Only there it matters that a pod is seen after its endpoint: it may be in a subset.
func (s *Source) ruled(ctx context.Context, namespace string) bool {
	var list axlev1.TrafficRuleList
	err := s.Client.List(ctx, &list, client.InNamespace(namespace), client.Limit(1), client.UnsafeDisableDeepCopy)
	return err == nil && len(list.Items) > 0
}

// endpointChanged lets pods through whose way in, or whose labels, are others than before, and new ones.
func endpointChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*corev1.Pod)
			after, ok2 := e.ObjectNew.(*corev1.Pod)
			return !ok1 || !ok2 || !maps.Equal(Way(before), Way(after)) || !maps.Equal(before.Labels, after.Labels) || lost(before) != lost(after)
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false }, // its EndpointSlice says so
	}
}

// desiredChanged lets pods through that carry a wish, when it, or a label, is another than before.
func desiredChanged() predicate.Predicate {
	wish := func(o client.Object) string { return o.GetAnnotations()[axlev1.DesiredAnnotation] }
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return wish(e.Object) != "" },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return wish(e.ObjectOld) != wish(e.ObjectNew) || wish(e.ObjectNew) != "" && !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels())
		},
	}
}

// settingsChanged lets fleets through whose settings are others than before, and new ones: their pods may have been seen first.
func settingsChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*axlev1.SidecarFleet)
			after, ok2 := e.ObjectNew.(*axlev1.SidecarFleet)
			return !ok1 || !ok2 || !equality.Semantic.DeepEqual(SettingsOf(before, &corev1.Pod{}), SettingsOf(after, &corev1.Pod{}))
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false }, // its pods get another wish
	}
}

// fleetPods wakes the pods that a fleet owns.
func (s *Source) fleetPods(ctx context.Context, o client.Object) []ctrl.Request {
	var list corev1.PodList
	if err := s.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil // the cache is closing
	}
	var reqs []ctrl.Request
	for i := range list.Items {
		p := &list.Items[i]
		if desired, err := axlev1.ParseDesired(p.Annotations); err == nil && desired != nil && desired.Fleet == o.GetName() {
			reqs = append(reqs, request(p.Namespace, p.Name))
		}
	}
	return reqs
}

func podsOf(o client.Object) []string {
	slice, ok := o.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil
	}
	var names []string
	for i := range slice.Endpoints {
		if ref := slice.Endpoints[i].TargetRef; ref != nil && ref.Kind == "Pod" {
			names = append(names, ref.Name)
		}
	}
	return names
}

func serviceOf(o client.Object) []string {
	if name := o.GetLabels()[discoveryv1.LabelServiceName]; name != "" {
		return []string{name}
	}
	return nil
}

// sliceServices wakes the Service of an EndpointSlice and those whose rules send requests there: a subset may have become empty.
func (s *Source) sliceServices(ctx context.Context, o client.Object) []ctrl.Request {
	var reqs []ctrl.Request
	for _, name := range serviceOf(o) {
		reqs = append(reqs, request(o.GetNamespace(), name))
		reqs = append(reqs, s.parentsFor(ctx, o.GetNamespace(), name)...)
	}
	return reqs
}

// parents wakes the Services whose rules name a Service.
func (s *Source) parents(ctx context.Context, o client.Object) []ctrl.Request {
	return s.parentsFor(ctx, o.GetNamespace(), o.GetName())
}

func (s *Source) parentsFor(ctx context.Context, namespace, service string) []ctrl.Request {
	var reqs []ctrl.Request
	for _, index := range []string{backendIndex, parentIndex} {
		var list axlev1.TrafficRuleList
		err := s.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{index: service}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil // the cache is closing
		}
		for i := range list.Items {
			reqs = append(reqs, ruleParents(ctx, &list.Items[i])...)
		}
	}
	return reqs
}

// ruleParents wakes the Services that a rule is about.
func ruleParents(_ context.Context, o client.Object) []ctrl.Request {
	rule, ok := o.(*axlev1.TrafficRule)
	if !ok {
		return nil
	}
	var reqs []ctrl.Request
	for _, name := range parentsOf(rule) {
		reqs = append(reqs, request(rule.Namespace, name))
	}
	return reqs
}

func request(namespace, name string) ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// parentsOf are the Services that a rule is about, each once.
func parentsOf(rule *axlev1.TrafficRule) []string {
	var names []string
	for _, p := range rule.Spec.ParentRefs {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// backendsOf are the Services that a rule sends requests to, each once.
func backendsOf(rule *axlev1.TrafficRule) []string {
	var names []string
	for _, r := range rule.Spec.Rules {
		for _, b := range r.BackendRefs {
			names = append(names, b.Name)
		}
		if r.Mirror != nil {
			names = append(names, r.Mirror.BackendRef.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func namesOf(of func(*axlev1.TrafficRule) []string) client.IndexerFunc {
	return func(o client.Object) []string {
		rule, ok := o.(*axlev1.TrafficRule)
		if !ok {
			return nil
		}
		return of(rule)
	}
}
