package stage

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// ruleName is the scene's TrafficRule. It is read and written as users do, by its published form.
const ruleName = "gray"

var ruleKind = schema.GroupVersionKind{Group: axlev1.GroupName, Version: "v1alpha1", Kind: "TrafficRule"}

// Scale gives the Deployment of the application's new version so many pods.
func (s *Scene) Scale(ctx context.Context, pods int) error {
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, pods)
	_, err := s.core.AppsV1().Deployments(s.Name).Patch(ctx, grownName, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("scale deployment %s/%s to %d: %w", s.Name, grownName, pods, err)
	}
	return nil
}

// Split applies a TrafficRule that sends this percentage of the calls to the application's new version.
func (s *Scene) Split(ctx context.Context, percent int) error {
	subset := func(version string, weight int) any {
		return map[string]any{"name": serverName, "subset": map[string]any{versionLabel: version}, "weight": int64(weight)}
	}
	rule := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"parentRefs": []any{map[string]any{"kind": "Service", "name": serverName}},
		"rules": []any{map[string]any{
			"name": "by-version", "backendRefs": []any{subset(versionNew, percent), subset(versionOld, 100-percent)},
		}},
	}}}
	rule.SetGroupVersionKind(ruleKind)
	rule.SetNamespace(s.Name)
	rule.SetName(ruleName)
	return s.create(ctx, rule)
}
