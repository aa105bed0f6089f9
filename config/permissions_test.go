package config_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// TestOperatorsPower holds on to what the operator may never do, whatever markers are added.
func TestOperatorsPower(t *testing.T) {
	data, err := os.ReadFile("rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs := strings.Split(string(data), "\n---\n")
	if len(docs) != 2 {
		t.Fatalf("role.yaml has %d objects, want a ClusterRole and a Role", len(docs))
	}
	for _, doc := range docs {
		var role rbacv1.ClusterRole // a Role has the same fields
		if err := yaml.UnmarshalStrict([]byte(doc), &role); err != nil {
			t.Fatal(err)
		}
		if len(role.Rules) == 0 {
			t.Errorf("%s has no rules", role.Kind)
		}
		for _, rule := range role.Rules {
			for _, f := range forbidden(role.Kind, rule) {
				t.Errorf("%s: %s: %v", role.Kind, f, rule)
			}
		}
	}
}

func forbidden(kind string, rule rbacv1.PolicyRule) []string {
	var out []string
	names := slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs)
	if slices.Contains(names, "*") {
		out = append(out, "a wildcard")
	}
	writes := slices.ContainsFunc(rule.Verbs, func(v string) bool { return !slices.Contains([]string{"get", "list", "watch"}, v) })
	for _, resource := range rule.Resources {
		switch resource {
		case "secrets":
			if kind == "ClusterRole" {
				out = append(out, "secrets of the whole cluster")
			}
			if slices.Contains(rule.Verbs, "list") || slices.Contains(rule.Verbs, "watch") {
				out = append(out, "secrets that are not its own")
			}
		case "pods/exec", "pods/attach", "pods/portforward", "pods/log", "nodes/proxy", "serviceaccounts/token":
			out = append(out, "a way into containers")
		case "pods":
			if kind == "Role" { // in its own namespace it makes the pods that pull images
				break
			}
			if slices.Contains(rule.Verbs, "create") || slices.Contains(rule.Verbs, "delete") || slices.Contains(rule.Verbs, "update") {
				out = append(out, "pods of its own making")
			}
		case "configmaps", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
			"clusterroles", "roles", "clusterrolebindings", "rolebindings":
			if writes {
				out = append(out, "changing what bounds it")
			}
		case "mutatingwebhookconfigurations":
			if len(rule.ResourceNames) == 0 {
				out = append(out, "other people's webhooks")
			}
		case "sidecarfleets", "sidecarversions", "trafficrules":
			if slices.Contains(rule.Verbs, "update") || slices.Contains(rule.Verbs, "patch") || slices.Contains(rule.Verbs, "delete") {
				out = append(out, "changing what its users wrote")
			}
		}
	}
	return out
}
