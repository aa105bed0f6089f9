package stage

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// fleetSays returns what the fleet says is wrong, and what it says about a rollout that went back; each "" when there is nothing.
func (s *Stage) fleetSays(ctx context.Context) (trouble, rolledBack string, err error) {
	f, err := s.fleet(ctx)
	if err != nil {
		return "", "", fmt.Errorf("look at SidecarFleet %s: %w", FleetName, err)
	}
	if f.Status.ObservedGeneration != f.Generation {
		return "the fleet has not looked at its spec yet", "", nil
	}
	if c := meta.FindStatusCondition(f.Status.Conditions, axlev1.ConditionDegraded); c != nil && c.Status == metav1.ConditionTrue {
		trouble = fmt.Sprintf("the fleet is degraded: %s: %s", c.Reason, c.Message)
	}
	if c := meta.FindStatusCondition(f.Status.Conditions, axlev1.ConditionRolledBack); c != nil && c.Status == metav1.ConditionTrue {
		rolledBack = c.Message
	}
	return trouble, rolledBack, nil
}

// programmed says whether every sidecar has the scene's TrafficRule, once there is one.
func (s *Scene) programmed(ctx context.Context) (bool, error) {
	r := &unstructured.Unstructured{}
	r.SetGroupVersionKind(ruleKind)
	err := s.kinds.Get(ctx, client.ObjectKey{Namespace: s.Name, Name: ruleName}, r)
	if err != nil {
		if meta.IsNoMatchError(err) {
			return false, nil
		}
		return false, client.IgnoreNotFound(err)
	}
	parents, _, err := unstructured.NestedSlice(r.Object, "status", "parents")
	if err != nil {
		return false, fmt.Errorf("status of TrafficRule %s/%s: %w", s.Name, ruleName, err)
	}
	for _, p := range parents {
		if !isTrue(p, "Programmed", r.GetGeneration()) {
			return false, nil
		}
	}
	return len(parents) > 0, nil
}

// isTrue says whether a parent's condition is True for that generation of the rule.
func isTrue(parent any, condition string, generation int64) bool {
	m, _ := parent.(map[string]any)
	all, _, _ := unstructured.NestedSlice(m, "conditions")
	for _, c := range all {
		c, _ := c.(map[string]any)
		if c["type"] == condition {
			return c["status"] == "True" && c["observedGeneration"] == generation
		}
	}
	return false
}
