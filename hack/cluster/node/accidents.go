package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/axlemesh/axle/hack/cluster/proc"
	"github.com/axlemesh/axle/hack/cluster/settings"
)

// shim is the program that stands between containerd and one pod's containers.
const shim = "containerd-shim-runc-v2"

// KillContainer kills all processes of a container at once, as the kernel does
// when its memory has run out. The ID may have a scheme ("containerd://...").
func (c *Cluster) KillContainer(ctx context.Context, id string) error {
	if !c.Owned() {
		return fmt.Errorf("kill container %s: %w", id, ErrNotOwned)
	}
	paths, err := c.cgroups(isContainer(id))
	if err != nil {
		return err
	}
	if len(paths) != 1 {
		return fmt.Errorf("kill container %q: %d containers of that ID run", id, len(paths))
	}
	return c.killCgroup(ctx, paths[0])
}

// KillSandbox kills the process that holds a pod's namespaces. The kubelet then
// ends all of the pod's containers and makes the pod's sandbox anew.
func (c *Cluster) KillSandbox(ctx context.Context, podUID string, containers ...string) error {
	if !c.Owned() {
		return fmt.Errorf("kill the sandbox of pod %s: %w", podUID, ErrNotOwned)
	}
	paths, err := c.cgroups(isSandbox(podUID, containers))
	if err != nil {
		return err
	}
	if len(paths) != 1 {
		return fmt.Errorf("kill the sandbox of pod %s: %d cgroups with processes are none of its containers, want 1", podUID, len(paths))
	}
	return c.killCgroup(ctx, paths[0])
}

// Reboot does to the node what a power failure does: every process of every pod
// and the node's own programs are killed, then the programs start again. Files
// stay. The control plane is not touched: it counts as another machine. Reboot
// returns when the kubelet answers; its pods are still on their way up then.
func (c *Cluster) Reboot(ctx context.Context) error {
	if !c.Owned() {
		return fmt.Errorf("reboot the node: %w", ErrNotOwned)
	}
	programs := []string{settings.Kubelet, settings.Containerd, settings.Proxy, settings.DNS}
	for _, name := range programs {
		if err := c.Kill(ctx, name); err != nil {
			return fmt.Errorf("reboot the node: %w", err)
		}
	}
	if err := errors.Join(c.killCgroup(ctx, c.layout.PodCgroup()), c.killShims(ctx)); err != nil {
		return fmt.Errorf("reboot the node: %w", err)
	}
	if err := c.start(settings.Containerd); err != nil {
		return fmt.Errorf("reboot the node: %w", err)
	}
	if err := errors.Join(c.startRest(ctx), c.kubeletAnswers(ctx)); err != nil {
		return fmt.Errorf("reboot the node: %w", err)
	}
	return nil
}

// CrashAPIServer kills the apiserver, leaves it down for a while, starts it
// again and returns when it is ready.
func (c *Cluster) CrashAPIServer(ctx context.Context, down time.Duration) error {
	if err := c.Kill(ctx, settings.APIServer); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return errors.Join(ctx.Err(), c.start(settings.APIServer))
	case <-c.options.Clock.After(down):
	}
	if err := c.startAPI(ctx); err != nil {
		return fmt.Errorf("start the apiserver again: %w", err)
	}
	return nil
}

// cgroups lists the cgroups of pods and containers that have processes and that
// match. One hierarchy is enough: a container is in all of them.
func (c *Cluster) cgroups(match func(path string) bool) ([]string, error) {
	hierarchies, err := proc.Hierarchies()
	if err != nil {
		return nil, err
	}
	return populated(hierarchies[0].Path, c.layout.PodCgroup(), match)
}

// populated lists the cgroups below path that match and have processes of their
// own, as paths from the hierarchy's root.
func populated(root, path string, match func(path string) bool) ([]string, error) {
	var out []string
	err := filepath.WalkDir(filepath.Join(root, path), func(dir string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // it has just ended
			return nil
		}
		if err != nil || !d.IsDir() || !match(dir) {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err == nil && len(bytes.TrimSpace(data)) > 0 {
			out = append(out, strings.TrimPrefix(dir, root))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for cgroups below %s: %w", path, err)
	}
	return out, nil
}

// isContainer matches the cgroup of a container; the ID may have a scheme.
func isContainer(id string) func(path string) bool {
	_, bare, found := strings.Cut(id, "://")
	if !found {
		bare = id
	}
	return func(path string) bool { return bare != "" && filepath.Base(path) == bare }
}

// isSandbox matches the cgroup of what is in a pod and is none of its containers.
func isSandbox(podUID string, containers []string) func(path string) bool {
	return func(path string) bool {
		return podUID != "" && filepath.Base(filepath.Dir(path)) == "pod"+podUID &&
			!slices.ContainsFunc(containers, func(id string) bool { return isContainer(id)(path) })
	}
}

// killCgroup kills every process in a cgroup and below it, also those that are
// started meanwhile, and returns when there are none.
func (c *Cluster) killCgroup(ctx context.Context, path string) error {
	hierarchies, err := proc.Hierarchies()
	if err != nil {
		return err
	}
	return c.killAll(ctx, path, func() ([]int, error) { return proc.Members(hierarchies[:1], path) })
}

// killShims kills the containers' shims, which live among the cluster's own
// processes and are children of nobody that is recorded.
func (c *Cluster) killShims(ctx context.Context) error {
	hierarchies, err := proc.Hierarchies()
	if err != nil {
		return err
	}
	path := c.layout.DaemonCgroup()
	return c.killAll(ctx, "the shims in "+path, func() ([]int, error) {
		all, err := proc.Members(hierarchies[:1], path)
		return slices.DeleteFunc(all, func(pid int) bool { return !runs(pid, shim) }), err
	})
}

// killAll kills what list lists until it lists nothing.
func (c *Cluster) killAll(ctx context.Context, what string, list func() ([]int, error)) error {
	var last error
	err := proc.Wait(ctx, c.options.Clock, 20*time.Second, func() bool {
		pids, err := list()
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // already gone is what we want
		}
		last = err
		return err == nil && len(pids) == 0
	})
	if err != nil {
		return fmt.Errorf("kill the processes of %s: %w", what, errors.Join(err, last))
	}
	return nil
}

// containerdAnswers waits until containerd accepts connections.
func (c *Cluster) containerdAnswers(ctx context.Context) error {
	return c.await(ctx, time.Minute, []string{settings.Containerd}, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.layout.ContainerdSocket())
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}
