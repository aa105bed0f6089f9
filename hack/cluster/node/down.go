package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/hack/cluster/proc"
	"github.com/axlemesh/axle/hack/cluster/progress"
	"github.com/axlemesh/axle/hack/cluster/settings"
)

// Down ends a cluster and removes every trace of it: its recorded processes,
// its containers (which live in its cgroup), the cgroup, and its state. The
// network and the mounts go with the namespaces' last process. It works the
// same after a half-failed Up, after processes were killed, and after a reboot;
// a cluster that is not there is fine.
func Down(ctx context.Context, o Options) error {
	o, err := o.complete()
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("end a cluster: its processes belong to root; run it as root")
	}
	unlock, err := lock(o)
	if err != nil {
		return err
	}
	defer unlock()
	return progress.Step(o.Out, o.Clock, fmt.Sprintf("end cluster %q", o.Name), nil, func() error { return clean(ctx, o) })
}

// clean needs no more than the state folder's name and what is left in it.
func clean(ctx context.Context, o Options) error {
	l := settings.Layout{Name: o.Name, State: o.state()}
	table := proc.Table{Dir: l.Dir("procs"), Logs: l.Dir("logs"), Clock: o.Clock}
	// The kubelet first, so that it does not start again what ends below.
	err := table.Stop(ctx, settings.Kubelet, syscall.SIGKILL, 10*time.Second)
	hierarchies, listErr := proc.Hierarchies()
	if err = errors.Join(err, listErr); err == nil {
		err = proc.EndCgroup(ctx, o.Clock, hierarchies, l.Cgroup())
	}
	if err != nil {
		return fmt.Errorf("end cluster %q: %w", o.Name, err)
	}
	records, err := table.All()
	if err != nil {
		return fmt.Errorf("end cluster %q: %w", o.Name, err)
	}
	for _, r := range records { // only those that never reached the cgroup still run
		if err := table.Stop(ctx, r.Name, syscall.SIGKILL, 10*time.Second); err != nil {
			return fmt.Errorf("end cluster %q: %w", o.Name, err)
		}
	}
	if err := unmount(l.State); err != nil {
		return fmt.Errorf("end cluster %q: %w", o.Name, err)
	}
	if err := os.RemoveAll(l.State); err != nil {
		return fmt.Errorf("end cluster %q: remove its state: %w", o.Name, err)
	}
	return nil
}

// unmount detaches whatever is mounted below dir in our own mount namespace.
// There should be nothing; removing files through a mount must not happen.
func unmount(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	for _, target := range mountsBelow(string(data), dir) {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", target, err)
		}
	}
	return nil
}

// mountsBelow lists the mount points at or below dir, the latest first.
func mountsBelow(mountinfo, dir string) []string {
	var out []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) > 4 && (fields[4] == dir || strings.HasPrefix(fields[4], dir+"/")) {
			out = append(out, fields[4])
		}
	}
	slices.Reverse(out)
	return out
}
