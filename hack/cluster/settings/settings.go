// Package settings renders the configuration of every part of a one-node
// cluster: pure functions from a Layout to file contents and command lines.
package settings

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Addresses inside the cluster's network namespace. They are the same in every
// cluster: each has a namespace of its own.
const (
	NodeAddress  = "10.245.0.1"
	PodRange     = "10.244.0.0/16"
	ServiceRange = "10.96.0.0/16"
	APIService   = "10.96.0.1"
	DNSService   = "10.96.0.10"
	Domain       = "cluster.local"
	SecurePort   = 6443
)

// Layout is where a cluster keeps its things and how it is reached.
type Layout struct {
	Name         string          // of the cluster
	Node         string          // name of the node
	State        string          // folder of everything that lives as long as the cluster
	Programs     string          // folder of the Kubernetes programs
	Runc         string          // path of runc
	CNI          string          // folder of the CNI plugins
	APIPort      int             // the apiserver's port on the host's loopback
	RegistryPort int             // the registry's port on both loopbacks
	Gates        map[string]bool // feature gates, for every Kubernetes program
}

// File is one file to write.
type File struct {
	Path string
	Data string
	Mode uint32
}

// Dir joins a path below the state folder.
func (l Layout) Dir(elem ...string) string {
	return filepath.Join(append([]string{l.State}, elem...)...)
}

// Registry is the registry's address, the same on the host and inside.
func (l Layout) Registry() string { return fmt.Sprintf("127.0.0.1:%d", l.RegistryPort) }

// Server is the apiserver's URL on the host.
func (l Layout) Server() string { return fmt.Sprintf("https://127.0.0.1:%d", l.APIPort) }

// InnerServer is the apiserver's URL inside the namespace.
func (l Layout) InnerServer() string { return fmt.Sprintf("https://%s:%d", NodeAddress, SecurePort) }

// PauseImage is the reference of the pod sandbox's image.
func (l Layout) PauseImage() string { return l.Registry() + "/axle-cluster/pause:1" }

// Kubeconfig names the kubeconfig of a component, for use inside.
func (l Layout) Kubeconfig(name string) string { return l.Dir("kubeconfig", name) }

// Cert names the certificate of a subject; its key lies beside it.
func (l Layout) Cert(name string) string { return l.Dir("pki", name+".crt") }

// Key names the key of a subject.
func (l Layout) Key(name string) string { return l.Dir("pki", name+".key") }

// ContainerdSocket is where containerd listens.
func (l Layout) ContainerdSocket() string { return l.Dir("run", "containerd.sock") }

// Cgroup is the cgroup of the whole cluster, below every hierarchy's root.
func (l Layout) Cgroup() string { return "/axle-" + l.Name }

// DaemonCgroup holds the cluster's own processes, and with them the containers' shims.
func (l Layout) DaemonCgroup() string { return l.Cgroup() + "/daemons" }

// PodCgroup is the kubelet's cgroup root. No two kubelets may share one: each
// would end the other's pods as orphans.
func (l Layout) PodCgroup() string { return l.Cgroup() + "/" + l.Node }

// Folders lists what has to exist below the state folder.
func (l Layout) Folders() []string {
	var out []string
	for _, dir := range []string{
		"bin", "cni", "certs.d/" + l.Registry(), "containerd", "etcd", "kubeconfig", "kubelet", "logs",
		"pki", "podlogs", "procs", "registry", "run", "var-lib", "var-log",
	} {
		out = append(out, l.Dir(dir))
	}
	return out
}

// Files renders every configuration file.
func (l Layout) Files() []File {
	return []File{
		{l.Dir("namespace.sh"), l.namespaceScript(), 0o755},
		{l.Dir("containerd.toml"), l.containerd(), 0o644},
		{l.Dir("certs.d", l.Registry(), "hosts.toml"), l.registryHosts(), 0o644},
		{l.Dir("cni", "10-axle.conflist"), l.network(), 0o644},
		{l.Dir("kubelet.yaml"), l.kubelet(), 0o644},
		{l.Dir("Corefile"), l.corefile(), 0o644},
		{l.Dir("resolv.conf"), "# No resolver: nothing outside the cluster is reachable from inside.\n", 0o644},
	}
}

// gates renders a --feature-gates flag, or nothing.
func (l Layout) gates() []string {
	if len(l.Gates) == 0 {
		return nil
	}
	pairs := make([]string, 0, len(l.Gates))
	for name, on := range l.Gates {
		pairs = append(pairs, fmt.Sprintf("%s=%t", name, on))
	}
	slices.Sort(pairs)
	return []string{"--feature-gates=" + strings.Join(pairs, ",")}
}
