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
)

// proxy is one thing to be measured.
type proxy struct {
	name string
	addr string
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
	sidecar := b.Sidecar
	if sidecar == "" {
		sidecar = b.path("axle-sidecar")
		if err := build(ctx, "go", "build", "-C", b.Source, "-o", sidecar, "./sidecar"); err != nil {
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
	all := []proxy{
		{name: direct, addr: serverAddr},
		{name: relay, addr: "127.0.0.1:" + relayPort, cmd: []string{b.path("relay"), relayPort, serverPort}},
		{name: axle, addr: axleAddr, cmd: []string{sidecar, "run", "-f", b.path("axle.yaml")}, metrics: "http://" + axleAdmin + "/metrics"},
	}
	haproxy, err := exec.LookPath("haproxy")
	if errors.Is(err, exec.ErrNotFound) {
		fmt.Fprintln(b.Out, "haproxy is not installed: left out")
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find haproxy: %w", err)
	}
	if err := os.WriteFile(b.path("haproxy.cfg"), []byte(haproxyConfig), 0o600); err != nil {
		return nil, fmt.Errorf("write haproxy's configuration: %w", err)
	}
	return append(all, proxy{name: "haproxy", addr: "127.0.0.1:" + haproxyPort, cmd: []string{haproxy, "-db", "-f", b.path("haproxy.cfg")}}), nil
}

const haproxyConfig = `global
  nbthread 1
  maxconn 4096
defaults
  mode tcp
  timeout connect 1s
  timeout client 1m
  timeout server 1m
frontend bench
  bind 127.0.0.1:` + haproxyPort + `
  default_backend echo
backend echo
  server echo ` + serverAddr + `
`

// sidecarConfig has one Bolt listener that routes by service: everything that a request goes through by default.
func sidecarConfig() ([]byte, error) {
	b := bootstrap.Bootstrap{
		Node:     bootstrap.Node{ID: "bench", Version: "bench", Generation: 1},
		Admin:    axleAdmin,
		MeshAPI:  axleMeshAPI,
		Handover: bootstrap.Handover{Socket: "@axle/bench-" + strconv.Itoa(os.Getpid())},
		Loops:    1,
		Static: &bootstrap.Static{
			Listeners: []bootstrap.Listener{{Name: "bench", Address: axleAddr, Protocol: bootstrap.Bolt}},
			Routes: []bootstrap.Route{
				{Service: "com.axlemesh.bench.Other:1.0", Cluster: "echo"},
				{Service: load.Service, Cluster: "echo"},
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
