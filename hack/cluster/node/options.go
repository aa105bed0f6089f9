// Package node runs a real one-node Kubernetes on this machine: etcd, the
// control plane, a kubelet with containerd, kube-proxy, DNS and an image
// registry, all in namespaces and cgroups of their own.
package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"k8s.io/utils/clock"
)

// Options choose a cluster. The zero value is the default cluster, silent.
type Options struct {
	// Name tells clusters of one machine apart. Default: "default".
	Name string
	// Node is the node's name. Default: "axle-node".
	Node string
	// Root is the folder under which each cluster keeps its state.
	// Default: $XDG_CACHE_HOME/axle/cluster, else ~/.cache/axle/cluster.
	Root string
	// FeatureGates are given to every Kubernetes program of a new cluster.
	FeatureGates map[string]bool
	// Source is a folder of the axle module, from which programs are built.
	// Default: the working directory.
	Source string
	// Out receives a line for every step. Default: nowhere.
	Out io.Writer
	// Clock paces waiting. Default: the real one.
	Clock clock.WithTicker
}

// maxState bounds the state folder's path: Unix socket paths have 107 bytes.
const maxState = 70

var validName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$`)

// complete fills in the defaults and checks the result.
func (o Options) complete() (Options, error) {
	if o.Name == "" {
		o.Name = "default"
	}
	if o.Node == "" {
		o.Node = "axle-node"
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Root == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return o, fmt.Errorf("find the folder for clusters: %w", err)
		}
		o.Root = filepath.Join(dir, "axle", "cluster")
	}
	return o, o.Validate()
}

// Validate reports everything that is wrong with completed options.
func (o Options) Validate() error {
	var errs []error
	for what, name := range map[string]string{"cluster": o.Name, "node": o.Node} {
		if !validName.MatchString(name) {
			errs = append(errs, fmt.Errorf("%s name %q: want 1 to 20 of a-z, 0-9 and -, a letter first", what, name))
		}
	}
	if o.Node == "daemons" {
		errs = append(errs, errors.New(`node name "daemons" is taken by the cluster's own cgroup`))
	}
	if !filepath.IsAbs(o.Root) {
		errs = append(errs, fmt.Errorf("state folder %q: not an absolute path", o.Root))
	}
	if n := len(o.state()); n > maxState {
		errs = append(errs, fmt.Errorf("state folder %q: %d bytes, at most %d leave room for socket paths", o.state(), n, maxState))
	}
	return errors.Join(errs...)
}

// state is the cluster's own folder; it exists exactly as long as the cluster.
func (o Options) state() string { return filepath.Join(o.Root, o.Name) }
