package trafficrule

import (
	"context"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/xds"
)

// Bounds of the schema.
const (
	maxMessage  = 1024
	maxReplicas = 64
)

// Reporter writes what the sidecars of one replica say of TrafficRules into the replica's entry of their status. Every
// replica runs one.
type Reporter struct {
	Client client.Client
	Rules  Rules
	Clock  clock.PassiveClock
	// Self is the replica's name, that of its pod.
	Self string

	pace pace
}

// Setup makes the manager run the reporter, on the leader and elsewhere.
func (r *Reporter) Setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("trafficrule-replica").
		WithOptions(controller.Options{NeedLeaderElection: new(bool)}).
		For(&axlev1.TrafficRule{}).
		WatchesRawSource(listen(r.Rules)).
		Complete(r)
}

// Reconcile brings the replica's entry of one rule up to date.
func (r *Reporter) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	rule := &axlev1.TrafficRule{}
	if err := r.Client.Get(ctx, req.NamespacedName, rule); apierrors.IsNotFound(err) {
		r.pace.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	} else if err != nil {
		return ctrl.Result{}, err
	}
	count, _ := r.Rules.Count(req.NamespacedName)
	next := rule.DeepCopy()
	next.Status.Replicas = entered(rule.Status.Replicas, r.Self, count)
	if slices.Equal(rule.Status.Replicas, next.Status.Replicas) {
		return ctrl.Result{}, nil
	}
	if wait := r.pace.wait(req.NamespacedName, r.Clock.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if wait, err := patch(ctx, r.Client, rule, next); wait > 0 || err != nil {
		return ctrl.Result{RequeueAfter: wait}, err
	}
	r.pace.wrote(req.NamespacedName, r.Clock.Now())
	return ctrl.Result{}, nil
}

// entered is the list with one replica's entry as it has to be; a replica without routes for the rule has none.
func entered(all []axlev1.ReplicaProxies, self string, count xds.Count) []axlev1.ReplicaProxies {
	all = slices.DeleteFunc(slices.Clone(all), func(e axlev1.ReplicaProxies) bool { return e.Name == self })
	if count.Version == "" || len(all) >= maxReplicas {
		return all
	}
	all = append(all, axlev1.ReplicaProxies{
		Name: self, Version: count.Version,
		ProxyCounts: axlev1.ProxyCounts{Total: int32(count.Total), Acked: int32(count.Acked), Nacked: int32(count.Nacked)}, //nolint:gosec // connections of one process
		Message:     strings.ToValidUTF8(count.Message[:min(len(count.Message), maxMessage)], ""),
	})
	slices.SortFunc(all, func(a, b axlev1.ReplicaProxies) int { return strings.Compare(a.Name, b.Name) })
	return all
}
