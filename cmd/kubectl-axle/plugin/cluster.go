package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/cmd/kubectl-axle/report"
)

// manager is the field manager of what the plugin patches.
const manager = "kubectl-axle"

// connect returns a client for the cluster that the flags name, and the current namespace.
func (s *shell) connect() (c client.Client, namespace string, err error) {
	if s.Client != nil {
		if namespace = s.overrides.Context.Namespace; namespace == "" {
			namespace = "default"
		}
		return s.Client, namespace, nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = s.kubeconfig
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &s.overrides)
	if namespace, _, err = config.Namespace(); err != nil {
		return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	rest, err := config.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), axlev1.AddToScheme(scheme)); err != nil {
		return nil, "", err
	}
	if c, err = client.New(rest, client.Options{Scheme: scheme}); err != nil {
		return nil, "", fmt.Errorf("connect to %s: %w", rest.Host, err)
	}
	return c, namespace, nil
}

// readFleets reads what every command needs: fleets and versions.
func (s *shell) readFleets(ctx context.Context, c client.Client) (*report.Cluster, error) {
	var fleets axlev1.SidecarFleetList
	var versions axlev1.SidecarVersionList
	for _, list := range []client.ObjectList{&fleets, &versions} {
		if err := c.List(ctx, list); meta.IsNoMatchError(err) {
			return nil, errors.New("the cluster knows no SidecarFleets: Axle is not installed there, or the context is another cluster's")
		} else if err != nil {
			return nil, fmt.Errorf("read SidecarFleets and SidecarVersions: %w", err)
		}
	}
	return &report.Cluster{Fleets: fleets.Items, Versions: versions.Items, OperatorNamespace: s.operatorNamespace, Now: s.Clock.Now()}, nil
}

// readAll reads the fleets and the pods: of the namespace that -n names, or of all.
func (s *shell) readAll(ctx context.Context) (*report.Cluster, error) {
	c, _, err := s.connect()
	if err != nil {
		return nil, err
	}
	seen, err := s.readFleets(ctx, c)
	if err != nil {
		return nil, err
	}
	var in []client.ListOption
	if only := s.overrides.Context.Namespace; only != "" {
		in = append(in, client.InNamespace(only))
		if err := readNamespace(ctx, c, seen, only); err != nil {
			return nil, err
		}
	} else {
		var namespaces corev1.NamespaceList
		if err := c.List(ctx, &namespaces); err != nil {
			return nil, fmt.Errorf("read all namespaces (-n NAMESPACE reads one): %w", err)
		}
		seen.Namespaces = namespaces.Items
	}
	var pods corev1.PodList
	if err := c.List(ctx, &pods, in...); err != nil {
		return nil, fmt.Errorf("read pods: %w", err)
	}
	seen.Pods = pods.Items
	return seen, nil
}

func readNamespace(ctx context.Context, c client.Client, seen *report.Cluster, name string) error {
	var ns corev1.Namespace
	switch err := c.Get(ctx, client.ObjectKey{Name: name}, &ns); {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("no namespace %q", name)
	case err != nil:
		return fmt.Errorf("read namespace %q: %w", name, err)
	}
	seen.Namespaces = append(seen.Namespaces, ns)
	return nil
}

// readPod reads a pod of the current namespace, and what explains it.
func (s *shell) readPod(ctx context.Context, name string) (*report.Cluster, *corev1.Pod, error) {
	c, namespace, err := s.connect()
	if err != nil {
		return nil, nil, err
	}
	seen, err := s.readFleets(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	if err := readNamespace(ctx, c, seen, namespace); err != nil {
		return nil, nil, err
	}
	pod := &corev1.Pod{}
	switch err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pod); {
	case apierrors.IsNotFound(err):
		return nil, nil, noPod(ctx, c, namespace, name)
	case err != nil:
		return nil, nil, fmt.Errorf("read pod %s/%s: %w", namespace, name, err)
	}
	return seen, pod, nil
}

// mostNames is how many names an error suggests.
const mostNames = 10

// noPod says that there is no such pod, and which ones may be meant: those whose names begin so, and the same name elsewhere. What it
// may not read it does not suggest.
func noPod(ctx context.Context, c client.Client, namespace, name string) error {
	var here, elsewhere corev1.PodList
	var names []string
	if err := c.List(ctx, &here, client.InNamespace(namespace)); err == nil {
		for i := range here.Items {
			if strings.HasPrefix(here.Items[i].Name, name) {
				names = append(names, here.Items[i].Name)
			}
		}
	}
	slices.Sort(names)
	if more := len(names) - mostNames; more > 0 {
		names = append(names[:mostNames], fmt.Sprintf("and %d more", more))
	}
	if len(names) > 0 {
		return fmt.Errorf("no pod %q in namespace %q; these begin so: %s", name, namespace, strings.Join(names, ", "))
	}
	if err := c.List(ctx, &elsewhere, client.MatchingFields{"metadata.name": name}); err == nil {
		for i := range elsewhere.Items {
			names = append(names, elsewhere.Items[i].Namespace)
		}
	}
	slices.Sort(names)
	if len(names) > 0 {
		return fmt.Errorf("no pod %q in namespace %q; there is one in %s: use -n", name, namespace, strings.Join(names, ", "))
	}
	return fmt.Errorf("no pod %q in namespace %q (-n names another)", name, namespace)
}

// change carries out a rollout command on the fleet that was named.
func (s *shell) change(ctx context.Context, args []string, decide func(*report.Cluster, *axlev1.SidecarFleet) (report.Change, error)) error {
	c, _, err := s.connect()
	if err != nil {
		return err
	}
	seen, err := s.readFleets(ctx, c)
	if err != nil {
		return err
	}
	fleet, err := pick(seen, args)
	if err != nil {
		return err
	}
	change, err := decide(seen, fleet)
	if err != nil {
		return err
	}
	if change.Patch != nil {
		if err := send(ctx, c, fleet, change.Patch); err != nil {
			return err
		}
	}
	for _, line := range change.Said {
		fmt.Fprintln(s.Out, line)
	}
	return nil
}

// send patches the fleet. A version that someone else changed since it was read is said so: the patch tests for it.
func send(ctx context.Context, c client.Client, fleet *axlev1.SidecarFleet, patch []byte) error {
	version := fleet.Spec.Version
	err := c.Patch(ctx, fleet.DeepCopy(), client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(manager))
	if err == nil {
		return nil
	}
	var now axlev1.SidecarFleet
	if again := c.Get(ctx, client.ObjectKeyFromObject(fleet), &now); again == nil && now.Spec.Version != version {
		return fmt.Errorf("nothing was changed: meanwhile someone changed the version of SidecarFleet %s from %s to %s", fleet.Name, version, now.Spec.Version)
	}
	return fmt.Errorf("patch SidecarFleet %s: %w", fleet.Name, err)
}
