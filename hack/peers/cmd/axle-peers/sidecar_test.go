package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/axlemesh/axle/hack/peers/httpserver"
	"github.com/axlemesh/axle/hack/peers/meshstate"
	"github.com/axlemesh/axle/hack/peers/tally"
)

// sidecars runs generations of a sidecar that sends what is for ledger.demo to one server.
type sidecars struct {
	binary, file string
	mesh, api    string
}

func newSidecars(t *testing.T, server string) *sidecars {
	t.Helper()
	dir := t.TempDir()
	s := &sidecars{binary: filepath.Join(dir, "axle-sidecar"), file: filepath.Join(dir, "bootstrap.yaml"), mesh: free(t), api: free(t)}
	if out, err := exec.Command("go", "build", "-o", s.binary, "../../../../sidecar").CombinedOutput(); err != nil {
		t.Fatalf("build the sidecar: %v\n%s", err, out)
	}
	conf := fmt.Sprintf(`
node: {id: peers, version: v1, generation: 1}
admin: %q
meshAPI: %q
handover: {socket: "@axle-peers-test/%d", keyFile: %q}
loops: 2
static:
  listeners:
  - {name: http, address: %q, protocol: http1}
  routes:
  - {service: ledger.demo, cluster: ledger}
  clusters:
  - {name: ledger, endpoints: [%q]}
`, free(t), s.api, os.Getpid(), filepath.Join(dir, "key"), s.mesh, server)
	if err := os.WriteFile(s.file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs a generation; the returned function waits for its end.
func (s *sidecars) start(t *testing.T, args ...string) (end func() error) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(s.binary, append([]string{"run", "-f", s.file}, args...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	wait := sync.OnceValue(func() error {
		select {
		case err := <-ended:
			return err
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			return fmt.Errorf("it did not end; its last words:\n%s", log.String())
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = wait()
	})
	return wait
}

// eventually waits until the client's report is as it should be.
func eventually(t *testing.T, web, what string, ok func(tally.Report) bool) tally.Report {
	t.Helper()
	var r tally.Report
	for range 2000 {
		r = tally.Report{}
		if ask(t, "http://"+web+"/report", &r) && ok(r) {
			return r
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s: not in time; the client's report is %+v", what, r)
	return r
}

// TestNothingIsLostThroughSidecars has an HTTP client and server talk directly, then through a sidecar, and meanwhile a new
// generation of the sidecar takes over from the old one.
func TestNothingIsLostThroughSidecars(t *testing.T) {
	for name, form := range map[string]string{"by the Host field": "-absolute=false", "by the absolute form": "-absolute"} {
		t.Run(name, func(t *testing.T) {
			server, serverWeb, clientWeb := free(t), free(t), free(t)
			s := newSidecars(t, server)
			ctx, cancel := context.WithCancel(context.Background())
			var work sync.WaitGroup
			start := func(args ...string) {
				work.Go(func() {
					if err := run(ctx, args, &bytes.Buffer{}); err != nil {
						t.Errorf("%v: %v", args, err)
					}
				})
			}
			defer work.Wait()
			defer cancel()
			start("http-server", "-name", "s0", "-version", "v3", "-delay", "2ms", "-payload", "2000", "-listen", server, "-http", serverWeb)
			start("http-client", "-direct", server, "-host", "ledger.demo:8081", "-mesh", s.mesh, "-mesh-state", "http://"+s.api+"/state",
				"-connections", "10", "-rate", "400", "-chunk-every", "5", "-http", clientWeb, form)
			eventually(t, clientWeb, "direct calls", func(r tally.Report) bool { return r.Requests > 20 && r.Via[meshstate.Direct] == 10 })
			first := s.start(t)
			moved := eventually(t, clientWeb, "calls through the sidecar", func(r tally.Report) bool { return r.Moves == 10 })
			eventually(t, clientWeb, "more calls", func(r tally.Report) bool { return r.Requests > moved.Requests+100 })
			s.start(t, "--takeover")
			if err := first(); err != nil {
				t.Errorf("the first generation: %v", err)
			}
			taken := eventually(t, clientWeb, "calls", func(tally.Report) bool { return true })
			eventually(t, clientWeb, "calls after the handover", func(r tally.Report) bool { return r.Requests > taken.Requests+100 })
			if resp, err := http.Post("http://"+clientWeb+"/pause", "", nil); err == nil {
				resp.Body.Close()
			}
			r := eventually(t, clientWeb, "a pause", func(r tally.Report) bool { return r.InFlight == 0 && r.Sent == r.Requests })
			if r.Failed+r.Resets+r.Reconnects+r.Duplicates+r.Goaways != 0 || r.Versions["v3"] != r.Requests {
				t.Errorf("the client's report: %+v", r)
			}
			var got httpserver.Report
			if !ask(t, "http://"+serverWeb+"/report", &got) || got.Requests != r.Sent || got.Duplicates+got.BadChecksums+got.Broken+got.Resets != 0 {
				t.Errorf("the client sent %d, the server's report: %+v", r.Sent, got)
			}
		})
	}
}
