package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/hack/demo/story"
	"github.com/axlemesh/axle/hack/peers/boltserver"
)

// attempts of one question to a pod. The questions are the audience's; what is measured is never asked twice.
const attempts = 3

// Observe looks at every pod, through the API server.
func (s *Scene) Observe(ctx context.Context) (story.Observation, error) {
	pods, err := s.list(ctx)
	if err != nil {
		return story.Observation{}, err
	}
	o := story.Observation{Pods: make([]story.Pod, len(pods))}
	if o.Trouble, o.RolledBack, err = s.fleetSays(ctx); err != nil {
		return story.Observation{}, err
	}
	if o.Programmed, err = s.programmed(ctx); err != nil {
		return story.Observation{}, err
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, p := range pods {
		g.Go(func() error {
			var err error
			o.Pods[i], err = s.lookAt(ctx, p)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return story.Observation{}, err
	}
	slices.SortFunc(o.Pods, func(a, b story.Pod) int { return strings.Compare(a.Name, b.Name) })
	return o, nil
}

// lookAt combines what Kubernetes says about a pod with what its application says.
func (s *Scene) lookAt(ctx context.Context, p corev1.Pod) (story.Pod, error) {
	out := facts(p)
	if out.Added && !allReady([]corev1.Pod{p}) { // it is coming up, or the next look finds it gone
		out.Mesh.Problem = "the pod is not ready"
		return out, nil
	}
	if err := s.ask(ctx, "GET", p.Name, "mesh", "", &out.Mesh); err != nil {
		return out, err
	}
	if name := p.Labels[nameLabel]; name == serverName || name == shopName {
		out.Server = &boltserver.Report{}
		return out, s.ask(ctx, "GET", p.Name, "report", "", out.Server)
	}
	out.Client = &story.Client{}
	if err := s.ask(ctx, "GET", p.Name, "report", "", &out.Client.Report); err != nil {
		return out, err
	}
	return out, s.ask(ctx, "GET", p.Name, "connections", "", &out.Client.Connections)
}

// facts are what Kubernetes says about a pod.
func facts(p corev1.Pod) story.Pod {
	out := story.Pod{Name: p.Name, UID: string(p.UID), IP: p.Status.PodIP, Node: p.Spec.NodeName}
	out.Ruled = p.Labels[nameLabel] == serverName
	out.Added = out.Ruled && p.Labels[versionLabel] == versionNew
	for _, c := range p.Status.ContainerStatuses {
		out.Container = c.ContainerID
		out.Restarts += int(c.RestartCount)
	}
	for _, c := range p.Status.InitContainerStatuses {
		if c.Name == axlev1.SlotA || c.Name == axlev1.SlotB {
			out.Sidecars = append(out.Sidecars, story.Sidecar{Name: c.Name, Slot: true, Running: c.State.Running != nil})
		}
	}
	known := map[string]corev1.ContainerStatus{}
	for _, c := range p.Status.EphemeralContainerStatuses {
		known[c.Name] = c
	}
	for _, c := range p.Spec.EphemeralContainers {
		if !strings.HasPrefix(c.Name, axlev1.InPlacePrefix) {
			continue
		}
		sc := story.Sidecar{Name: c.Name, Running: known[c.Name].State.Running != nil}
		if t := known[c.Name].State.Terminated; t != nil {
			sc.Ended, sc.ExitCode, sc.Reason = true, int(t.ExitCode), t.Reason
		}
		out.Sidecars = append(out.Sidecars, sc)
	}
	return out
}

// Enter tells every client to count latencies in another window.
func (s *Scene) Enter(ctx context.Context, window string) error {
	return s.tellClients(ctx, "window", window)
}

// Pause stops the load of every client.
func (s *Scene) Pause(ctx context.Context) error { return s.tellClients(ctx, "pause", "") }

func (s *Scene) tellClients(ctx context.Context, command, name string) error {
	g, ctx := errgroup.WithContext(ctx)
	tell := func(pod string, pods int) {
		for i := range pods {
			g.Go(func() error {
				var ignored json.RawMessage
				return s.ask(ctx, "POST", fmt.Sprintf("%s-%d", pod, i), command, name, &ignored)
			})
		}
	}
	tell(clientName, replicas)
	tell(visitorName, visitors)
	return g.Wait()
}

// ask puts one question to a pod's application, through the API server.
func (s *Scene) ask(ctx context.Context, method, pod, path, name string, answer any) error {
	var err error
	for range attempts {
		req := s.core.CoreV1().RESTClient().Verb(method).Namespace(s.Name).Resource("pods").
			Name(fmt.Sprintf("%s:%d", pod, webPort)).SubResource("proxy").Suffix(path).Timeout(10 * time.Second)
		if name != "" {
			req = req.Param("name", name)
		}
		var body []byte
		if body, err = req.DoRaw(ctx); err == nil {
			if err = json.Unmarshal(body, answer); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.cfg.Clock.After(200 * time.Millisecond):
		}
	}
	return fmt.Errorf("ask pod %s/%s for %s: %w", s.Name, pod, path, err)
}
