#!/bin/sh
# Runs as: unshare --net --mount --propagation slave -- sh namespace.sh
set -eu
mount --make-rshared /
mount -t tmpfs -o mode=755 axle-run /run
mkdir -p /run/lock /run/netns /run/containerd
ln -s /state/x/run/containerd.sock /run/containerd/containerd.sock # where cadvisor and ctr look
mount --bind /state/x/var-lib /var/lib
mount --bind /state/x/var-log /var/log
mkdir -p /var/lib/kubelet /var/lib/cni
ip link set lo up
ip link add axle0 type veth peer name axle1
ip address add 10.245.0.1/24 dev axle0
ip link set axle0 up
ip link set axle1 up
# A packet needs a route before NAT can look at it. Everything else fails at once.
ip route add 10.96.0.0/16 dev axle0 src 10.245.0.1
ip route add unreachable default metric 4096
# What still has a Service's address after NAT has no rule yet: refuse it at
# once instead of waiting three seconds for somebody to answer ARP.
iptables -A OUTPUT -d 10.96.0.0/16 -j REJECT
iptables -A FORWARD -d 10.96.0.0/16 -j REJECT
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null || true
: > /state/x/namespace.ready
exec sleep infinity
