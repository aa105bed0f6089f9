package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/axlemesh/axle/hack/cluster/netns"
	"github.com/axlemesh/axle/hack/cluster/proc"
	"github.com/axlemesh/axle/hack/cluster/settings"
	"github.com/axlemesh/axle/hack/image/oci"
)

// ErrDown means that the cluster does not run.
var ErrDown = errors.New("the cluster is down; `go run ./hack/cluster up` starts it")

// ErrNotOwned means that a cluster belongs to the user: its node is not ours to touch.
var ErrNotOwned = errors.New("not possible on the user's own cluster")

// Cluster is a running cluster: ours, or the user's own (see Existing).
type Cluster struct {
	layout     settings.Layout
	table      proc.Table
	options    Options
	existing   *rest.Config // of the user's own cluster, whose context may change later; nil if it is ours
	kubeconfig string
	registry   string
}

// Open returns our cluster if it runs, and else ErrDown.
func Open(o Options) (*Cluster, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	layout, err := readLayout(o)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrDown
	}
	if err != nil {
		return nil, err
	}
	c, err := newCluster(o, layout)
	if err != nil {
		return nil, err
	}
	holder, err := c.table.Find(settings.Holder)
	if err != nil {
		return nil, err
	}
	if !holder.Alive() {
		return nil, ErrDown
	}
	return c, nil
}

func newCluster(o Options, l settings.Layout) (*Cluster, error) {
	hierarchies, err := proc.Hierarchies()
	if err != nil {
		return nil, err
	}
	return &Cluster{
		layout:     l,
		options:    o,
		kubeconfig: l.Kubeconfig("admin"),
		registry:   l.Registry(),
		table: proc.Table{
			Dir:  l.Dir("procs"),
			Logs: l.Dir("logs"),
			// One hierarchy is enough to find them all again.
			Cgroup: []string{filepath.Join(hierarchies[0].Path, l.DaemonCgroup())},
			Clock:  o.Clock,
		},
	}, nil
}

// Owned reports whether the cluster is ours, so that its node can be disturbed.
func (c *Cluster) Owned() bool { return c.existing == nil }

// Kubeconfig is the path of an administrator's kubeconfig that works on the host.
func (c *Cluster) Kubeconfig() string { return c.kubeconfig }

// Registry is where images are pushed to and pulled from: host:port, or for the
// user's own cluster whatever REGISTRY says. Our own is the same address on the
// host and on the node; pods reach it at the node's address and the same port.
func (c *Cluster) Registry() string { return c.registry }

// Node is the node's name; it is empty for the user's own cluster.
func (c *Cluster) Node() string { return c.layout.Node }

// Programs is the folder with kubectl, ctr and the others, as built; it is
// empty for the user's own cluster.
func (c *Cluster) Programs() string { return c.layout.Programs }

// RESTConfig returns a client configuration without client-side rate limits.
func (c *Cluster) RESTConfig() (*rest.Config, error) {
	if !c.Owned() {
		return rest.CopyConfig(c.existing), nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %q: %w", c.kubeconfig, err)
	}
	config.QPS = -1
	return config, nil
}

// Client returns a client for the apiserver.
func (c *Cluster) Client() (kubernetes.Interface, error) {
	config, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	return client, nil
}

// Push builds the images (one for each architecture) and pushes them as
// repository:tag to the registry. It returns the reference by digest.
func (c *Cluster) Push(ctx context.Context, repository string, images ...oci.Image) (string, error) {
	return oci.Push(ctx, c.registry+"/"+repository, images...)
}

// DialContext connects to an IP address and port from inside the cluster's
// network: pod addresses, Service addresses, the node.
func (c *Cluster) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if !c.Owned() {
		return nil, fmt.Errorf("dial %s inside: %w", address, ErrNotOwned)
	}
	holder, err := c.holder()
	if err != nil {
		return nil, err
	}
	return netns.Dial(ctx, netns.Of(holder), network, address)
}

// Command prepares a command that runs on the node: in the cluster's network
// and mount namespaces, with the programs in its PATH.
func (c *Cluster) Command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	if !c.Owned() {
		return nil, fmt.Errorf("run %s on the node: %w", name, ErrNotOwned)
	}
	holder, err := c.holder()
	if err != nil {
		return nil, err
	}
	line := settings.Enter(holder, append([]string{name}, args...)...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(c.env(), "KUBECONFIG="+c.kubeconfig, "CONTAINERD_ADDRESS="+c.layout.ContainerdSocket(),
		"CONTAINERD_NAMESPACE=k8s.io")
	return cmd, nil
}

func (c *Cluster) holder() (int, error) {
	r, err := c.table.Find(settings.Holder)
	if err != nil {
		return 0, err
	}
	if !r.Alive() {
		return 0, ErrDown
	}
	return r.PID, nil
}

// env is the complete environment of every process inside.
func (c *Cluster) env() []string {
	return []string{
		"PATH=" + c.layout.Programs + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + c.layout.State,
	}
}

func layoutFile(o Options) string { return filepath.Join(o.state(), "cluster.json") }

func readLayout(o Options) (settings.Layout, error) {
	var l settings.Layout
	data, err := os.ReadFile(layoutFile(o))
	if err != nil {
		return l, fmt.Errorf("read the state of cluster %q: %w", o.Name, err)
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("read the state of cluster %q: %w", o.Name, err)
	}
	return l, nil
}

func writeLayout(o Options, l settings.Layout) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("write the state of cluster %q: %w", o.Name, err)
	}
	if err := os.WriteFile(layoutFile(o), data, 0o644); err != nil {
		return fmt.Errorf("write the state of cluster %q: %w", o.Name, err)
	}
	return nil
}
