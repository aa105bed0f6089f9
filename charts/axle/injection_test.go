package axle_test

import (
	"strings"
	"testing"
)

// webhooks renders webhook.yaml and returns its webhooks by name.
func webhooks(t *testing.T, args ...string) map[string]map[string]any {
	t.Helper()
	hooks := objects(t, render(t, append(args, "--show-only", "templates/webhook.yaml")...))["MutatingWebhookConfiguration/axle-injector"]
	out := map[string]map[string]any{}
	for _, w := range hooks["webhooks"].([]any) {
		w := w.(map[string]any)
		out[w["name"].(string)] = w
	}
	return out
}

func TestInjectionIsAChoice(t *testing.T) {
	const pods, stubs = "pods.axlemesh.io", "ephemeralcontainers.axlemesh.io"
	cases := map[string]struct {
		args []string
		want any // failurePolicy of the webhook for pods; nil when there is none
	}{
		"on, and never in the way of a pod": {nil, "Ignore"},
		"strict":                            {[]string{"--set", "injection.failurePolicy=Fail"}, "Fail"},
		"off":                               {[]string{"--set", "injection.enabled=false"}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := webhooks(t, tc.args...)
			if policy := got[pods]["failurePolicy"]; policy != tc.want {
				t.Errorf("failurePolicy of %s is %v, want %v", pods, policy, tc.want)
			}
			if policy := got[stubs]["failurePolicy"]; policy != "Fail" {
				t.Errorf("failurePolicy of %s is %v", stubs, policy)
			}
		})
	}
}

// The webhook must not render what the policies refuse: such a pod would not start.
func TestOperatorKnowsTheAllowedRepositories(t *testing.T) {
	got := render(t, "--set", "sidecar.image=127.0.0.1:5000/axle-sidecar:v1", "--set", "sidecar.allowedRepositories={registry.example/a}")
	for _, want := range []string{
		"- --allowed-repositories=127.0.0.1:5000/axle-sidecar,registry.example/a\n", `["127.0.0.1:5000/axle-sidecar", "registry.example/a"]`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the chart does not say %s", want)
		}
	}
}
