package matrix

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/axlemesh/axle/hack/bench/load"
	"github.com/axlemesh/axle/hack/bench/peers"
	"github.com/axlemesh/axle/hack/bench/report"
)

// Everything is on loopback, on ports that nothing else of the project uses.
const (
	serverAddr  = "127.0.0.1:18281"
	serverPort  = "18281"
	relayPort   = "18282"
	axleAddr    = "127.0.0.1:18283"
	axleAdmin   = "127.0.0.1:18284"
	axleMeshAPI = "127.0.0.1:18285"
	peerAddr    = "127.0.0.1:18286"
)

// proxy is one thing to be measured with one protocol.
type proxy struct {
	name     string
	protocol load.Protocol
	addr     string
	// cmd starts it; nil for no proxy at all.
	cmd []string
	// supervised starts it as the child of its supervisor; nil when it has none.
	supervised []string
	// metrics is where a Go program tells how often it has allocated; empty when it does not.
	metrics string
}

func (p proxy) String() string { return p.name + ", " + string(p.protocol) }

func (p proxy) absent() report.Absent { return report.Absent{Proxy: p.name, Protocol: p.protocol} }

// needed says whether anything that is selected needs a protocol.
func (b *bench) needed(p load.Protocol) bool {
	return b.selected(string(p)) || b.selected(Memory) && (p == load.HTTP || p == load.TLS) ||
		b.selected(Opinion) && (p == load.HTTP || p == load.HTTP2)
}

// maker returns the arguments of a peer for a protocol; ok is false when it is not measured with that.
type maker func(at peers.Place, p load.Protocol) (args []string, ok bool, err error)

// proxies builds and installs what is needed and lists what can be measured here, protocol by protocol.
func (b *bench) proxies(ctx context.Context) ([]proxy, error) {
	if err := build(ctx, "gcc", "-O2", "-o", b.path("relay"), b.Source+"/hack/bench/relay/relay.c"); err != nil {
		return nil, err
	}
	sidecars, err := b.sidecars(ctx)
	if err != nil {
		return nil, err
	}
	all := sidecars
	for _, p := range report.Protocols {
		all = append(all, proxy{name: report.Direct, protocol: p, addr: serverAddr})
		if p != load.TLS && p != load.GRPC { // it would end no TLS; and gRPC is HTTP/2 to it
			all = append(all, proxy{name: report.Relay, protocol: p, addr: "127.0.0.1:" + relayPort, cmd: []string{b.path("relay"), relayPort, serverPort}})
		}
	}
	all = append(all, proxy{name: report.Reverse, protocol: load.HTTP, addr: peerAddr, cmd: []string{b.Self, "reverse", "-addr", peerAddr, "-server", serverAddr}})
	install := &peers.Installer{Cache: b.Cache, Out: b.Out}
	for _, peer := range []struct {
		name string
		get  func() (string, error)
		make maker
	}{
		{report.Nginx, func() (string, error) { return install.Debian(ctx, "nginx", "nginx") }, peers.Nginx},
		{report.HAProxy, func() (string, error) { return install.Debian(ctx, "haproxy", "haproxy") }, peers.HAProxy},
		{report.Envoy, func() (string, error) { return install.Envoy(ctx) }, peers.Envoy},
	} {
		some, err := b.peer(peer.name, peer.get, peer.make)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return b.inTurn(all), nil
}

// peer makes the commands of a peer for every protocol that needs it, and gets it for the first. One that cannot be had is
// missing.
func (b *bench) peer(name string, get func() (string, error), made maker) ([]proxy, error) {
	var all []proxy
	var binary string
	var gone error
	for _, p := range report.Protocols {
		if !b.needed(p) {
			continue
		}
		args, ok, err := made(peers.Place{Dir: b.path(name + "-" + string(p)), Listen: peerAddr, Server: serverAddr, Certs: b.dir}, p)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if binary == "" && gone == nil {
			binary, gone = get()
		}
		if gone != nil {
			b.without(name, p, gone)
			continue
		}
		all = append(all, proxy{name: name, protocol: p, addr: peerAddr, cmd: append([]string{binary}, args...)})
	}
	return all, nil
}

// inTurn puts the proxies of a protocol together: no proxy, the relay, the sidecar, the others.
func (b *bench) inTurn(all []proxy) []proxy {
	var sorted []proxy
	for _, p := range report.Protocols {
		for _, name := range []string{report.Direct, report.Relay, report.Axle, report.Nginx, report.HAProxy, report.Envoy, report.Reverse} {
			for _, x := range all {
				if x.protocol == p && x.name == name && b.needed(p) {
					sorted = append(sorted, x)
				}
			}
		}
	}
	return sorted
}

func build(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
