package sidecarfleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// reconcileOnce runs one turn over a labelled namespace with one bare pod, where sending a stub answers with answer.
func reconcileOnce(t *testing.T, answer error) (r *Reconciler, recorder *events.FakeRecorder, err error) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), axlev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "payments", Labels: map[string]string{axlev1.InjectionLabel: axlev1.InjectionEnabled}}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "pay-0", UID: "uid-0"}}
	pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, "10.0.0.1"
	fleet := &axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: "default", Generation: 1}, Spec: axlev1.SidecarFleetSpec{Version: "v1"}}
	version := &axlev1.SidecarVersion{ObjectMeta: metav1.ObjectMeta{Name: "v1"}}
	version.Status.Digest = "sha256:1"
	version.Status.Conditions = []metav1.Condition{{Type: axlev1.ConditionVerified, Status: metav1.ConditionTrue}}
	store := fake.NewClientBuilder().WithScheme(scheme).WithObjects(ns, pod, fleet, version).
		WithStatusSubresource(fleet, version).WithIndex(&corev1.Pod{}, fleetIndex, indexFleet).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
				if sub == "ephemeralcontainers" {
					return answer
				}
				return c.SubResource(sub).Patch(ctx, o, p, opts...)
			},
		}).Build()
	recorder = events.NewFakeRecorder(10)
	r = &Reconciler{Client: store, Clock: clocktesting.NewFakePassiveClock(t0), Events: recorder, Log: testr.New(t), Namespace: "axle-system"}
	_, err = r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: "default"}})
	return r, recorder, err
}

func degraded(t *testing.T, r *Reconciler) string {
	t.Helper()
	f := &axlev1.SidecarFleet{}
	if err := r.Client.Get(t.Context(), client.ObjectKey{Name: "default"}, f); err != nil {
		t.Fatal(err)
	}
	c := meta.FindStatusCondition(f.Status.Conditions, axlev1.ConditionDegraded)
	if c == nil {
		t.Fatal("no Degraded condition")
	}
	return string(c.Status) + "/" + c.Reason + ": " + c.Message
}

func desired(t *testing.T, r *Reconciler) *axlev1.PodDesired {
	t.Helper()
	p := &corev1.Pod{}
	if err := r.Client.Get(t.Context(), client.ObjectKey{Namespace: "payments", Name: "pay-0"}, p); err != nil {
		t.Fatal(err)
	}
	d, err := axlev1.ParseDesired(p.Annotations)
	if err != nil || d == nil {
		t.Fatalf("desired %v, error %v", d, err)
	}
	return d
}

func TestAStubThatIsRefusedIsAFailureOfThatPod(t *testing.T) {
	refusal := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "pay-0", errors.New("PortConflict: mesh port 15200 is the application's"))
	r, recorder, err := reconcileOnce(t, refusal)
	if err != nil {
		t.Errorf("reconcile: %v; trying again at once would not help", err)
	}
	d := desired(t, r)
	if d.Failed == nil || d.Failed.Generation != 1 || !strings.Contains(d.Failed.Message, "PortConflict") {
		t.Errorf("failed = %+v", d.Failed)
	}
	var all []string
	for len(recorder.Events) > 0 {
		all = append(all, strings.Join(strings.Fields(<-recorder.Events)[:2], " "))
	}
	if want := []string{"Warning SidecarFailed", "Warning SidecarFailed"}; !slices.Equal(all, want) { // on the pod and on the fleet
		t.Errorf("events %v, want %v", all, want)
	}
}

func TestAStubThatDoesNotGetThroughIsSentAgainAndSaid(t *testing.T) {
	trouble := apierrors.NewInternalError(errors.New("failed calling webhook: connection refused"))
	r, recorder, err := reconcileOnce(t, trouble)
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("reconcile: %v, want the trouble, for another try", err)
	}
	if d := desired(t, r); d.Failed != nil || d.Generation != 1 {
		t.Errorf("desired %+v, want generation 1 and no failure", d)
	}
	if got := degraded(t, r); !strings.HasPrefix(got, "False/") {
		t.Errorf("condition %s after the first try", got)
	}
	r.Clock.(*clocktesting.FakePassiveClock).SetTime(t0.Add(patience))
	if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: "default"}}); err == nil {
		t.Error("the second try has brought no error")
	}
	if got := degraded(t, r); !strings.HasPrefix(got, "True/PodsNotChanged") || !strings.Contains(got, "connection refused") {
		t.Errorf("condition %s", got)
	}
	if n := len(recorder.Events); n != 0 {
		t.Errorf("%d events about something that did not happen", n)
	}
}

func TestAStubThatWasOvertakenIsPlannedAgain(t *testing.T) {
	r, _, err := reconcileOnce(t, apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "pay-0", errors.New("changed")))
	if err != nil {
		t.Errorf("reconcile: %v; a conflict is no error", err)
	}
	if got := degraded(t, r); !strings.HasPrefix(got, "False/") {
		t.Errorf("condition %s", got)
	}
}
