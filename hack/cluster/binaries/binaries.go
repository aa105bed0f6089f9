// Package binaries builds the programs of a Kubernetes node from source and
// caches them by version outside the work tree.
//
// Each subfolder is a Go module of its own that pins one project: their
// dependencies conflict with each other and must not leak into the product's.
package binaries

import (
	"fmt"
	"slices"
	"strings"
)

// Versions of what is built. A subfolder's go.mod has to agree; a test checks it.
const (
	KubernetesVersion = "v1.36.3"
	EtcdVersion       = "v3.6.10"
	ContainerdVersion = "v2.4.2"
	HelmVersion       = "v4.3.1"
	CoreDNSVersion    = "v1.15.0"
)

// Module is one subfolder: a pinned project and the programs built from it.
type Module struct {
	Dir      string            // the subfolder
	Path     string            // the Go module that is pinned
	Version  string            // of Path
	Tags     string            // build tags, comma separated
	Vars     map[string]string // linker variables (-X)
	Programs map[string]string // name of the program -> import path
}

// Modules lists everything that can be built, in the order in which it is.
func Modules() []Module {
	return []Module{kubernetes(), etcd(), containerd(), coredns(), helm()}
}

// NodePrograms are the programs that a one-node cluster runs or is used with.
func NodePrograms() []string {
	return []string{
		"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
		"etcd", "containerd", "containerd-shim-runc-v2", "ctr", "coredns",
	}
}

// AssetPrograms are the programs that envtest looks for in KUBEBUILDER_ASSETS.
func AssetPrograms() []string { return []string{"kube-apiserver", "etcd", "kubectl"} }

func kubernetes() Module {
	m := Module{
		Dir: "kubernetes", Path: "k8s.io/kubernetes", Version: KubernetesVersion,
		Vars: map[string]string{}, Programs: map[string]string{},
	}
	major, minor, _ := strings.Cut(strings.TrimPrefix(KubernetesVersion, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		m.Vars[pkg+".gitVersion"] = KubernetesVersion
		m.Vars[pkg+".gitMajor"] = major
		m.Vars[pkg+".gitMinor"] = minor
		m.Vars[pkg+".gitTreeState"] = "archive"
	}
	for _, name := range []string{
		"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
	} {
		m.Programs[name] = "k8s.io/kubernetes/cmd/" + name
	}
	return m
}

func etcd() Module {
	return Module{
		Dir: "etcd", Path: "go.etcd.io/etcd/server/v3", Version: EtcdVersion,
		Programs: map[string]string{"etcd": "go.etcd.io/etcd/server/v3"},
	}
}

func containerd() Module {
	const path = "github.com/containerd/containerd/v2"
	m := Module{
		Dir: "containerd", Path: path, Version: ContainerdVersion,
		Tags:     "no_btrfs,no_zfs,no_aufs,no_devmapper",
		Vars:     map[string]string{path + "/version.Version": ContainerdVersion},
		Programs: map[string]string{},
	}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		m.Programs[name] = path + "/cmd/" + name
	}
	return m
}

func coredns() Module {
	return Module{
		Dir: "coredns", Path: "github.com/coredns/coredns", Version: CoreDNSVersion,
		Programs: map[string]string{"coredns": "."},
	}
}

func helm() Module {
	return Module{
		Dir: "helm", Path: "helm.sh/helm/v4", Version: HelmVersion,
		Vars:     map[string]string{"helm.sh/helm/v4/internal/version.version": HelmVersion},
		Programs: map[string]string{"helm": "helm.sh/helm/v4/cmd/helm"},
	}
}

// ldflags renders the linker flags of a module, in a stable order.
func (m Module) ldflags() string {
	flags := []string{"-s", "-w"}
	names := make([]string, 0, len(m.Vars))
	for name := range m.Vars {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		flags = append(flags, "-X="+name+"="+m.Vars[name])
	}
	return strings.Join(flags, " ")
}

// batch is the part of one module that one `go build` makes.
type batch struct {
	module   Module
	programs []string
}

// batches groups the wanted programs by module, in the order of Modules.
func batches(programs []string) ([]batch, error) {
	rest := slices.Clone(programs)
	var out []batch
	for _, m := range Modules() {
		b := batch{module: m}
		rest = slices.DeleteFunc(rest, func(name string) bool {
			_, ok := m.Programs[name]
			if ok {
				b.programs = append(b.programs, name)
			}
			return ok
		})
		if len(b.programs) > 0 {
			out = append(out, b)
		}
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("build %s: no module makes it", strings.Join(rest, ", "))
	}
	return out, nil
}
