package matrix

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/hack/bench/load"
)

// Everything is on loopback, on ports that nothing else of the project uses.
const (
	serverAddr  = "127.0.0.1:18281"
	serverPort  = "18281"
	relayPort   = "18282"
	axleAddr    = "127.0.0.1:18283"
	axleAdmin   = "127.0.0.1:18284"
	axleMeshAPI = "127.0.0.1:18285"
	haproxyPort = "18286"
	axleHTTP    = "127.0.0.1:18287"
	reverseAddr = "127.0.0.1:18288"
	nginxAddr   = "127.0.0.1:18289"
)

// proxy is one thing to be measured.
type proxy struct {
	name     string
	protocol load.Protocol
	addr     string
	// cmd starts it; nil for no proxy at all.
	cmd []string
	// metrics is where a Go program tells how often it has allocated; empty when it does not.
	metrics string
}

// proxies builds what has to be built and lists what can be measured here.
func (b *bench) proxies(ctx context.Context) ([]proxy, error) {
	if err := build(ctx, "gcc", "-O2", "-o", b.path("relay"), b.Source+"/hack/bench/relay/relay.c"); err != nil {
		return nil, err
	}
	sidecar, err := b.sidecar(ctx)
	if err != nil {
		return nil, err
	}
	relayed := []string{b.path("relay"), relayPort, serverPort}
	metrics := "http://" + axleAdmin + "/metrics"
	all := []proxy{
		{name: direct, protocol: load.Bolt, addr: serverAddr},
		{name: relay, protocol: load.Bolt, addr: "127.0.0.1:" + relayPort, cmd: relayed},
		{name: axle, protocol: load.Bolt, addr: axleAddr, cmd: sidecar, metrics: metrics},
		{name: direct, protocol: load.HTTP, addr: serverAddr},
		{name: relay, protocol: load.HTTP, addr: "127.0.0.1:" + relayPort, cmd: relayed},
		{name: axle, protocol: load.HTTP, addr: axleHTTP, cmd: sidecar, metrics: metrics},
		{name: reverseOne, protocol: load.HTTP, addr: reverseAddr, cmd: []string{b.Self, "reverse", "-addr", reverseAddr, "-server", serverAddr}},
	}
	if b.Only != string(load.Bolt) {
		cmd, err := b.nginx(ctx)
		if err != nil {
			fmt.Fprintf(b.Out, "nginx is left out: %v\n", err)
		} else {
			all = append(all, proxy{name: nginx, protocol: load.HTTP, addr: nginxAddr, cmd: cmd})
		}
	}
	haproxy, err := b.haproxy()
	if err != nil {
		return nil, err
	}
	all = append(all, haproxy...)
	if b.Only == "" {
		return all, nil
	}
	var some []proxy
	for _, p := range all {
		if string(p.protocol) == b.Only {
			some = append(some, p)
		}
	}
	return some, nil
}

// sidecar returns the command that runs it, standalone, with admin API and metrics on.
func (b *bench) sidecar(ctx context.Context) ([]string, error) {
	binary := b.Sidecar
	if binary == "" {
		binary = b.path("axle-sidecar")
		if err := build(ctx, "go", "build", "-C", b.Source, "-o", binary, "./sidecar"); err != nil {
			return nil, err
		}
	}
	conf, err := sidecarConfig()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(b.path("axle.yaml"), conf, 0o600); err != nil {
		return nil, fmt.Errorf("write the sidecar's bootstrap: %w", err)
	}
	return []string{binary, "run", "-f", b.path("axle.yaml")}, nil
}

// sidecarConfig has a listener for each protocol that routes by service: everything that a request goes through by default.
func sidecarConfig() ([]byte, error) {
	b := bootstrap.Bootstrap{
		Node:     bootstrap.Node{ID: "bench", Version: "bench", Generation: 1},
		Admin:    axleAdmin,
		MeshAPI:  axleMeshAPI,
		Handover: bootstrap.Handover{Socket: "@axle/bench-" + strconv.Itoa(os.Getpid())},
		Loops:    1,
		Static: &bootstrap.Static{
			Listeners: []bootstrap.Listener{
				{Name: "bench", Address: axleAddr, Protocol: bootstrap.Bolt},
				{Name: "web", Address: axleHTTP, Protocol: bootstrap.HTTP1},
			},
			Routes: []bootstrap.Route{
				{Service: "com.axlemesh.bench.Other:1.0", Cluster: "echo"},
				{Service: load.Service, Cluster: "echo"},
				{Service: load.Host, Cluster: "echo"},
			},
			Clusters: []bootstrap.Cluster{{Name: "echo", Endpoints: []string{serverAddr}}},
		},
	}
	out, err := yaml.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode the sidecar's bootstrap: %w", err)
	}
	return out, nil
}

// haproxy is there for both protocols where it is installed.
func (b *bench) haproxy() ([]proxy, error) {
	binary, err := exec.LookPath("haproxy")
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find haproxy: %w", err)
	}
	var out []proxy
	for protocol, mode := range map[load.Protocol]string{load.Bolt: "tcp", load.HTTP: "http"} {
		file := b.path("haproxy-" + mode + ".cfg")
		if err := os.WriteFile(file, []byte(fmt.Sprintf(haproxyConfig, mode)), 0o600); err != nil {
			return nil, fmt.Errorf("write haproxy's configuration: %w", err)
		}
		out = append(out, proxy{name: "haproxy", protocol: protocol, addr: "127.0.0.1:" + haproxyPort, cmd: []string{binary, "-db", "-f", file}})
	}
	return out, nil
}

const haproxyConfig = `global
  nbthread 1
  maxconn 4096
defaults
  mode %s
  timeout connect 1s
  timeout client 1m
  timeout server 1m
frontend bench
  bind 127.0.0.1:` + haproxyPort + `
  default_backend echo
backend echo
  server echo ` + serverAddr + `
`

func build(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// counters are what a proxy has counted itself since it started.
type counters struct{ mallocs, reads, writes float64 }

// ask reads the counters of a proxy that tells them.
func (p proxy) ask(ctx context.Context) (counters, bool) {
	if p.metrics == "" {
		return counters{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.metrics, nil)
	if err != nil {
		return counters{}, false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return counters{}, false
	}
	defer resp.Body.Close()
	var c counters
	into := map[string]*float64{
		"go_memstats_mallocs_total": &c.mallocs, "axle_read_calls_total": &c.reads, "axle_write_calls_total": &c.writes,
	}
	found := 0
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if to := into[name]; to != nil {
			if *to, err = strconv.ParseFloat(value, 64); err != nil {
				return counters{}, false
			}
			found++
		}
	}
	return c, found == len(into)
}
