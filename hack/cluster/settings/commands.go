package settings

import (
	"fmt"
	"path/filepath"
)

// The processes of a cluster. Holder keeps the namespaces alive; Relay is the
// only one outside them.
const (
	Holder            = "namespace"
	Relay             = "relay"
	Etcd              = "etcd"
	Containerd        = "containerd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubelet           = "kubelet"
	Proxy             = "kube-proxy"
	DNS               = "coredns"
)

// Daemons lists the processes in the order in which they start.
func Daemons() []string {
	return []string{
		Holder, Relay, Etcd, Containerd, APIServer,
		ControllerManager, Scheduler, Proxy, DNS, Kubelet,
	}
}

// HolderCommand makes the namespaces and stays in them.
func (l Layout) HolderCommand() []string {
	return []string{"unshare", "--net", "--mount", "--propagation", "slave", "--", "sh", l.Dir("namespace.sh")}
}

// RelayCommand runs the registry and the forwarder on the host.
func (l Layout) RelayCommand(holder int) []string {
	return []string{
		l.Dir("bin", "relay"),
		fmt.Sprintf("-namespace=/proc/%d/ns/net", holder),
		"-registry=" + l.Registry(),
		"-blobs=" + l.Dir("registry"),
		"-listen=" + port(l.APIPort),
		fmt.Sprintf("-target=%s:%d", NodeAddress, SecurePort),
	}
}

// Enter wraps a command so that it runs inside the namespaces of the holder.
func Enter(holder int, args ...string) []string {
	return append([]string{
		"nsenter",
		fmt.Sprintf("--net=/proc/%d/ns/net", holder),
		fmt.Sprintf("--mount=/proc/%d/ns/mnt", holder),
		"--",
	}, args...)
}

// Command is the command line of a daemon that runs inside; nil for an unknown one.
func (l Layout) Command(name string) []string {
	var args []string
	switch name {
	case Etcd:
		args = l.etcdFlags()
	case Containerd:
		args = []string{"--config=" + l.Dir("containerd.toml")}
	case APIServer:
		args = append(l.apiserverFlags(), l.gates()...)
	case ControllerManager:
		args = append(l.controllerManagerFlags(), l.gates()...)
	case Scheduler:
		args = append([]string{
			"--kubeconfig=" + l.Kubeconfig(Scheduler),
			"--leader-elect=false",
			"--bind-address=127.0.0.1",
			"--kube-api-qps=300",
			"--kube-api-burst=600",
		}, l.gates()...)
	case Proxy:
		args = append(l.proxyFlags(), l.gates()...)
	case Kubelet: // its feature gates are in its file
		args = []string{
			"--config=" + l.Dir("kubelet.yaml"),
			"--kubeconfig=" + l.Kubeconfig(Kubelet),
			"--hostname-override=" + l.Node,
			"--node-ip=" + NodeAddress,
			"--root-dir=" + l.Dir("kubelet"),
		}
	case DNS:
		args = []string{"-conf=" + l.Dir("Corefile")}
	default:
		return nil
	}
	return append([]string{filepath.Join(l.Programs, name)}, args...)
}

func (l Layout) etcdFlags() []string {
	return []string{
		"--data-dir=" + l.Dir("etcd", "data"),
		"--listen-client-urls=http://127.0.0.1:2379",
		"--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--unsafe-no-fsync", // the data need not survive the machine
		"--auto-compaction-mode=periodic",
		"--auto-compaction-retention=10m",
	}
}

func (l Layout) apiserverFlags() []string {
	return []string{
		"--etcd-servers=http://127.0.0.1:2379",
		"--advertise-address=" + NodeAddress, // what 10.96.0.1 leads to: pods have to reach it
		fmt.Sprintf("--secure-port=%d", SecurePort),
		"--service-cluster-ip-range=" + ServiceRange,
		"--allow-privileged=true",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--client-ca-file=" + l.Cert("ca"),
		"--tls-cert-file=" + l.Cert("apiserver"),
		"--tls-private-key-file=" + l.Key("apiserver"),
		"--kubelet-client-certificate=" + l.Cert("apiserver-kubelet-client"),
		"--kubelet-client-key=" + l.Key("apiserver-kubelet-client"),
		"--kubelet-certificate-authority=" + l.Cert("ca"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc." + Domain,
		"--service-account-key-file=" + l.Cert("sa"),
		"--service-account-signing-key-file=" + l.Key("sa"),
	}
}

func (l Layout) controllerManagerFlags() []string {
	return []string{
		"--kubeconfig=" + l.Kubeconfig(ControllerManager),
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + l.Key("sa"),
		"--root-ca-file=" + l.Cert("ca"),
		"--cluster-signing-cert-file=" + l.Cert("ca"),
		"--cluster-signing-key-file=" + l.Key("ca"),
		"--cluster-cidr=" + PodRange,
		"--kube-api-qps=300", // at the default its start alone takes four seconds
		"--kube-api-burst=600",
	}
}

func (l Layout) proxyFlags() []string {
	return []string{
		"--kubeconfig=" + l.Kubeconfig(Proxy),
		"--hostname-override=" + l.Node,
		"--proxy-mode=iptables",
		"--cluster-cidr=" + PodRange,
		"--conntrack-max-per-core=0",
		"--conntrack-tcp-timeout-established=0",
		"--conntrack-tcp-timeout-close-wait=0",
		"--iptables-min-sync-period=100ms",
		"--oom-score-adj=0",
		"--bind-address=0.0.0.0",
	}
}
