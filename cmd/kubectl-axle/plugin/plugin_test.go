package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/cmd/kubectl-axle/report"
)

var t0 = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

func fleet(name, version, current string) *axlev1.SidecarFleet {
	f := &axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: name}}
	f.Spec.Version, f.Status.CurrentVersion = version, current
	return f
}

func version(name string) *axlev1.SidecarVersion {
	v := &axlev1.SidecarVersion{ObjectMeta: metav1.ObjectMeta{Name: name}}
	v.Status.Digest = "sha256:aa"
	v.Status.Conditions = []metav1.Condition{{Type: axlev1.ConditionVerified, Status: metav1.ConditionTrue}}
	return v
}

func pod(namespace, name string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	p.Status.Phase, p.Status.PodIP = corev1.PodRunning, "10.0.0.7"
	return p
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{axlev1.InjectionLabel: axlev1.InjectionEnabled}}}
}

// cluster is one with two labelled namespaces and a rollout from v1 to v2.
func cluster(t *testing.T, more ...client.Object) *fake.ClientBuilder {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), axlev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).
		WithIndex(&corev1.Pod{}, "metadata.name", func(o client.Object) []string { return []string{o.GetName()} }).
		WithObjects(namespace("default"), namespace("payments"), version("v1"), version("v2"),
			pod("payments", "pay-0"), pod("payments", "pay-1"), pod("default", "web-0")).
		WithObjects(more...)
}

// run is what a person types after "kubectl axle", and what comes back.
func run(c client.Client, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := New(Options{Out: &out, Clock: clocktesting.NewFakePassiveClock(t0), Client: c})
	cmd.SetArgs(args)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

func TestStatus(t *testing.T) {
	c := cluster(t, fleet("default", "v2", "v1")).Build()
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"all namespaces": {[]string{"status"}, []string{"default/web-0", "payments/pay-0", "payments/pay-1"}},
		"one namespace":  {[]string{"status", "-n", "payments"}, []string{"payments/pay-0", "payments/pay-1"}},
		"one fleet":      {[]string{"status", "default", "--namespace=default"}, []string{"default/web-0"}},
	} {
		t.Run(name, func(t *testing.T) {
			for format, read := range map[string]func([]byte, any) error{
				"json": json.Unmarshal,
				"yaml": func(b []byte, v any) error { return yaml.UnmarshalStrict(b, v) },
			} {
				out, err := run(c, append(tc.args, "-o", format)...)
				if err != nil {
					t.Fatal(err)
				}
				var status report.Status
				if err := read([]byte(out), &status); err != nil {
					t.Fatalf("%v in\n%s", err, out)
				}
				var got []string
				for _, p := range status.Fleets[0].Members {
					got = append(got, p.Namespace+"/"+p.Name)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("pods in %s (-want +got):\n%s", format, diff)
				}
			}
			if out, err := run(c, tc.args...); err != nil || !strings.Contains(out, "waits for its first sidecar") {
				t.Errorf("text: %v\n%s", err, out)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	c := cluster(t, fleet("default", "v2", "")).Build()
	for _, name := range []string{"pay-0", "pod/pay-0"} {
		out, err := run(c, "explain", "-n", "payments", name)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Fleet default selects it and owns it.", "The operator adds axle-g1 (v2) to the running pod"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
	}
}

func TestRolloutChangesTheFleet(t *testing.T) {
	c := cluster(t, fleet("default", "v2", "v1"), fleet("edge", "v2", "v1")).Build()
	now := func() string {
		var f, other axlev1.SidecarFleet
		err := errors.Join(c.Get(context.Background(), client.ObjectKey{Name: "default"}, &f), c.Get(context.Background(), client.ObjectKey{Name: "edge"}, &other))
		if err != nil {
			t.Fatal(err)
		}
		if other.Spec.Version != "v2" || other.Spec.Paused {
			t.Errorf("the other fleet was changed: %+v", other.Spec)
		}
		if f.Spec.Paused {
			return f.Spec.Version + " paused"
		}
		return f.Spec.Version
	}
	for _, step := range []struct{ args, want string }{
		{"pause default", "v2 paused"},
		{"pause default", "v2 paused"},
		{"resume default", "v2"},
		{"undo default", "v1"},
		{"undo default --to v2", "v2"},
	} {
		out, err := run(c, append([]string{"rollout"}, strings.Fields(step.args)...)...)
		if err != nil || !strings.HasPrefix(out, "SidecarFleet default ") {
			t.Fatalf("%s: %v\n%s", step.args, err, out)
		}
		if got := now(); got != step.want {
			t.Fatalf("after %s the fleet is %s, want %s", step.args, got, step.want)
		}
	}
}

// TestUndoLosesARace lets someone change the version between reading and patching.
func TestUndoLosesARace(t *testing.T) {
	raced := false
	c := cluster(t, fleet("default", "v2", "v1"), version("v3")).WithInterceptorFuncs(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if !raced {
				raced = true
				other := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"version":"v3"}}`))
				if err := c.Patch(ctx, fleet("default", "", ""), other); err != nil {
					return err
				}
			}
			return c.Patch(ctx, o, p, opts...)
		},
	}).Build()
	_, err := run(c, "rollout", "undo", "default")
	want := "nothing was changed: meanwhile someone changed the version of SidecarFleet default from v2 to v3"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestErrors(t *testing.T) {
	two := cluster(t, fleet("edge", "v2", "v1"), fleet("default", "v2", "v1")).Build()
	none := cluster(t).Build()
	foreign := cluster(t).WithInterceptorFuncs(interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: axlev1.GroupName, Kind: "SidecarFleet"}}
		},
	}).Build()
	for name, tc := range map[string]struct {
		in   client.Client
		args string
		want string
	}{
		"no such fleet":          {two, "status pay", `no SidecarFleet "pay": there is default, edge`},
		"no fleet at all":        {none, "status pay", `no SidecarFleet "pay": there is none in this cluster`},
		"no fleet to pause":      {two, "rollout pause pay", `no SidecarFleet "pay": there is default, edge`},
		"which fleet":            {two, "rollout undo", "name the SidecarFleet: default, edge"},
		"nothing to name":        {none, "rollout undo", "there is no SidecarFleet in this cluster"},
		"no such namespace":      {two, "status -n nowhere", `no namespace "nowhere"`},
		"pod of a namespace":     {two, "explain -n nowhere pay-0", `no namespace "nowhere"`},
		"which pod":              {two, "explain", "name the pod"},
		"too many pods":          {two, "explain a b", "one pod, not 2: a b"},
		"the beginning of a pod": {two, "explain -n payments pay", `no pod "pay" in namespace "payments"; these begin so: pay-0, pay-1`},
		"elsewhere":              {two, "explain pay-0", `no pod "pay-0" in namespace "default"; there is one in payments: use -n`},
		"no such pod":            {two, "explain pay-9", `no pod "pay-9" in namespace "default" (-n names another)`},
		"no such format":         {two, "status -o xml", `unknown output "xml": there is json and yaml, and text without -o`},
		"no such command":        {two, "rollout restart", `unknown command "restart" for "kubectl axle rollout"`},
		"not installed":          {foreign, "status", "the cluster knows no SidecarFleets: Axle is not installed there, or the context is another cluster's"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(tc.in, strings.Fields(tc.args)...)
			if err == nil || err.Error() != tc.want {
				t.Errorf("got %v\nwant %s", err, tc.want)
			}
			if out != "" {
				t.Errorf("it wrote %q", out)
			}
		})
	}
}

// TestKubeconfig finds the cluster by the flags alone.
func TestKubeconfig(t *testing.T) {
	_, err := run(nil, "status", "--kubeconfig", t.TempDir()+"/absent")
	if err == nil || !strings.HasPrefix(err.Error(), "read the kubeconfig: ") {
		t.Errorf("got %v", err)
	}
}
