package matrix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/axlemesh/axle/hack/bench/certs"
	"github.com/axlemesh/axle/hack/bench/load"
	"github.com/axlemesh/axle/hack/bench/report"
)

// sidecars are the sidecar once for each protocol. One that its own check refuses is missing, and the check says why.
func (b *bench) sidecars(ctx context.Context) ([]proxy, error) {
	binary := b.Sidecar
	if binary == "" {
		binary = b.path("axle-sidecar")
		fmt.Fprintln(b.Out, "building the sidecar")
		if err := build(ctx, "go", "build", "-C", b.Source, "-o", binary, "./sidecar"); err != nil {
			return nil, err
		}
	}
	var all []proxy
	for _, p := range report.Protocols {
		if !b.needed(p) {
			continue
		}
		file := b.path("axle-" + string(p) + ".yaml")
		if err := os.WriteFile(file, []byte(sidecarConfig(p, certs.In(b.dir), os.Getpid())), 0o600); err != nil {
			return nil, fmt.Errorf("write the sidecar's bootstrap: %w", err)
		}
		if out, err := exec.CommandContext(ctx, binary, "check", "-f", file).CombinedOutput(); err != nil {
			if !errors.As(err, new(*exec.ExitError)) {
				return nil, fmt.Errorf("check the sidecar's bootstrap: %w", err)
			}
			b.without(report.Axle, p, errors.New(strings.ReplaceAll(string(bytes.TrimSpace(out)), b.dir+"/", "")))
			continue
		}
		all = append(all, proxy{
			name: report.Axle, protocol: p, addr: axleAddr, metrics: "http://" + axleAdmin + "/metrics",
			cmd: []string{binary, "run", "-f", file}, supervised: []string{binary, "supervise", "-f", file},
		})
	}
	return all, nil
}

// dialect is what a protocol changes in the sidecar's bootstrap.
type dialect struct {
	protocol, service string
	// listener and cluster are more fields of these.
	listener, cluster string
}

var dialects = map[load.Protocol]dialect{
	load.Bolt:  {protocol: "bolt", service: load.Service},
	load.Dubbo: {protocol: "dubbo", service: load.Service},
	load.HTTP:  {protocol: "http1", service: load.Host},
	load.HTTP2: {protocol: "http2", service: load.Host},
	load.GRPC:  {protocol: "http2", service: load.Host},
	load.TLS: {
		protocol: "http1", service: load.Host,
		listener: `, tls: {certificate: "CHAIN", key: "KEY", minVersion: "1.3"}`, cluster: `, tls: {trust: "AUTHORITY", serverName: HOST}`,
	},
}

// sidecarConfig is a bootstrap whose listener routes by service: everything that a request goes through by default, with
// admin API and metrics on.
func sidecarConfig(p load.Protocol, f certs.Files, id int) string {
	d := dialects[p]
	more := strings.NewReplacer("CHAIN", f.Chain, "KEY", f.Key, "AUTHORITY", f.CA, "HOST", load.Host)
	return fmt.Sprintf(`node: {id: bench, version: bench, generation: 1}
admin: %q
meshAPI: %q
handover: {socket: "@axle/bench-%d"}
loops: 1
static:
  listeners:
  - {name: bench, address: %q, protocol: %s%s}
  routes:
  - {service: "com.axlemesh.bench.Other:1.0", cluster: echo}
  - {service: %q, cluster: echo}
  clusters:
  - {name: echo, endpoints: [%q]%s}
`, axleAdmin, axleMeshAPI, id, axleAddr, d.protocol, more.Replace(d.listener), d.service, serverAddr, more.Replace(d.cluster))
}
