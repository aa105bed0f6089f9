//go:build interop

package interop

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/hack/testport"
)

// sidecar is a real one, of one generation after the other.
type sidecar struct {
	t          *testing.T
	name       string
	port       int // of its listener
	admin      int
	meshAPI    int
	file       string
	generation int
	process    *process
}

// traffic is what a sidecar's file says of it, in YAML.
type traffic struct {
	listener string // what else its listener has, with a comma in front
	cluster  string // what else its cluster has, likewise
	rest     string // of its static part
	node     string // what is outside of that
	to       []int  // the ports of the cluster's endpoints
}

// newSidecar starts one with a listener of that protocol.
func newSidecar(t *testing.T, name, protocol string, x traffic) *sidecar {
	t.Helper()
	s := &sidecar{t: t, name: name, port: testport.Free(t), admin: testport.Free(t), meshAPI: testport.Free(t)}
	dir := t.TempDir()
	s.file = filepath.Join(dir, name+".yaml")
	var endpoints []string
	for _, port := range x.to {
		endpoints = append(endpoints, fmt.Sprintf(`"127.0.0.1:%d"`, port))
	}
	host := "127.0.0.1"
	switch protocol {
	case "dubbo", "http2", "auto":
		host = "0.0.0.0" // Dubbo's clients of Java that are told 127.0.0.1 call another address of their machine
	}
	text := fmt.Sprintf(`node: {id: %s, version: v1, generation: 1}
admin: 127.0.0.1:%d
meshAPI: 127.0.0.1:%d
handover: {socket: "@axle-interop/%d", keyFile: %q}
terminationGraceSeconds: 1
%sstatic:
  listeners:
  - {name: %s, address: "%s:%d", protocol: %s%s}
  clusters:
  - {name: peer, endpoints: [%s]%s}
%s`, name, s.admin, s.meshAPI, s.port, filepath.Join(dir, "key"), x.node, name, host, s.port, protocol, x.listener, strings.Join(endpoints, ", "), x.cluster, x.rest)
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(sidecarProgram, "check", "-f", s.file).CombinedOutput(); err != nil {
		t.Fatalf("check the file of %s: %v\n%s\n%s", name, err, out, text)
	}
	s.start()
	return s
}

// needs skips the test when the sidecar is another release's, which does not know a protocol. This tree's knows all.
func needs(t *testing.T, protocol string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "probe.yaml")
	text := fmt.Sprintf(`node: {id: probe, version: v1, generation: 1}
static:
  listeners:
  - {name: probe, address: "127.0.0.1:1", protocol: %s, cluster: peer}
  clusters:
  - {name: peer, endpoints: ["127.0.0.1:1"]}
`, protocol)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(sidecarProgram, "check", "-f", file).CombinedOutput(); err != nil {
		if os.Getenv("INTEROP_SIDECAR") == "" {
			t.Fatalf("this tree's axle-sidecar check refuses protocol: %s: %s", protocol, out)
		}
		t.Skipf("axle-sidecar check refuses protocol: %s: %s", protocol, out)
	}
}

func (s *sidecar) start(args ...string) {
	s.t.Helper()
	s.generation++
	s.process = launch(s.t, nil, sidecarProgram, append([]string{"run", "-f", s.file}, args...)...)
	s.process.name = fmt.Sprintf("sidecar %s, generation %d", s.name, s.generation)
	want := fmt.Sprintf(`"state":"serving","version":"v1","generation":%d}`, s.generation)
	eventually(s.t, s.process.name+" serves", func() bool {
		if !s.process.running() {
			s.t.Fatalf("%s has ended", s.process.name)
		}
		return strings.Contains(page(s.meshAPI, "/state"), want)
	})
}

// upgrade lets a new process take everything over.
func (s *sidecar) upgrade() {
	s.t.Helper()
	old := s.process
	s.start("--takeover")
	old.ends()
}

// metrics are the values of some metrics, labels and all.
func (s *sidecar) metrics(names ...string) map[string]float64 {
	s.t.Helper()
	text := page(s.admin, "/metrics")
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, want := range names {
			if name == want || strings.HasPrefix(name, want+"{") {
				all[name], _ = strconv.ParseFloat(value, 64)
			}
		}
	}
	if len(all) == 0 {
		s.t.Fatalf("%s has none of %v:\n%s", s.name, names, text)
	}
	return all
}

// sound fails the test when the sidecar has noticed something that no upgrade may do.
func (s *sidecar) sound() {
	s.t.Helper()
	bad := s.metrics("axle_handover_connections_lost_total", "axle_handover_connections_mismatch_total", "axle_connections_malformed_total",
		"axle_connections_slow_total", `axle_handovers_total{result="failed"}`)
	for name, value := range bad {
		if value != 0 {
			s.t.Errorf("%s: %s is %v", s.process.name, name, value)
		}
	}
}

func page(port int, path string) string {
	c := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// mesh is the way of a call: from a client's sidecar to a server's.
type mesh struct {
	t            *testing.T
	protocol     string
	client, peer *sidecar
	serverPort   int
}

// newMesh starts both. Without routes everything goes to the server.
func newMesh(t *testing.T, protocol string, server int, routes ...string) *mesh {
	t.Helper()
	return newMeshWith(t, protocol, blocks{}, server, routes...)
}

// blocks are what the files of a mesh have besides, in YAML. Where TLS is empty there are plain bytes.
type blocks struct {
	client, between, peer string // TLS
	tracing               string // of both sidecars
}

func newMeshWith(t *testing.T, protocol string, also blocks, server int, routes ...string) *mesh {
	t.Helper()
	block := func(text string) string {
		if text == "" {
			return ""
		}
		return ", tls: {" + text + "}"
	}
	tracing := ""
	if also.tracing != "" {
		tracing = "tracing: {" + also.tracing + "}\n"
	}
	m := &mesh{t: t, protocol: protocol, serverPort: server}
	m.peer = newSidecar(t, "inbound", protocol, traffic{listener: ", cluster: peer" + block(also.peer), to: []int{server}, node: tracing})
	x := traffic{listener: block(also.client), cluster: block(also.between), to: []int{m.peer.port}, node: tracing}
	if len(routes) > 0 {
		x.rest = "  routes:\n  - {" + strings.Join(routes, "}\n  - {") + "}\n"
	} else {
		x.listener += ", cluster: peer"
	}
	m.client = newSidecar(t, "outbound", protocol, x)
	return m
}

// legs are the connections of a mesh, each named by its client's port. Those of HTTP between sidecars and to servers are not
// told: a sidecar closes them after a few seconds without a request, and in an upgrade when they rest.
type legs struct{ Client, Between, Server []int }

func (m *mesh) legs() legs {
	m.t.Helper()
	l := legs{Client: connections(m.t, m.client.port)}
	if m.protocol != "http1" {
		l.Between, l.Server = connections(m.t, m.peer.port), connections(m.t, m.serverPort)
	}
	return l
}

// carries upgrades both sidecars in the middle of a client's calls. Nothing may fail, and nobody may connect again.
func (m *mesh) carries(c client) {
	m.t.Helper()
	c.goesOn(20)
	before := m.legs()
	for range 2 {
		m.peer.upgrade()
		m.client.upgrade()
		c.goesOn(10)
	}
	if diff := cmp.Diff(before, m.legs()); diff != "" {
		m.t.Errorf("connections (-before +after the upgrades):\n%s", diff)
	}
	if len(before.Client) == 0 || m.protocol != "http1" && (len(before.Between) == 0 || len(before.Server) == 0) {
		m.t.Errorf("the calls do not go through the sidecars: %v", before)
	}
	c.finish()
	m.client.sound()
	m.peer.sound()
}
