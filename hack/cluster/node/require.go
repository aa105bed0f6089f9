package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/axlemesh/axle/hack/cluster/progress"
)

// tool is a program of the distribution that the cluster needs.
type tool struct {
	pkg   string   // the Debian package that has it
	paths []string // where it may be, the first that exists wins; a bare name is looked up in PATH
}

var (
	runc    = tool{"runc", []string{"runc", "/usr/sbin/runc"}}
	plugins = tool{"containernetworking-plugins", []string{"/usr/lib/cni/ptp", "/opt/cni/bin/ptp"}}
)

// tools lists everything that is needed.
func tools() []tool {
	return []tool{
		runc, plugins,
		{"iptables", []string{"iptables", "/usr/sbin/iptables"}},
		{"iproute2", []string{"ip", "/usr/sbin/ip"}},
		{"conntrack", []string{"conntrack", "/usr/sbin/conntrack"}},
		{"util-linux", []string{"nsenter"}},
		{"mount", []string{"mount"}},
	}
}

// find returns where the tool is, or "".
func (t tool) find() string {
	for _, path := range t.paths {
		if strings.HasPrefix(path, "/") {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		} else if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	return ""
}

func missing(all []tool) []string {
	var out []string
	for _, t := range all {
		if t.find() == "" {
			out = append(out, t.pkg)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// require makes sure that the machine has what a cluster needs, and installs
// Debian packages if it may.
func require(ctx context.Context, o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("start a cluster: namespaces, mounts and cgroups need root; run it as root")
	}
	lack := missing(tools())
	if len(lack) == 0 {
		return nil
	}
	list := strings.Join(lack, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("start a cluster: install these first (Debian's names): %s", list)
	}
	err := progress.Step(o.Out, o.Clock, "install "+list, nil, func() error {
		if err := aptGet(ctx, "update"); err != nil {
			return err
		}
		return aptGet(ctx, append([]string{"install", "-y", "--no-install-recommends"}, lack...)...)
	})
	if err != nil {
		return fmt.Errorf("install %s: %w", list, err)
	}
	if lack = missing(tools()); len(lack) > 0 {
		return fmt.Errorf("start a cluster: still missing after their installation: %s", strings.Join(lack, " "))
	}
	return nil
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "DPkg::Lock::Timeout=120"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		tail := out[max(0, len(out)-2000):]
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(string(tail)))
	}
	return nil
}
