package sidecarversion

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestReconcile(t *testing.T) {
	cases := map[string]struct {
		image   string
		before  string // the digest that was resolved earlier
		resolve func(context.Context, string) (string, error)
		digest  string
		want    string // the condition's STATUS/REASON
		says    string
		wake    time.Duration
	}{
		"a digest is its own proof":       {image: "registry.example/axle@" + digest, digest: digest, want: "True/Digest"},
		"a tag is resolved and warned of": {image: "registry.example/axle:v1", resolve: func(context.Context, string) (string, error) { return digest, nil }, digest: digest, want: "True/TagResolved", says: "Name it by its digest"},
		"and never again":                 {image: "registry.example/axle:v1", before: digest, digest: digest, want: "True/TagResolved"},
		"a registry that does not answer": {image: "registry.example/axle:v1", resolve: func(context.Context, string) (string, error) { return "", errors.New("connection refused") }, want: "False/TagUnresolved", says: "connection refused", wake: retryAfter},
		"an image that cannot be one":     {image: "registry.example/AXLE:v1", want: "False/InvalidImage"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r, v := reconciler(t, tc.image)
			r.Resolve = tc.resolve
			if tc.before != "" {
				r.set(v, tc.before, "True", reasonTagResolved, "x")
				if err := r.Client.Status().Update(t.Context(), v); err != nil {
					t.Fatal(err)
				}
			}
			result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(v)})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Client.Get(t.Context(), client.ObjectKeyFromObject(v), v); err != nil {
				t.Fatal(err)
			}
			c := meta.FindStatusCondition(v.Status.Conditions, axlev1.ConditionVerified)
			if c == nil || string(c.Status)+"/"+c.Reason != tc.want || !strings.Contains(c.Message, tc.says) {
				t.Errorf("condition %+v, want %s with %q", c, tc.want, tc.says)
			}
			if !meta.IsStatusConditionTrue(v.Status.Conditions, axlev1.ConditionServed) {
				t.Error("a pod is served by it, and the condition Served does not say so")
			}
			if v.Status.Digest != tc.digest || v.Status.Pods != 1 || result.RequeueAfter != tc.wake {
				t.Errorf("digest %q, %d pods, again in %s; want %q, 1 pod, %s", v.Status.Digest, v.Status.Pods, result.RequeueAfter, tc.digest, tc.wake)
			}
		})
	}
}

// reconciler has one version, one pod that it serves and one that it does not.
func reconciler(t *testing.T, image string) (*Reconciler, *axlev1.SidecarVersion) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), axlev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	v := &axlev1.SidecarVersion{}
	v.Name, v.Spec.Image = "v1", image
	served := &corev1.Pod{}
	served.Namespace, served.Name = "payments", "pay-0"
	served.Annotations = map[string]string{axlev1.StatusAnnotation: `{"generation":1,"version":"v1","phase":"Serving"}`}
	served.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "axle-g1"}}}
	ended := served.DeepCopy()
	ended.Name = "pay-1"
	ended.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "axle-g1", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}
	store := fake.NewClientBuilder().WithScheme(scheme).WithObjects(v, served, ended).WithStatusSubresource(v).
		WithIndex(&corev1.Pod{}, versionIndex, serves).Build()
	return &Reconciler{Client: store, Clock: clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0)), Log: logr.Discard()}, v
}

func TestRegistryDigest(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	ref, err := name.ParseReference(host+"/axle-sidecar:v1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, empty.Image); err != nil {
		t.Fatal(err)
	}
	want, err := empty.Image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Registry{Insecure: []string{host}}.Digest(t.Context(), host+"/axle-sidecar:v1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), got); diff != "" {
		t.Errorf("digest (-want +got):\n%s", diff)
	}
	if _, err := (Registry{Insecure: []string{host}}).Digest(t.Context(), host+"/axle-sidecar:v2"); err == nil {
		t.Error("a tag that does not exist has a digest")
	}
}
