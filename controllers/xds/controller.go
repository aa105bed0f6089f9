package xds

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// +kubebuilder:rbac:groups="",resources=pods;services,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch

// podIndex finds the EndpointSlices that a pod is in, serviceIndex those of a Service; both by name, in a namespace.
const (
	podIndex     = "axlemesh.io/pod"
	serviceIndex = "axlemesh.io/service"
)

// gather is how long changes of ways into pods are collected: many pods of one Service may change together, and each change makes a new list of
// all its endpoints.
const gather = 20 * time.Millisecond

// Source keeps a Store current. Every replica runs one.
type Source struct {
	Client client.Client
	Store  *Store
}

// Setup makes the manager keep the store current, on the leader and elsewhere.
func (s *Source) Setup(ctx context.Context, mgr ctrl.Manager) error {
	indexer := mgr.GetFieldIndexer()
	if err := indexer.IndexField(ctx, &discoveryv1.EndpointSlice{}, podIndex, podsOf); err != nil {
		return fmt.Errorf("index endpoint slices by pod: %w", err)
	}
	if err := indexer.IndexField(ctx, &discoveryv1.EndpointSlice{}, serviceIndex, serviceOf); err != nil {
		return fmt.Errorf("index endpoint slices by service: %w", err)
	}
	everywhere := controller.Options{NeedLeaderElection: new(bool)}
	err := ctrl.NewControllerManagedBy(mgr).Named("xds-services").WithOptions(everywhere).
		For(&corev1.Service{}).
		Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(sliceService)).
		Watches(&corev1.Pod{}, s.podServices(), builder.WithPredicates(wayChanged())).
		Complete(reconcile.Func(func(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
			return ctrl.Result{}, s.service(ctx, req.NamespacedName)
		}))
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).Named("xds-listeners").WithOptions(everywhere).
		For(&corev1.Pod{}, builder.WithPredicates(desiredChanged())).
		Complete(reconcile.Func(func(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
			return ctrl.Result{}, s.pod(ctx, req.NamespacedName)
		}))
}

// Prime fills the store from the cache. Serve nothing before: a sidecar that comes back with its configuration would be told that all of it is gone.
func (s *Source) Prime(ctx context.Context) error {
	var services corev1.ServiceList
	if err := s.Client.List(ctx, &services, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("prime: list services: %w", err)
	}
	for i := range services.Items {
		if err := s.service(ctx, client.ObjectKeyFromObject(&services.Items[i])); err != nil {
			return fmt.Errorf("prime: %w", err)
		}
	}
	var pods corev1.PodList
	if err := s.Client.List(ctx, &pods, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("prime: list pods: %w", err)
	}
	for i := range pods.Items {
		if err := s.pod(ctx, client.ObjectKeyFromObject(&pods.Items[i])); err != nil {
			return fmt.Errorf("prime: %w", err)
		}
	}
	return nil
}

// service makes one Service's resources anew.
func (s *Source) service(ctx context.Context, name types.NamespacedName) error {
	svc := &corev1.Service{}
	if err := s.Client.Get(ctx, name, svc); apierrors.IsNotFound(err) {
		return s.Store.SetService(name, time.Time{}, Resources{})
	} else if err != nil {
		return err
	}
	var list discoveryv1.EndpointSliceList
	err := s.Client.List(ctx, &list, client.InNamespace(name.Namespace), client.MatchingFields{serviceIndex: name.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("list endpoint slices of service %s: %w", name, err)
	}
	slices := make([]*discoveryv1.EndpointSlice, 0, len(list.Items))
	for i := range list.Items {
		slices = append(slices, &list.Items[i])
	}
	way := func(pod string) map[int32]int32 {
		p := &corev1.Pod{}
		if err := s.Client.Get(ctx, types.NamespacedName{Namespace: name.Namespace, Name: pod}, p, &client.GetOptions{UnsafeDisableDeepCopy: new(true)}); err != nil {
			return nil // gone, or not seen yet: the direct way, and another turn when it is seen
		}
		return Way(p)
	}
	return s.Store.SetService(name, svc.CreationTimestamp.Time, Generate(svc, slices, way))
}

// pod makes one pod's listeners anew.
func (s *Source) pod(ctx context.Context, name types.NamespacedName) error {
	p := &corev1.Pod{}
	if err := s.Client.Get(ctx, name, p); apierrors.IsNotFound(err) {
		s.Store.DeletePod(name)
		return nil
	} else if err != nil {
		return err
	}
	desired, err := axlev1.ParseDesired(p.Annotations)
	if err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	if desired == nil && !s.Store.knows(name) {
		return nil
	}
	listeners, err := Listeners(desired)
	if err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	return s.Store.SetPod(ctx, name, p.UID, listeners)
}

// podServices wakes the Services whose endpoints a pod is.
func (s *Source) podServices() handler.EventHandler {
	enqueue := func(ctx context.Context, o client.Object, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
		var list discoveryv1.EndpointSliceList
		err := s.Client.List(ctx, &list, client.InNamespace(o.GetNamespace()), client.MatchingFields{podIndex: o.GetName()}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return // the cache is closing
		}
		for i := range list.Items {
			for _, req := range sliceService(ctx, &list.Items[i]) {
				q.AddAfter(req, gather)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			enqueue(ctx, e.Object, q)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			enqueue(ctx, e.ObjectNew, q)
		},
	}
}

// wayChanged lets pods through whose way in is another than before, and new ones that have one.
func wayChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			pod, ok := e.Object.(*corev1.Pod)
			return ok && len(Way(pod)) > 0
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*corev1.Pod)
			after, ok2 := e.ObjectNew.(*corev1.Pod)
			return !ok1 || !ok2 || !maps.Equal(Way(before), Way(after))
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false }, // its EndpointSlice says so
	}
}

// desiredChanged lets pods through that carry a wish, when it is another than before.
func desiredChanged() predicate.Predicate {
	wish := func(o client.Object) string { return o.GetAnnotations()[axlev1.DesiredAnnotation] }
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return wish(e.Object) != "" },
		UpdateFunc: func(e event.UpdateEvent) bool { return wish(e.ObjectOld) != wish(e.ObjectNew) },
	}
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

func sliceService(_ context.Context, o client.Object) []ctrl.Request {
	var reqs []ctrl.Request
	for _, name := range serviceOf(o) {
		reqs = append(reqs, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}})
	}
	return reqs
}
