// Package webhook serves the API server's question about every ephemeral
// container that Axle's controllers add to a running pod: it turns the stub
// into exactly the sidecar that it names, or denies and says why.
//
// It only touches stubs that the operator's own service account sends. What
// anyone else may add to a pod is decided by admission policies, in the API
// server, so that `kubectl debug` never depends on the operator.
package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/webhook/inject"
)

// Path of the webhook for pods/ephemeralcontainers.
const Path = "/mutate-ephemeralcontainers"

// TokenMinter signs the join token of one sidecar: good once, for ten minutes.
type TokenMinter interface {
	MintJoin(podUID, namespace, name, container string, now time.Time) (string, error)
}

// Authorities are the certificates that a sidecar has to trust, as a PEM bundle.
type Authorities interface {
	CABundle() []byte
}

// +kubebuilder:rbac:groups=axlemesh.io,resources=sidecarversions,verbs=get;list;watch

// Injector renders stubs. All fields but Log are required.
type Injector struct {
	// Versions reads SidecarVersions. It should read the API server, not a cache: a version is rendered exactly
	// or not at all.
	Versions client.Reader
	Tokens   TokenMinter
	Trust    Authorities
	// Address (host:port) of the operator's control endpoint, and the DNS name in its certificate.
	Address    string
	ServerName string
	// User is the operator's own, system:serviceaccount:NAMESPACE:NAME.
	User  string
	Clock clock.PassiveClock
	Log   logr.Logger
}

// ServiceAccount is the name that the API server gives a service account.
func ServiceAccount(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

// Register adds the injector to a webhook server.
func Register(server crwebhook.Server, i *Injector) {
	server.Register(Path, &admission.Webhook{Handler: i})
}

// Handle answers one question of the API server.
func (i *Injector) Handle(ctx context.Context, req admission.Request) admission.Response {
	if req.SubResource != "ephemeralcontainers" || req.UserInfo.Username != i.User {
		return admission.Allowed("not the operator's stub")
	}
	pod, old := &corev1.Pod{}, &corev1.Pod{}
	if err := decode(req, pod, old); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	var patches []jsonpatch.Operation
	for _, index := range Stubs(pod, old) {
		stub := pod.Spec.EphemeralContainers[index]
		rendered, report, err := i.render(ctx, pod, stub)
		if err != nil {
			i.Log.Error(err, "could not render a sidecar", "namespace", pod.Namespace, "pod", pod.Name, "container", stub.Name)
			return admission.Errored(http.StatusInternalServerError, err)
		}
		if !report.OK() {
			i.Log.Info("denied a sidecar", "namespace", pod.Namespace, "pod", pod.Name, "container", stub.Name, "why", report.Err().Error())
			return denied(pod, stub, report)
		}
		i.Log.Info("rendered a sidecar", "namespace", pod.Namespace, "pod", pod.Name, "container", stub.Name, "image", rendered.Image)
		patches = append(patches, jsonpatch.NewOperation("replace", fmt.Sprintf("/spec/ephemeralContainers/%d", index), rendered))
	}
	return admission.Patched("rendered by Axle", patches...)
}

func decode(req admission.Request, pod, old *corev1.Pod) error {
	if err := json.Unmarshal(req.Object.Raw, pod); err != nil {
		return fmt.Errorf("decode pod %s/%s: %w", req.Namespace, req.Name, err)
	}
	if err := json.Unmarshal(req.OldObject.Raw, old); err != nil {
		return fmt.Errorf("decode pod %s/%s as it was: %w", req.Namespace, req.Name, err)
	}
	return nil
}

// Stubs are the indexes of the ephemeral containers of pod that are new since
// old and have the name of a sidecar in place.
func Stubs(pod, old *corev1.Pod) []int {
	known := map[string]bool{}
	for _, c := range old.Spec.EphemeralContainers {
		known[c.Name] = true
	}
	var out []int
	for i, c := range pod.Spec.EphemeralContainers {
		if !known[c.Name] && inject.IsStubName(c.Name) {
			out = append(out, i)
		}
	}
	return out
}

func (i *Injector) render(ctx context.Context, pod *corev1.Pod, stub corev1.EphemeralContainer) (corev1.EphemeralContainer, inject.Report, error) {
	fail := func(err error) (corev1.EphemeralContainer, inject.Report, error) {
		return corev1.EphemeralContainer{}, inject.Report{}, fmt.Errorf("render %s of pod %s/%s: %w", stub.Name, pod.Namespace, pod.Name, err)
	}
	bundle := i.Trust.CABundle()
	if len(bundle) == 0 {
		return fail(fmt.Errorf("the operator has no certificate authority yet"))
	}
	asked, _ := inject.ParseStub(stub) // Render reports what is wrong with it
	version, err := i.version(ctx, asked.Version)
	if err != nil {
		return fail(err)
	}
	token, err := i.Tokens.MintJoin(string(pod.UID), pod.Namespace, pod.Name, stub.Name, i.Clock.Now())
	if err != nil {
		return fail(fmt.Errorf("sign the join token: %w", err))
	}
	rendered, report := inject.Render(inject.Input{
		Pod: pod, Stub: stub, Version: version, JoinToken: token,
		Operator: bootstrap.Operator{Address: i.Address, ServerName: i.ServerName, CA: string(bundle)},
	})
	return rendered, report, nil
}

// version reads a SidecarVersion; nil when there is none of that name.
func (i *Injector) version(ctx context.Context, name string) (*v1alpha1.SidecarVersion, error) {
	if name == "" {
		return nil, nil
	}
	v := &v1alpha1.SidecarVersion{}
	if err := i.Versions.Get(ctx, types.NamespacedName{Name: name}, v); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read SidecarVersion %q: %w", name, err)
	}
	return v, nil
}

// denied tells a person in the message and the controllers in the details.
func denied(pod *corev1.Pod, stub corev1.EphemeralContainer, report inject.Report) admission.Response {
	message := fmt.Sprintf("pod %s/%s gets no sidecar %s: %s", pod.Namespace, pod.Name, stub.Name,
		strings.ReplaceAll(report.Err().Error(), "\n", "; "))
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{
		Allowed: false,
		Result: &metav1.Status{
			Status:  metav1.StatusFailure,
			Code:    http.StatusForbidden,
			Reason:  metav1.StatusReasonForbidden,
			Message: message,
			Details: inject.Details(report),
		},
	}}
}
