package xds

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// +kubebuilder:rbac:groups="",resources=pods;services,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch

// +kubebuilder:rbac:groups=axlemesh.io,resources=trafficrules;sidecarfleets,verbs=get;list;watch

// podIndex finds the EndpointSlices that a pod is in, serviceIndex those of a Service; parentIndex finds the TrafficRules that
// are about a Service, backendIndex those that send requests to one. All go by name, in a namespace.
const (
	podIndex     = "axlemesh.io/pod"
	serviceIndex = "axlemesh.io/service"
	parentIndex  = "axlemesh.io/parent"
	backendIndex = "axlemesh.io/backend"
)

// gather is how long changes of ways into pods are collected: many pods of one Service may change together, and each change makes a new list of
// all its endpoints.
const gather = 20 * time.Millisecond

// Source keeps a Store current. Every replica runs one.
type Source struct {
	Client client.Client
	Store  *Store

	mu     sync.Mutex // one Service at a time: what was read last is what is in force
	wanted map[types.NamespacedName][]Subset
	// upstreams are what is in force for the ports of Services that have any.
	upstreams map[types.NamespacedName]map[int32]InForce
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
	if err := indexer.IndexField(ctx, &axlev1.TrafficRule{}, parentIndex, namesOf(parentsOf)); err != nil {
		return fmt.Errorf("index traffic rules by parent: %w", err)
	}
	if err := indexer.IndexField(ctx, &axlev1.TrafficRule{}, backendIndex, namesOf(backendsOf)); err != nil {
		return fmt.Errorf("index traffic rules by backend: %w", err)
	}
	everywhere := controller.Options{NeedLeaderElection: new(bool)}
	err := ctrl.NewControllerManagedBy(mgr).Named("xds-services").WithOptions(everywhere).
		For(&corev1.Service{}).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(s.parents)).
		Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(s.sliceServices)).
		Watches(&corev1.Pod{}, s.podServices(), builder.WithPredicates(endpointChanged())).
		Watches(&axlev1.TrafficRule{}, handler.EnqueueRequestsFromMapFunc(ruleParents), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(reconcile.Func(func(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
			return ctrl.Result{}, s.service(ctx, req.NamespacedName)
		}))
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).Named("xds-listeners").WithOptions(everywhere).
		For(&corev1.Pod{}, builder.WithPredicates(desiredChanged())).
		Watches(&axlev1.SidecarFleet{}, handler.EnqueueRequestsFromMapFunc(s.fleetPods), builder.WithPredicates(settingsChanged())).
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
	// Rules of Services that do not exist are reported by their own event; no sidecar needs them.
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

// service makes one Service's resources anew, and the subsets that its hosts need: those come first and go last, so that no
// route points at a cluster that is not there.
func (s *Source) service(ctx context.Context, name types.NamespacedName) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	scene, err := s.scene(ctx, name)
	if err != nil {
		return err
	}
	var r Resources
	var since time.Time
	if scene.Service == nil {
		r.Reports = Orphans(name, scene.Rules)
	} else {
		r, since = Generate(scene), scene.Service.CreationTimestamp.Time
	}
	s.use(name, r.Upstreams)
	before := s.wanted[name]
	s.want(name, slices.Concat(before, r.Subsets))
	touched := map[string]bool{name.Name: true}
	for _, subset := range s.wanted[name] {
		touched[subset.Service] = true
	}
	errs := []error{s.subsets(ctx, name.Namespace, touched)}
	errs = append(errs, s.Store.SetService(name, since, r))
	s.want(name, r.Subsets)
	if !slices.Equal(before, r.Subsets) {
		errs = append(errs, s.subsets(ctx, name.Namespace, touched))
	}
	return errors.Join(errs...)
}

// want notes which subsets a Service's hosts route to.
func (s *Source) want(name types.NamespacedName, subsets []Subset) {
	if s.wanted == nil {
		s.wanted = map[types.NamespacedName][]Subset{}
	}
	if len(subsets) == 0 {
		delete(s.wanted, name)
		return
	}
	s.wanted[name] = subsets
}

// use notes how the endpoints of a Service are used: those of its subsets, too.
func (s *Source) use(name types.NamespacedName, by map[int32]InForce) {
	if s.upstreams == nil {
		s.upstreams = map[types.NamespacedName]map[int32]InForce{}
	}
	if len(by) == 0 {
		delete(s.upstreams, name)
		return
	}
	s.upstreams[name] = by
}

// subsets makes the clusters of all subsets of some Services that anybody's hosts route to.
func (s *Source) subsets(ctx context.Context, namespace string, services map[string]bool) error {
	all := map[string]map[Subset]bool{}
	for by, subsets := range s.wanted {
		for _, subset := range subsets {
			if by.Namespace == namespace && services[subset.Service] {
				if all[subset.Service] == nil {
					all[subset.Service] = map[Subset]bool{}
				}
				all[subset.Service][subset] = true
			}
		}
	}
	var errs []error
	for service := range services {
		name := types.NamespacedName{Namespace: namespace, Name: service}
		var r Resources
		if len(all[service]) > 0 {
			p, err := s.provider(ctx, name)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			p.Upstreams = s.upstreams[name]
			r = Subsets(p, s.look(ctx, namespace), slices.Collect(maps.Keys(all[service])))
		}
		name.Name += "/subsets" // no Service is called so
		errs = append(errs, s.Store.SetService(name, time.Time{}, r))
	}
	return errors.Join(errs...)
}

// scene collects what a Service's resources are made from. Its Service is nil when there is none.
func (s *Source) scene(ctx context.Context, name types.NamespacedName) (Scene, error) {
	p, err := s.provider(ctx, name)
	if err != nil {
		return Scene{}, err
	}
	scene := Scene{Provider: p, Pod: s.look(ctx, name.Namespace), Others: map[string]Provider{}}
	var list axlev1.TrafficRuleList
	err = s.Client.List(ctx, &list, client.InNamespace(name.Namespace), client.MatchingFields{parentIndex: name.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return Scene{}, fmt.Errorf("list traffic rules of service %s: %w", name, err)
	}
	for i := range list.Items {
		rule := &list.Items[i]
		if rule.DeletionTimestamp != nil {
			continue
		}
		scene.Rules = append(scene.Rules, rule)
		for _, other := range slices.Concat(parentsOf(rule), backendsOf(rule)) {
			if _, seen := scene.Others[other]; seen || other == name.Name {
				continue
			}
			p, err := s.provider(ctx, types.NamespacedName{Namespace: name.Namespace, Name: other})
			if err != nil {
				return Scene{}, err
			}
			scene.Others[other] = p
		}
	}
	return scene, nil
}

// provider finds a Service and its endpoints; the zero Provider when there is none.
func (s *Source) provider(ctx context.Context, name types.NamespacedName) (Provider, error) {
	svc := &corev1.Service{}
	if err := s.Client.Get(ctx, name, svc); apierrors.IsNotFound(err) {
		return Provider{}, nil
	} else if err != nil {
		return Provider{}, err
	}
	var list discoveryv1.EndpointSliceList
	err := s.Client.List(ctx, &list, client.InNamespace(name.Namespace), client.MatchingFields{serviceIndex: name.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return Provider{}, fmt.Errorf("list endpoint slices of service %s: %w", name, err)
	}
	p := Provider{Service: svc}
	for i := range list.Items {
		p.Slices = append(p.Slices, &list.Items[i])
	}
	return p, nil
}

// look finds pods of a namespace. One that is gone, or not seen yet, is reached directly and in no subset; there is another turn when it is seen.
func (s *Source) look(ctx context.Context, namespace string) func(string) Pod {
	return func(name string) Pod {
		p := &corev1.Pod{}
		if err := s.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, p, &client.GetOptions{UnsafeDisableDeepCopy: new(true)}); err != nil {
			return Pod{}
		}
		return Pod{Way: Way(p), Labels: p.Labels, Lost: lost(p)}
	}
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
	spoken, err := s.spoken(ctx, desired)
	if err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	set, err := s.settings(ctx, desired, p)
	if err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	listeners, err := Listeners(desired, spoken, p.Labels, set)
	if err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	return s.Store.SetPod(ctx, name, p.UID, listeners)
}

// settings are those of the fleet that owns a pod.
func (s *Source) settings(ctx context.Context, desired *axlev1.PodDesired, pod *corev1.Pod) (Settings, error) {
	if desired == nil || desired.Fleet == "" {
		return Settings{}, nil
	}
	fleet := &axlev1.SidecarFleet{}
	if err := s.Client.Get(ctx, types.NamespacedName{Name: desired.Fleet}, fleet, &client.GetOptions{UnsafeDisableDeepCopy: new(true)}); err != nil {
		return Settings{}, client.IgnoreNotFound(err)
	}
	return SettingsOf(fleet, pod), nil
}

// spoken lists the protocols of the version that is to serve a pod; none when that is not known.
func (s *Source) spoken(ctx context.Context, desired *axlev1.PodDesired) ([]axlev1.Protocol, error) {
	if desired == nil || desired.Version == "" {
		return nil, nil
	}
	v := &axlev1.SidecarVersion{}
	if err := s.Client.Get(ctx, types.NamespacedName{Name: desired.Version}, v, &client.GetOptions{UnsafeDisableDeepCopy: new(true)}); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return v.Spec.Protocols, nil
}
