// Package debian finds programs on this machine, and installs the Debian packages that have those which are missing.
package debian

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"k8s.io/utils/clock"

	"github.com/axlemesh/axle/hack/cluster/progress"
)

// Program is something that is needed.
type Program struct {
	Package string   // the Debian package that has it
	Paths   []string // where it may be, the first that exists wins; a bare name is looked up in PATH
}

// Find returns where the program is, or "".
func (p Program) Find() string {
	for _, path := range p.Paths {
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

// Missing returns the packages of the programs that are not there, sorted.
func Missing(all []Program) []string {
	var out []string
	for _, p := range all {
		if p.Find() == "" {
			out = append(out, p.Package)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Require installs what is missing of all. It needs root only then. out hears of steps that take long.
func Require(ctx context.Context, out io.Writer, clk clock.WithTicker, all []Program) error {
	lack := Missing(all)
	if len(lack) == 0 {
		return nil
	}
	list := strings.Join(lack, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("install these first (Debian's names): %s", list)
	}
	err := progress.Step(out, clk, "install "+list, nil, func() error {
		if err := aptGet(ctx, "update"); err != nil {
			return err
		}
		return aptGet(ctx, append([]string{"install", "-y", "--no-install-recommends"}, lack...)...)
	})
	if err != nil {
		return fmt.Errorf("install %s: %w", list, err)
	}
	if lack = Missing(all); len(lack) > 0 {
		return fmt.Errorf("still missing after their installation: %s", strings.Join(lack, " "))
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
