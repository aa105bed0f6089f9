package stage

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// Scene is the application in a namespace of its own. It is what a story looks at and acts on.
type Scene struct {
	*Stage
	Name string
}

// Open creates the namespace and the application's pods and waits until they are ready, servers before clients, so that
// the connections spread over all servers. It sets the fleet's version first, so that every scene begins alike.
func (s *Stage) Open(ctx context.Context, namespaceName string) (*Scene, error) {
	if err := s.rewind(ctx); err != nil {
		return nil, err
	}
	sc := &Scene{Stage: s, Name: namespaceName}
	if err := sc.Close(ctx); err != nil { // a cluster that was kept still has the last one
		return nil, err
	}
	if err := sc.create(ctx, namespace(namespaceName)); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		what    string
		objects []client.Object
		pods    int
	}{
		{"the servers are ready", []client.Object{
			service(), servers(serverName, versionOld, s.images.peers, replicas), servers(grownName, versionNew, s.images.peers, 0),
			shop(), shopServers(s.images.peers),
		}, replicas + shopReplicas},
		{"the clients are ready", []client.Object{clients(s.images.peers, namespaceName), shopVisitors(s.images.peers, namespaceName)}, Pods},
	} {
		for _, obj := range part.objects {
			obj.SetNamespace(namespaceName)
			if err := sc.create(ctx, obj); err != nil {
				return nil, err
			}
		}
		err := s.poll(ctx, part.what, func() (bool, error) {
			pods, err := sc.list(ctx)
			return len(pods) == part.pods && allReady(pods), err
		})
		if err != nil {
			return nil, err
		}
	}
	return sc, nil
}

func (s *Stage) create(ctx context.Context, obj client.Object) error {
	if err := s.kinds.Create(ctx, obj); err != nil {
		return fmt.Errorf("create %T %s: %w", obj, obj.GetName(), err)
	}
	return nil
}

// rewind sets the fleet back to the first version and waits until it is the current one, or until there is none, as in a fleet that has had no pods.
func (s *Stage) rewind(ctx context.Context) error {
	first := s.cfg.Versions[0].Name
	if err := s.SetVersion(ctx, first); err != nil {
		return err
	}
	return s.poll(ctx, "the fleet is at "+first, func() (bool, error) {
		f, err := s.fleet(ctx)
		if err != nil {
			return false, err
		}
		current := f.Status.CurrentVersion
		return (current == first || current == "") && f.Status.ObservedGeneration == f.Generation, nil
	})
}

// Close deletes the namespace and waits until it is gone.
func (s *Scene) Close(ctx context.Context) error {
	if err := client.IgnoreNotFound(s.kinds.Delete(ctx, namespace(s.Name))); err != nil {
		return fmt.Errorf("delete namespace %s: %w", s.Name, err)
	}
	return s.poll(ctx, "namespace "+s.Name+" is gone", func() (bool, error) {
		_, err := s.core.CoreV1().Namespaces().Get(ctx, s.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

// Join labels the namespace.
func (s *Scene) Join(ctx context.Context) error {
	return s.label(ctx, fmt.Sprintf("%q", axlev1.InjectionEnabled))
}

// Leave takes the label away.
func (s *Scene) Leave(ctx context.Context) error { return s.label(ctx, "null") }

// Upgrade patches the fleet.
func (s *Scene) Upgrade(ctx context.Context, version string) error { return s.SetVersion(ctx, version) }

func (s *Scene) label(ctx context.Context, value string) error {
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, axlev1.InjectionLabel, value)
	_, err := s.core.CoreV1().Namespaces().Patch(ctx, s.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("label namespace %s: %w", s.Name, err)
	}
	return nil
}

// list returns the application's pods by name, without those that are being deleted.
func (s *Scene) list(ctx context.Context) ([]corev1.Pod, error) {
	all, err := s.core.CoreV1().Pods(s.Name).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=" + partOf})
	if err != nil {
		return nil, fmt.Errorf("list the pods of %s: %w", s.Name, err)
	}
	var out []corev1.Pod
	for _, p := range all.Items {
		if p.DeletionTimestamp == nil {
			out = append(out, p)
		}
	}
	return out, nil
}

func allReady(pods []corev1.Pod) bool {
	for _, p := range pods {
		ready := false
		for _, c := range p.Status.Conditions {
			ready = ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}
		if !ready {
			return false
		}
	}
	return true
}
