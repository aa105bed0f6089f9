package node

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/axlemesh/axle/hack/debian"
)

var (
	runc    = debian.Program{Package: "runc", Paths: []string{"runc", "/usr/sbin/runc"}}
	plugins = debian.Program{Package: "containernetworking-plugins", Paths: []string{"/usr/lib/cni/ptp", "/opt/cni/bin/ptp"}}
)

// programs lists everything of the distribution that the cluster needs.
func programs() []debian.Program {
	return []debian.Program{
		runc, plugins,
		{Package: "iptables", Paths: []string{"iptables", "/usr/sbin/iptables"}},
		{Package: "iproute2", Paths: []string{"ip", "/usr/sbin/ip"}},
		{Package: "conntrack", Paths: []string{"conntrack", "/usr/sbin/conntrack"}},
		{Package: "util-linux", Paths: []string{"nsenter"}},
		{Package: "mount", Paths: []string{"mount"}},
	}
}

// require makes sure that the machine has what a cluster needs, and installs
// Debian packages if it may.
func require(ctx context.Context, o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("start a cluster: namespaces, mounts and cgroups need root; run it as root")
	}
	if err := debian.Require(ctx, o.Out, o.Clock, programs()); err != nil {
		return fmt.Errorf("start a cluster: %w", err)
	}
	return nil
}
