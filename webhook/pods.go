package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/api/membership"
	"github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/webhook/inject"
)

// PodsPath of the webhook for the creation of pods.
const PodsPath = "/mutate-pods"

// Creator gives pods their slots when they are created. It never denies one: a pod that gets none, for whatever reason, is injected in place
// when it runs, and its start does not depend on Axle. All fields but Log and Repositories are required.
type Creator struct {
	// Cache reads fleets, versions, Services and namespaces as they were a moment ago: hundreds of pods may be created at once.
	Cache client.Reader
	// Live reads the API server.
	Live  client.Reader
	Trust Authorities
	// Address (host:port) of the operator's control endpoint, and the DNS name in its certificate.
	Address    string
	ServerName string
	// Namespace of the operator, whose pods never take part.
	Namespace string
	// Repositories that images may come from, as the admission policies have them: a pod with another would be refused. Empty for
	// any.
	Repositories []string
	// PullSecrets says that images of sidecars are pulled with a secret, of which every pod has to name one of its own.
	PullSecrets bool
	Log         logr.Logger
}

// RegisterPods adds the creator to a webhook server.
func RegisterPods(server crwebhook.Server, c *Creator) {
	server.Register(PodsPath, &admission.Webhook{Handler: c})
}

// Handle answers one question of the API server. The answer is the same for a dry run: nothing but the pod is changed.
func (c *Creator) Handle(ctx context.Context, req admission.Request) admission.Response {
	if req.Operation != admissionv1.Create || req.SubResource != "" || req.Kind.Kind != "Pod" {
		return admission.Allowed("not a pod that is created")
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(req.Object.Raw, pod); err != nil {
		return c.without(req, fmt.Errorf("decode the pod: %w", err))
	}
	asked := pod.DeepCopy()
	pod.Namespace = req.Namespace // the object need not say it
	rendered, report, err := c.render(ctx, pod)
	if err != nil {
		return c.without(req, err)
	}
	if rendered == nil {
		return admission.Allowed("no fleet selects it")
	}
	c.Log.V(1).Info("rendered a pod", "namespace", req.Namespace, "name", req.Name, "generateName", pod.GenerateName, "slots", report.OK())
	rendered.Namespace = asked.Namespace
	return admission.Patched("rendered by Axle", Patch(asked, rendered)...)
}

// without lets the pod start without slots, and tells whoever creates it and whoever reads the log.
func (c *Creator) without(req admission.Request, err error) admission.Response {
	c.Log.Error(err, "a pod starts without slots", "namespace", req.Namespace, "name", req.Name)
	r := admission.Allowed("")
	r.Result.Code = http.StatusOK
	return r.WithWarnings("Axle: the pod starts without a sidecar and gets one when it runs: " + err.Error())
}

// render returns nil when no fleet has anything to do with the pod.
func (c *Creator) render(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, inject.Report, error) {
	none := inject.Report{}
	if membership.Protected(pod.Namespace, c.Namespace) {
		return nil, none, nil
	}
	fleet, err := c.owner(ctx, pod)
	if err != nil || fleet == nil {
		return nil, none, err
	}
	version, err := c.version(ctx, fleet, pod)
	if err != nil {
		return nil, none, err
	}
	services, err := c.services(ctx, pod.Namespace)
	if err != nil {
		return nil, none, err
	}
	bundle := c.Trust.CABundle()
	if len(bundle) == 0 {
		return nil, none, errors.New("the operator has no certificate authority yet")
	}
	rendered, report := inject.RenderSlots(inject.SlotsInput{
		Pod: pod, Fleet: fleet.Name, Version: version, Ports: membership.PortsAtCreation(fleet.Spec.Ports, pod, services),
		Operator: bootstrap.Operator{Address: c.Address, ServerName: c.ServerName, CA: string(bundle)},
	})
	return rendered, report, nil
}

// owner is the fleet whose pod this will be; nil for none.
func (c *Creator) owner(ctx context.Context, pod *corev1.Pod) (*v1alpha1.SidecarFleet, error) {
	ns, err := c.namespace(ctx, pod.Namespace)
	if err != nil {
		return nil, err
	}
	var fleets v1alpha1.SidecarFleetList
	if err := c.Cache.List(ctx, &fleets); err != nil {
		return nil, fmt.Errorf("list fleets: %w", err)
	}
	claims, err := membership.Claims(fleets.Items)
	if err != nil {
		return nil, err
	}
	fleet, _ := membership.Owner(claims, ns, pod, "")
	return fleet, nil
}

// namespace reads one. The API server asks only about those that take part, so one that does not, or is not there, has changed just now.
func (c *Creator) namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	ns := &corev1.Namespace{}
	key := types.NamespacedName{Name: name}
	err := c.Cache.Get(ctx, key, ns)
	if apierrors.IsNotFound(err) || err == nil && !membership.Enabled(ns) {
		err = c.Live.Get(ctx, key, ns)
	}
	if err != nil {
		return nil, fmt.Errorf("read namespace %q: %w", name, err)
	}
	return ns, nil
}

// version is what the pod runs first: what it is pinned to, else what the fleet's pods ran when its last rollout had finished, so that a bad
// version never arrives by scaling up. One that has served nowhere is none of these: if its image could not be pulled, the pod would not start.
func (c *Creator) version(ctx context.Context, fleet *v1alpha1.SidecarFleet, pod *corev1.Pod) (*v1alpha1.SidecarVersion, error) {
	name := fleet.Spec.Version
	if fleet.Status.CurrentVersion != "" {
		name = fleet.Status.CurrentVersion
	}
	if pin := pod.Annotations[v1alpha1.PinVersionAnnotation]; pin != "" {
		name = pin
	}
	v := &v1alpha1.SidecarVersion{}
	if err := c.Cache.Get(ctx, types.NamespacedName{Name: name}, v); err != nil {
		return nil, fmt.Errorf("read SidecarVersion %q: %w", name, err)
	}
	if !meta.IsStatusConditionTrue(v.Status.Conditions, v1alpha1.ConditionVerified) {
		return nil, fmt.Errorf("SidecarVersion %q is not verified", name)
	}
	if name != fleet.Status.CurrentVersion && !meta.IsStatusConditionTrue(v.Status.Conditions, v1alpha1.ConditionServed) {
		return nil, fmt.Errorf("SidecarVersion %q has served nowhere yet: the first pods get it when they run", name)
	}
	if c.PullSecrets && len(pod.Spec.ImagePullSecrets) == 0 {
		return nil, fmt.Errorf("SidecarVersion %q: its image needs a pull secret (value sidecar.imagePullSecrets of the Axle chart), and the pod names none", name)
	}
	image, err := inject.SlotImage(v, 1)
	if err != nil {
		return nil, err
	}
	repository, _, _ := strings.Cut(image, ":g1@")
	if len(c.Repositories) > 0 && !slices.Contains(c.Repositories, repository) {
		return nil, fmt.Errorf("SidecarVersion %q: repository %s is not allowed (%s); value sidecar.allowedRepositories of the Axle chart",
			name, repository, strings.Join(c.Repositories, ", "))
	}
	return v, nil
}

func (c *Creator) services(ctx context.Context, namespace string) ([]*corev1.Service, error) {
	var list corev1.ServiceList
	if err := c.Cache.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list Services of namespace %q: %w", namespace, err)
	}
	all := make([]*corev1.Service, 0, len(list.Items))
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return all, nil
}
