// Package trafficrule keeps the status of TrafficRules.
//
// Sidecars acknowledge routes to the replica of the operator that they are connected to. So every replica runs a Reporter, which
// writes what its own sidecars said into its own entry of status.replicas; the leader's Reconciler adds the entries up and writes
// the conditions. Replicas that see the same objects make the same routes, and so the same version of them: an entry counts only
// if it is about the version that the leader has, and Programmed is not True before every ready replica has such an entry.
package trafficrule

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/xds"
)

// +kubebuilder:rbac:groups=axlemesh.io,resources=trafficrules,verbs=get;list;watch
// +kubebuilder:rbac:groups=axlemesh.io,resources=trafficrules/status,verbs=get;patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch

const (
	// apart is how long two writes of one rule's status by one writer are apart at least.
	apart = time.Second
	// again is how long after a conflict the cache is looked at again.
	again = 100 * time.Millisecond
)

// Rules is what the xDS side knows of rules: an xds.Store.
type Rules interface {
	Reports(rule types.NamespacedName) []xds.Report
	Count(rule types.NamespacedName) (count xds.Count, lost []string)
	Listen(to func(rule types.NamespacedName))
}

// Reconciler writes the conditions of TrafficRules. Only the leader runs it.
type Reconciler struct {
	Client client.Client
	Rules  Rules
	Clock  clock.PassiveClock
	Events events.EventRecorder
	Log    logr.Logger
	// Self is this replica's name, that of its pod.
	Self string
	// Namespace and Account are those of the operator's pods: the replicas.
	Namespace, Account string

	pace pace
}

// Setup makes the manager run the reconciler.
func (r *Reconciler) Setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("trafficrule").
		For(&axlev1.TrafficRule{}).
		WatchesRawSource(listen(r.Rules)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.all), builder.WithPredicates(r.replicaChanged())).
		Complete(r)
}

// listen queues the rules that the xDS side says something new of.
func listen(rules Rules) source.Source {
	return source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[ctrl.Request]) error {
		rules.Listen(func(rule types.NamespacedName) { q.Add(ctrl.Request{NamespacedName: rule}) })
		return nil
	})
}

// Reconcile brings one rule's conditions up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	rule := &axlev1.TrafficRule{}
	if err := r.Client.Get(ctx, req.NamespacedName, rule); apierrors.IsNotFound(err) {
		r.pace.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	} else if err != nil {
		return ctrl.Result{}, err
	}
	seen, complete, err := r.observe(ctx, rule)
	if err != nil || !complete {
		return ctrl.Result{}, err
	}
	next := rule.DeepCopy()
	next.Status = Status(seen)
	if equality.Semantic.DeepEqual(rule.Status, next.Status) {
		return ctrl.Result{}, nil
	}
	if wait := r.pace.wait(req.NamespacedName, r.Clock.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if wait, err := patch(ctx, r.Client, rule, next); wait > 0 || err != nil {
		return ctrl.Result{RequeueAfter: wait}, err
	}
	r.pace.wrote(req.NamespacedName, r.Clock.Now())
	r.tell(rule, next)
	return ctrl.Result{}, nil
}

// patch writes a status if nobody else did meanwhile; else it says when to look again.
func patch(ctx context.Context, c client.Client, before, after *axlev1.TrafficRule) (wait time.Duration, err error) {
	err = c.Status().Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	switch {
	case apierrors.IsConflict(err):
		return again, nil
	case client.IgnoreNotFound(err) != nil:
		return 0, fmt.Errorf("status of TrafficRule %s/%s: %w", before.Namespace, before.Name, err)
	}
	return 0, nil
}

// observe collects what the status is made from. It is not complete until the routes of this generation have been made.
func (r *Reconciler) observe(ctx context.Context, rule *axlev1.TrafficRule) (seen Observed, complete bool, err error) {
	name := client.ObjectKeyFromObject(rule)
	seen = Observed{Rule: rule, Reports: r.Rules.Reports(name), Ready: []string{r.Self}, Alive: []string{r.Self}, Now: r.Clock.Now()}
	if len(seen.Reports) != len(rule.Spec.ParentRefs) {
		return seen, false, nil
	}
	for _, report := range seen.Reports {
		if report.Generation != rule.Generation {
			return seen, false, nil
		}
	}
	count, lost := r.Rules.Count(name)
	seen.Version, seen.Lost = count.Version, lost
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.InNamespace(r.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return seen, false, fmt.Errorf("list the operator's replicas: %w", err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Name == r.Self || !r.replica(pod) {
			continue
		}
		seen.Alive = append(seen.Alive, pod.Name)
		if ready(pod) {
			seen.Ready = append(seen.Ready, pod.Name)
		}
	}
	return seen, true, nil
}

// replica says whether a pod is one of the operator's that may have sidecars connected.
func (r *Reconciler) replica(pod *corev1.Pod) bool {
	return pod.Namespace == r.Namespace && pod.Spec.ServiceAccountName == r.Account &&
		pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// replicaChanged lets the operator's pods through when one comes, goes, or becomes ready.
func (r *Reconciler) replicaChanged() predicate.Predicate {
	is := func(o client.Object) (*corev1.Pod, bool) {
		pod, ok := o.(*corev1.Pod)
		return pod, ok && pod.Namespace == r.Namespace && pod.Spec.ServiceAccountName == r.Account
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { _, ok := is(e.Object); return ok },
		DeleteFunc: func(e event.DeleteEvent) bool { _, ok := is(e.Object); return ok },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, _ := is(e.ObjectOld)
			after, ok := is(e.ObjectNew)
			return ok && (ready(before) != ready(after) || r.replica(before) != r.replica(after))
		},
	}
}

// all queues every rule.
func (r *Reconciler) all(ctx context.Context, _ client.Object) []ctrl.Request {
	var list axlev1.TrafficRuleList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil // the cache is closing
	}
	reqs := make([]ctrl.Request, 0, len(list.Items))
	for i := range list.Items {
		reqs = append(reqs, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return reqs
}

// tell leaves an event on a rule that is not, or no longer, in force, and on one that a sidecar rejected.
func (r *Reconciler) tell(before, after *axlev1.TrafficRule) {
	for _, kind := range []string{axlev1.ConditionAccepted, axlev1.ConditionProgrammed} {
		now := meta.FindStatusCondition(after.Status.Conditions, kind)
		was := meta.FindStatusCondition(before.Status.Conditions, kind)
		if now == nil || now.Status != metav1.ConditionFalse || was != nil && was.Reason == now.Reason && was.Message == now.Message {
			continue
		}
		if kind == axlev1.ConditionProgrammed && now.Reason != reasonNACKed {
			continue
		}
		r.Log.Info("traffic rule rejected", "rule", client.ObjectKeyFromObject(after), "reason", now.Reason, "message", now.Message)
		r.Events.Eventf(after, nil, corev1.EventTypeWarning, now.Reason, "Program", "%s", fmt.Sprintf("%.1000s", now.Message))
	}
}
