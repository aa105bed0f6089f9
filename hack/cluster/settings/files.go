package settings

import (
	"fmt"
	"strings"
)

// namespaceScript sets up the network and mount namespaces and then holds them.
// Folders that daemons insist on are replaced by the cluster's own, in its own
// mount namespace: nothing is left on the host when the last process ends.
func (l Layout) namespaceScript() string {
	return l.expand(`#!/bin/sh
# Runs as: unshare --net --mount --propagation slave -- sh namespace.sh
set -eu
mount --make-rshared /
mount -t tmpfs -o mode=755 axle-run /run
mkdir -p /run/lock /run/netns /run/containerd
ln -s $SOCKET /run/containerd/containerd.sock # where cadvisor and ctr look
mount --bind $STATE/var-lib /var/lib
mount --bind $STATE/var-log /var/log
mkdir -p /var/lib/kubelet /var/lib/cni
ip link set lo up
ip link add axle0 type veth peer name axle1
ip address add $NODE_ADDRESS/24 dev axle0
ip link set axle0 up
ip link set axle1 up
# A packet needs a route before NAT can look at it. Everything else fails at once.
ip route add $SERVICES dev axle0 src $NODE_ADDRESS
ip route add unreachable default metric 4096
# What still has a Service's address after NAT has no rule yet: refuse it at
# once instead of waiting three seconds for somebody to answer ARP.
iptables -A OUTPUT -d $SERVICES -j REJECT
iptables -A FORWARD -d $SERVICES -j REJECT
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null || true
: > $STATE/namespace.ready
exec sleep infinity
`)
}

func (l Layout) containerd() string {
	return l.expand(`version = 3
root = '$STATE/containerd'
state = '/run/containerd/state'
oom_score = 0
disabled_plugins = [
  'io.containerd.internal.v1.opt',
  'io.containerd.nri.v1.nri',
  'io.containerd.snapshotter.v1.blockfile',
]

[grpc]
  address = '$SOCKET'

[plugins.'io.containerd.cri.v1.runtime']
  # Without CAP_SYS_RESOURCE a score cannot be lowered, and runc dies of trying.
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true

  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['$CNI']
    conf_dir = '$STATE/cni'

  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = 'runc'

    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'

      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = '$RUNC'
        SystemdCgroup = false

[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'

  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '$PAUSE'

  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = '$STATE/certs.d'
`)
}

func (l Layout) registryHosts() string {
	return l.expand(`server = 'http://$REGISTRY'

[host.'http://$REGISTRY']
  capabilities = ['pull', 'resolve']
`)
}

// network routes between pods instead of bridging them: replies through a
// Service then always pass the node's NAT, with and without br_netfilter, and
// pods see each other's real addresses.
func (l Layout) network() string {
	return l.expand(`{
  "cniVersion": "1.0.0",
  "name": "axle",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "dataDir": "$STATE/cni-addresses",
        "ranges": [[{"subnet": "$PODS"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`)
}

func (l Layout) kubelet() string {
	return l.expand(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $STATE/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $STATE/pki/kubelet.crt
tlsPrivateKeyFile: $STATE/pki/kubelet.key
containerRuntimeEndpoint: unix://$SOCKET
cgroupDriver: cgroupfs
cgroupRoot: $POD_CGROUP
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDomain: $DOMAIN
clusterDNS: [$DNS]
resolvConf: $STATE/resolv.conf
podLogsDir: $STATE/podlogs
volumePluginDir: $STATE/kubelet/volume-plugins
makeIPTablesUtilChains: false
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
maxPods: 250
imageGCHighThresholdPercent: 100
evictionHard:
  memory.available: 10Mi
  nodefs.available: 1%
  nodefs.inodesFree: 1%
  imagefs.available: 1%
$GATES`)
}

func (l Layout) corefile() string {
	return l.expand(`. {
  bind $NODE_ADDRESS
  errors
  health 127.0.0.1:8080
  ready 127.0.0.1:8181
  kubernetes $DOMAIN in-addr.arpa {
    kubeconfig $STATE/kubeconfig/coredns
    pods insecure
    ttl 5
  }
  cache 5
}
`)
}

// expand replaces the $NAMES of a template. A longer name goes first, so that
// none is taken for the beginning of another.
func (l Layout) expand(template string) string {
	gates := ""
	if len(l.Gates) > 0 {
		gates = "featureGates: {" + strings.NewReplacer("--feature-gates=", "", "=", ": ", ",", ", ").
			Replace(l.gates()[0]) + "}\n"
	}
	return strings.NewReplacer(
		"$NODE_ADDRESS", NodeAddress,
		"$POD_CGROUP", l.PodCgroup(),
		"$SERVICES", ServiceRange,
		"$PODS", PodRange,
		"$DNS", DNSService,
		"$DOMAIN", Domain,
		"$STATE", l.State,
		"$SOCKET", l.ContainerdSocket(),
		"$CNI", l.CNI,
		"$RUNC", l.Runc,
		"$PAUSE", l.PauseImage(),
		"$REGISTRY", l.Registry(),
		"$GATES", gates,
	).Replace(template)
}

// port renders a loopback address.
func port(n int) string { return fmt.Sprintf("127.0.0.1:%d", n) }
