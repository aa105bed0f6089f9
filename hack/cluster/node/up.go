package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/axlemesh/axle/hack/cluster/binaries"
	"github.com/axlemesh/axle/hack/cluster/pki"
	"github.com/axlemesh/axle/hack/cluster/proc"
	"github.com/axlemesh/axle/hack/cluster/progress"
	"github.com/axlemesh/axle/hack/cluster/settings"
	"github.com/axlemesh/axle/hack/image/oci"
)

// The first ports that are tried on the host's loopback.
const (
	firstAPIPort      = 16443
	firstRegistryPort = 15000
)

// step is one named part of bringing a cluster up. Each can be repeated.
type step struct {
	name string
	run  func(context.Context) error
}

// Up starts the cluster, or finishes and repairs one that is there, and returns
// when its node is Ready and its DNS answers. It builds and installs whatever
// the machine lacks; that takes minutes the first time.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	if err := require(ctx, o); err != nil {
		return nil, err
	}
	unlock, err := lock(o)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c, err := Open(o)
	if errors.Is(err, ErrDown) {
		c, err = create(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	for _, s := range c.steps() {
		err := progress.Step(o.Out, o.Clock, s.name, nil, func() error { return s.run(ctx) })
		if err != nil {
			return nil, fmt.Errorf("start cluster %q: %s: %w", o.Name, s.name, err)
		}
	}
	return c, nil
}

func (c *Cluster) steps() []step {
	return []step{
		{"start the relay and the image registry", c.startRelay},
		{"start etcd, containerd and the apiserver", c.startAPI},
		{"publish the pause image", c.publishPause},
		{"create the node and the DNS objects", c.createObjects},
		{"start the controllers, kube-proxy, DNS and the kubelet", c.startRest},
		{"wait for the node, DNS and the default service account", c.waitReady},
	}
}

// create lays out a new cluster and starts its namespaces.
func create(ctx context.Context, o Options) (*Cluster, error) {
	if _, err := os.Stat(o.state()); err == nil {
		fmt.Fprintf(o.Out, "clear the remains of cluster %q in %s\n", o.Name, o.state())
		if err := clean(ctx, o); err != nil {
			return nil, err
		}
	}
	builder := binaries.Builder{Out: o.Out, Clock: o.Clock}
	if o.Source != "" {
		builder.Source = filepath.Join(o.Source, "hack", "cluster", "binaries")
	}
	programs, err := builder.Folder(ctx, "node-"+binaries.KubernetesVersion, binaries.NodePrograms()...)
	if err != nil {
		return nil, err
	}
	l := settings.Layout{
		Name: o.Name, Node: o.Node, State: o.state(), Programs: programs,
		Runc: runc.Find(), CNI: filepath.Dir(plugins.Find()), Gates: o.FeatureGates,
	}
	if l.APIPort, err = freePort(ctx, firstAPIPort); err != nil {
		return nil, err
	}
	if l.RegistryPort, err = freePort(ctx, firstRegistryPort); err != nil {
		return nil, err
	}
	c, err := newCluster(o, l)
	if err != nil {
		return nil, err
	}
	err = progress.Step(o.Out, o.Clock, "write certificates and configuration to "+l.State, nil, c.write)
	if err != nil {
		return nil, err
	}
	err = progress.Step(o.Out, o.Clock, "make namespaces and cgroups", nil, func() error { return c.isolate(ctx) })
	if err != nil {
		return nil, err
	}
	return c, nil
}

// write lays out the state folder.
func (c *Cluster) write() error {
	l := c.layout
	for _, dir := range l.Folders() {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("lay out %s: %w", l.State, err)
		}
	}
	if err := writeLayout(c.options, l); err != nil {
		return err
	}
	subjects := pki.Subjects(l.Node, []string{l.Node, settings.NodeAddress},
		[]string{settings.NodeAddress, settings.APIService})
	if err := pki.WriteAll(l.Dir("pki"), subjects, c.options.Clock.Now()); err != nil {
		return err
	}
	for _, name := range []string{"admin", settings.ControllerManager, settings.Scheduler, settings.Proxy, settings.DNS, settings.Kubelet} {
		server := l.InnerServer()
		if name == "admin" {
			server = l.Server()
		}
		if err := pki.WriteKubeconfig(l.Kubeconfig(name), "axle-"+l.Name, server, l.Dir("pki"), name); err != nil {
			return err
		}
	}
	for _, f := range l.Files() {
		if err := os.WriteFile(f.Path, []byte(f.Data), os.FileMode(f.Mode)); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

// isolate makes the cgroups and the namespaces that everything else lives in.
func (c *Cluster) isolate(ctx context.Context) error {
	hierarchies, err := proc.Hierarchies()
	if err != nil {
		return err
	}
	members, err := proc.Members(hierarchies, c.layout.Cgroup())
	if err != nil {
		return err
	}
	if len(members) > 0 {
		return fmt.Errorf("cgroup %s is in use by processes %v that no state describes; `down` ends them",
			c.layout.Cgroup(), members)
	}
	for _, path := range []string{c.layout.DaemonCgroup(), c.layout.PodCgroup()} {
		if err := proc.MakeCgroup(hierarchies, path); err != nil {
			return err
		}
	}
	holder, err := c.table.Start(proc.Spec{Name: settings.Holder, Args: c.layout.HolderCommand(), Env: c.env()})
	if err != nil {
		return err
	}
	ready := c.layout.Dir("namespace.ready")
	err = proc.Wait(ctx, c.options.Clock, 10*time.Second, func() bool {
		_, err := os.Stat(ready)
		return err == nil || !holder.Alive()
	})
	if _, missing := os.Stat(ready); err != nil || missing != nil {
		return fmt.Errorf("set up the namespaces: %w\n%s", errors.Join(err, missing), c.tail(settings.Holder))
	}
	return nil
}

// startRelay builds the relay and runs it on the host.
func (c *Cluster) startRelay(ctx context.Context) error {
	holder, err := c.holder()
	if err != nil {
		return err
	}
	line := c.layout.RelayCommand(holder)
	if _, err := os.Stat(line[0]); err != nil {
		data, err := oci.Compile(ctx, c.options.Source, modulePath+"/hack/cluster/relay", "")
		if err != nil {
			return err
		}
		if err := os.WriteFile(line[0], data, 0o755); err != nil {
			return fmt.Errorf("write the relay: %w", err)
		}
	}
	if _, err := c.table.Start(proc.Spec{Name: settings.Relay, Args: line, Env: c.env()}); err != nil {
		return err
	}
	return c.await(ctx, 10*time.Second, []string{settings.Relay}, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", c.registry)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// publishPause pushes the image of pod sandboxes, the first that is pulled.
func (c *Cluster) publishPause(ctx context.Context) error {
	image, err := oci.Program(ctx, c.options.Source, modulePath+"/hack/cluster/pause", "pause", "")
	if err != nil {
		return err
	}
	_, err = oci.Push(ctx, c.layout.PauseImage(), image)
	return err
}

// lock keeps two callers from changing one cluster at the same time.
func lock(o Options) (unlock func(), err error) {
	if err := os.MkdirAll(o.Root, 0o755); err != nil {
		return nil, fmt.Errorf("lock cluster %q: %w", o.Name, err)
	}
	file, err := os.OpenFile(filepath.Join(o.Root, "."+o.Name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock cluster %q: %w", o.Name, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		fmt.Fprintf(o.Out, "another process is changing cluster %q; waiting for it\n", o.Name)
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
			return nil, errors.Join(fmt.Errorf("lock cluster %q: %w", o.Name, err), file.Close())
		}
	}
	return func() { _ = file.Close() }, nil // closing releases the lock
}

// freePort returns the first of ten ports on the loopback that nobody listens on.
func freePort(ctx context.Context, first int) (int, error) {
	var errs []error
	for port := first; port < first+10; port++ {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, l.Close()
		}
		errs = append(errs, err)
	}
	return 0, fmt.Errorf("find a free port from %d: %w", first, errors.Join(errs...))
}

// tail returns the end of a process's log.
func (c *Cluster) tail(name string) string {
	data, err := os.ReadFile(c.table.Log(name))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	lines = slices.Clone(lines[max(0, len(lines)-15):])
	return fmt.Sprintf("the end of %s:\n%s", c.table.Log(name), strings.Join(lines, "\n"))
}
