package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/axlemesh/axle/hack/cluster/netns"
	"github.com/axlemesh/axle/hack/cluster/proc"
	"github.com/axlemesh/axle/hack/cluster/progress"
	"github.com/axlemesh/axle/hack/cluster/settings"
)

const modulePath = "github.com/axlemesh/axle"

// start runs daemons inside the namespaces; those that run already stay.
func (c *Cluster) start(names ...string) error {
	holder, err := c.holder()
	if err != nil {
		return err
	}
	for _, name := range names {
		line := c.layout.Command(name)
		if line == nil {
			return fmt.Errorf("start %s: no such daemon", name)
		}
		spec := proc.Spec{Name: name, Args: settings.Enter(holder, line...), Env: c.env(), Dir: c.layout.State}
		if _, err := c.table.Start(spec); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) startAPI(ctx context.Context) error {
	if err := c.start(settings.Containerd, settings.Etcd); err != nil {
		return err
	}
	err := c.await(ctx, 30*time.Second, []string{settings.Etcd}, c.dialable("127.0.0.1:2379"))
	if err != nil {
		return err
	}
	if err := c.start(settings.APIServer); err != nil {
		return err
	}
	client, err := c.Client()
	if err != nil {
		return err
	}
	names := []string{settings.Etcd, settings.APIServer, settings.Relay}
	return c.await(ctx, 2*time.Minute, names, func(ctx context.Context) error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

func (c *Cluster) startRest(ctx context.Context) error {
	if err := c.containerdAnswers(ctx); err != nil {
		return err
	}
	return c.start(settings.Kubelet, settings.Proxy, settings.DNS, settings.ControllerManager, settings.Scheduler)
}

// waitReady waits until a pod can be created, runs, and finds others by name.
func (c *Cluster) waitReady(ctx context.Context) error {
	client, err := c.Client()
	if err != nil {
		return err
	}
	names := slices.DeleteFunc(settings.Daemons(), func(n string) bool { return n == settings.Holder })
	for _, check := range []func(context.Context) error{
		func(ctx context.Context) error {
			node, err := client.CoreV1().Nodes().Get(ctx, c.layout.Node, metav1.GetOptions{})
			if err != nil {
				return err
			}
			return nodeReady(node)
		},
		func(ctx context.Context) error {
			_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
			return err
		},
		c.resolves,
	} {
		if err := c.await(ctx, 2*time.Minute, names, check); err != nil {
			return err
		}
	}
	return nil
}

// nodeReady explains why a node cannot run pods yet.
func nodeReady(node *corev1.Node) error {
	for _, taint := range node.Spec.Taints {
		if taint.Effect != corev1.TaintEffectPreferNoSchedule {
			return fmt.Errorf("node %s has taint %s", node.Name, taint.Key)
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status == corev1.ConditionTrue {
			return nil
		}
		return fmt.Errorf("node %s is not ready: %s", node.Name, condition.Message)
	}
	return fmt.Errorf("node %s has not reported yet", node.Name)
}

// resolves asks DNS, by its Service, for the apiserver's.
func (c *Cluster) resolves(ctx context.Context) error {
	holder, err := c.holder()
	if err != nil {
		return err
	}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return netns.Dial(ctx, netns.Of(holder), network, settings.DNSService+":53")
	}}
	addresses, err := resolver.LookupHost(ctx, "kubernetes.default.svc."+settings.Domain+".")
	if err != nil {
		return err
	}
	if !slices.Contains(addresses, settings.APIService) {
		return fmt.Errorf("DNS answers %v for the apiserver, want %s", addresses, settings.APIService)
	}
	return nil
}

// dialable checks that something listens at an address inside.
func (c *Cluster) dialable(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := c.DialContext(ctx, "tcp4", address)
		if err == nil {
			err = conn.Close()
		}
		return err
	}
}

// await repeats check until it succeeds. It gives up at the limit, and at once
// when one of the named processes has ended.
func (c *Cluster) await(
	ctx context.Context, limit time.Duration, names []string, check func(context.Context) error,
) error {
	var last error
	err := progress.Poll(ctx, c.options.Clock, 100*time.Millisecond, limit, func() (bool, error) {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if last = check(try); last == nil {
			return true, nil
		}
		for _, name := range names {
			r, err := c.table.Find(name)
			if err != nil {
				return false, err
			}
			if !r.Alive() {
				return false, fmt.Errorf("%s has ended; %s", name, c.tail(name))
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", names, errors.Join(err, last))
	}
	return nil
}
