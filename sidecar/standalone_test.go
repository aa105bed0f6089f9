package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/hack/testport"
)

// standalone is a host with one application and sidecars of one bootstrap file.
type standalone struct {
	app                  *echo
	port, admin, meshAPI int
	file, key            string
}

func newStandalone(t *testing.T) *standalone {
	t.Helper()
	s := &standalone{app: newEcho(t), port: testport.Free(t), admin: testport.Free(t), meshAPI: testport.Free(t), key: filepath.Join(t.TempDir(), "key")}
	s.file = writeFile(t, "bootstrap.yaml", fmt.Sprintf(`
node: {id: host, version: v1, generation: 1}
admin: 127.0.0.1:%d
meshAPI: 127.0.0.1:%d
handover: {socket: "@axle-test/%d", keyFile: %q}
loops: 2
terminationGraceSeconds: 5
static:
  listeners:
  - {name: echo, address: "127.0.0.1:%d", protocol: tcp, cluster: echo}
  clusters:
  - {name: echo, endpoints: ["127.0.0.1:%d"]}
`, s.admin, s.meshAPI, s.port, s.key, s.port, s.app.port))
	return s
}

func (s *standalone) serving(t *testing.T, generation int) {
	t.Helper()
	want := fmt.Sprintf("{\"state\":\"serving\",\"version\":\"v1\",\"generation\":%d}\n", generation)
	eventually(t, want, func() bool { return get(s.meshAPI, "/state") == want })
	eventually(t, "ready", func() bool { return get(s.admin, "/readyz") == "ok\n" })
}

func TestStandaloneUpgrades(t *testing.T) {
	const upgrades, clients = 6, 20
	s := newStandalone(t)
	p := launch(t, "generation 1", nil, "run", "-f", s.file)
	s.serving(t, 1)
	l := newClients(t, s.port, clients)
	l.progress()
	var fds []map[string]int
	var goroutines []int
	moved := 0.0
	for g := 2; g <= upgrades+1; g++ {
		next := launch(t, fmt.Sprintf("generation %d", g), nil, "run", "-f", s.file, "--takeover")
		if code := p.exit(); code != 0 {
			t.Fatalf("%s exited with %d", p.name, code)
		}
		p = next
		s.serving(t, g)
		l.progress()
		page := get(s.admin, "/metrics")
		moved = value(t, page, "axle_handover_connections_moved_total")
		goroutines = append(goroutines, int(value(t, page, "go_goroutines")))
		fds = append(fds, p.descriptors())
	}
	page := get(s.admin, "/metrics")
	for metric, want := range map[string]float64{
		`axle_handovers_total{result="ok"}`:                       upgrades,
		`axle_handovers_total{result="failed"}`:                   0,
		`axle_handover_connections_lost_total`:                    0,
		`axle_handover_connections_mismatch_total`:                0,
		`axle_downstream_connections_total{direction="inbound"}`:  clients,
		`axle_downstream_connections_active{direction="inbound"}`: clients,
	} {
		if got := value(t, page, metric); got != want {
			t.Errorf("%s is %v, want %v", metric, got, want)
		}
	}
	if want := float64(upgrades * clients * 2); moved != want {
		t.Errorf("%v connections moved, want %v", moved, want)
	}
	if diff := cmp.Diff(fds[0], fds[len(fds)-1]); diff != "" {
		t.Errorf("descriptors (-first +last):\n%s", diff)
	}
	if first, last := goroutines[0], goroutines[len(goroutines)-1]; last > first+2 {
		t.Errorf("goroutines %v", goroutines)
	}
	l.stop()
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 0 {
		t.Errorf("the last one exited with %d", code)
	}
	if _, err := os.Stat(s.key); err != nil {
		t.Errorf("the key file: %v", err)
	}
}

func TestTakeoverThatCannotBegin(t *testing.T) {
	s := newStandalone(t)
	early := launch(t, "nobody serves", nil, "run", "-f", s.file, "--takeover")
	if code := early.exit(); code == 0 {
		t.Errorf("a takeover from nobody exited with %d", code)
	}
	if !strings.Contains(early.log.String(), "who serves? key file") {
		t.Errorf("it does not say why:\n%s", early.log)
	}
	p := launch(t, "generation 1", nil, "run", "-f", s.file)
	s.serving(t, 1)
	l := newClients(t, s.port, 5)
	l.progress()
	// A candidate of another configuration cannot bind its own extra address, so it is not ready.
	b, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	other := writeFile(t, "other.yaml", strings.Replace(string(b), "  clusters:", fmt.Sprintf("  - {name: more, address: %q, protocol: tcp, cluster: echo}\n  clusters:", taken.Addr()), 1))
	failed := launch(t, "a failing candidate", nil, "upgrade", "-f", other)
	if code := failed.exit(); code != 10 {
		t.Errorf("the candidate exited with %d, want 10", code)
	}
	if !strings.Contains(failed.log.String(), "address already in use") {
		t.Errorf("it does not say why:\n%s", failed.log)
	}
	l.progress()
	if !p.running() {
		t.Error("the serving process is gone")
	}
	good := launch(t, "generation 2", nil, "upgrade", "-f", s.file)
	if code := p.exit(); code != 0 {
		t.Errorf("generation 1 exited with %d", code)
	}
	s.serving(t, 2)
	if got := value(t, get(s.admin, "/metrics"), `axle_handovers_total{result="failed"}`); got != 1 {
		t.Errorf("%v failed handovers are remembered, want 1", got)
	}
	l.stop()
	good.signal(syscall.SIGINT)
	if code := good.exit(); code != 0 {
		t.Errorf("generation 2 exited with %d", code)
	}
}

func TestTerminatedWithClients(t *testing.T) {
	s := newStandalone(t)
	p := launch(t, "generation 1", nil, "run", "-f", s.file)
	s.serving(t, 1)
	l := newClients(t, s.port, 3)
	l.progress()
	p.signal(syscall.SIGTERM)
	eventually(t, "it says that it leaves", func() bool { return strings.Contains(get(s.meshAPI, "/state"), "leaving") })
	l.progress() // clients are served until they go
	l.stop()
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestAdminPages(t *testing.T) {
	s := newStandalone(t)
	launch(t, "generation 1", nil, "run", "-f", s.file)
	s.serving(t, 1)
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if got := get(s.admin, "/config_dump"); !strings.Contains(got, `"phase": "serving"`) || !strings.Contains(got, fmt.Sprintf("127.0.0.1:%d", s.app.port)) || strings.Contains(got, s.key) {
		t.Errorf("config dump %s", got)
	}
	if got := get(s.admin, "/connections"); strings.Count(got, `"kind"`) != 2 || !strings.Contains(got, `"listener": "echo"`) {
		t.Errorf("connections %s", got)
	}
	resp, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/gc", s.admin), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	if value(t, string(body), "heap_alloc_bytes") == 0 {
		t.Errorf("gc: %s", body)
	}
}

func TestCommands(t *testing.T) {
	good := newStandalone(t).file
	bad := writeFile(t, "bad.yaml", "node: {id: x, version: v, generation: 0}\nstatic:\n  listeners:\n  - {name: l, address: \"127.0.0.1:1\", protocol: tcp, cluster: none}\n")
	typo := writeFile(t, "typo.yaml", "nod: {}\n")
	cases := map[string]struct {
		args []string
		code int
		out  string
		errs []string
	}{
		"check":                   {args: []string{"check", "-f", good}, out: "ok\n"},
		"check finds all":         {args: []string{"check", "-f", bad}, code: 1, errs: []string{"node.generation: 0 is less than 1", `listener "l": there is no cluster "none"`}},
		"check finds typos":       {args: []string{"check", "-f", typo}, code: 1, errs: []string{`typo.yaml:1: unknown field "nod"`}},
		"run without a bootstrap": {args: []string{"run"}, code: 11, errs: []string{"AXLE_BOOTSTRAP"}},
		"version":                 {args: []string{"version"}, out: "dev\n"},
		"help":                    {args: nil, out: usage},
		"unknown":                 {args: []string{"fly"}, code: 2, errs: []string{`unknown command "fly"`}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			code, err := command(tc.args, &out)
			if code != tc.code || out.String() != tc.out {
				t.Errorf("code %d, output %q; want %d, %q", code, out.String(), tc.code, tc.out)
			}
			for _, want := range tc.errs {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
			}
			if len(tc.errs) == 0 && err != nil {
				t.Errorf("error %v", err)
			}
		})
	}
}
