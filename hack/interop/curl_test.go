//go:build interop

package interop

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shop is a mesh before the stock HTTP server of Node.js, which curl knows as shop.demo.
type shop struct {
	*mesh
	dir string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	return &shop{newMesh(t, "http1", nodeServer(t, "web-server.js"), `service: shop.demo, cluster: peer, timeout: 30s`), t.TempDir()}
}

// direct are the arguments that make curl call the sidecar instead of shop.demo.
func (s *shop) direct() []string {
	return []string{"--connect-to", fmt.Sprintf("shop.demo:80:127.0.0.1:%d", s.client.port)}
}

func (s *shop) curl(args ...string) *exec.Cmd {
	cmd := exec.Command("curl", append([]string{"--disable", "--silent", "--show-error", "--max-time", "50"}, args...)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("http_proxy=http://127.0.0.1:%d", s.client.port), "no_proxy=")
	return cmd
}

// TestCurl does one thing after the other.
func TestCurl(t *testing.T) {
	s := newShop(t)
	large := bytes.Repeat([]byte("0123456789abcde\n"), 200_000)
	file := filepath.Join(s.dir, "large")
	if err := os.WriteFile(file, large, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%d %x\n", len(large), sha256.Sum256(large))
	noProxy := append([]string{"--noproxy", "*"}, s.direct()...)
	const and = "%{num_connects} %{http_code}\n"
	cases := map[string]struct {
		args  []string
		input string
		want  string
		heads []string // what has to be among the heads, in order
	}{
		"one connection for several requests": {
			args: append(noProxy, "-w", and, "http://shop.demo/text/[1-3]"),
			want: "text 1\n1 200\ntext 2\n0 200\ntext 3\n0 200\n",
		},
		"an upload with its length": {
			args: append(noProxy, "--data-binary", "@"+file, "-H", "Expect:", "http://shop.demo/sum"), want: sum,
		},
		"an upload in chunks": {
			args: append(noProxy, "-T", "-", "-H", "Expect:", "-X", "POST", "http://shop.demo/sum"), input: string(large), want: sum,
		},
		"an upload that waits for 100 Continue": {
			args: append(noProxy, "-T", file, "-H", "Expect: 100-continue", "--expect100-timeout", "40", "http://shop.demo/sum"), want: sum,
			heads: []string{"HTTP/1.1 100 Continue", "HTTP/1.1 200 OK"},
		},
		"an upload that is refused before it begins": {
			args: append(noProxy, "-T", file, "-H", "Expect: 100-continue", "--expect100-timeout", "40", "http://shop.demo/refuse"),
			want: "too large\n", heads: []string{"HTTP/1.1 413 Payload Too Large"},
		},
		"an expectation that nobody knows": {
			args: append(noProxy, "-H", "Expect: miracles", "-w", and, "http://shop.demo/text/1"), want: "1 417\n",
		},
		"HEAD has a length and no body": {
			args:  append(noProxy, "-I", "-o", "/dev/null", "-w", and, "http://shop.demo/bytes/[4711-4712]"),
			want:  "1 200\n0 200\n",
			heads: []string{"Content-Length: 4711", "Content-Length: 4712"},
		},
		"trailers": {
			args: append(noProxy, "http://shop.demo/drops/2"), want: "drop 1\ndrop 2\n",
			heads: []string{"Trailer: X-Drops", "Transfer-Encoding: chunked", "X-Drops: 2"},
		},
		"HTTP/1.0": {
			args: append(noProxy, "--http1.0", "http://shop.demo/drops/2"), want: "drop 1\ndrop 2\n",
		},
		"a status without a body": {
			args: append(noProxy, "-w", and, "http://shop.demo/nothing", "http://shop.demo/text/1"), want: "1 404\ntext 1\n0 200\n",
		},
		"a host that has no route": {
			args: []string{"-o", "/dev/null", "-w", and, "http://other.demo/text/1"}, want: "1 404\n",
		},
		"HTTP_PROXY: the server sees a path and a host": {
			args: []string{"-w", and, "http://shop.demo/see/1?a=b", "http://shop.demo/see/2"},
			want: "GET /see/1?a=b HTTP/1.1 host=shop.demo te=undefined\n1 200\nGET /see/2 HTTP/1.1 host=shop.demo te=undefined\n0 200\n",
		},
		"HTTP_PROXY: CONNECT": {
			args: []string{"--proxytunnel", "-w", and, "http://shop.demo:80/see/[1-2]"},
			want: "GET /see/1 HTTP/1.1 host=shop.demo te=undefined\n1 200\nGET /see/2 HTTP/1.1 host=shop.demo te=undefined\n0 200\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			heads := filepath.Join(s.dir, "heads")
			cmd := s.curl(append([]string{"--dump-header", heads}, tc.args...)...)
			cmd.Stdin = strings.NewReader(tc.input)
			var errs strings.Builder
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if diff := cmp.Diff(tc.want, string(out)); diff != "" || err != nil {
				t.Errorf("%v, %s\n(-want +got):\n%s", err, errs.String(), diff)
			}
			b, err := os.ReadFile(heads)
			if err != nil {
				t.Fatal(err)
			}
			rest := string(b)
			for _, want := range tc.heads {
				_, after, ok := strings.Cut(rest, want+"\r\n")
				if !ok {
					t.Fatalf("%q is not among what is left of the heads:\n%s", want, b)
				}
				rest = after
			}
		})
	}
	s.client.sound()
	s.peer.sound()
}

// TestCurlAcrossUpgrades has several curls busy while both sidecars are upgraded.
func TestCurlAcrossUpgrades(t *testing.T) {
	s := newShop(t)
	var slow strings.Builder
	for i := range 100 {
		fmt.Fprintf(&slow, "drop %d\n", i+1)
	}
	keptAlive := func(line string) string {
		var b strings.Builder
		for i := range 60 {
			fmt.Fprintf(&b, line, i+1, map[bool]int{true: 1}[i == 0])
		}
		return b.String()
	}
	body := strings.Repeat("0123456789abcde\n", 10_000)
	file := filepath.Join(s.dir, "body")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%d %x\n", len(body), sha256.Sum256([]byte(body)))
	const and = "%{num_connects} %{http_code}\n"
	noProxy := append([]string{"--noproxy", "*"}, s.direct()...)
	busy := map[string]struct {
		args []string
		want string
	}{
		"keep-alive": {append(noProxy, "--rate", "12/s", "-w", and, "http://shop.demo/text/[1-60]"), keptAlive("text %d\n%d 200\n")},
		"HTTP_PROXY": {[]string{"--rate", "12/s", "-w", and, "http://shop.demo/text/[1-60]"}, keptAlive("text %d\n%d 200\n")},
		"CONNECT": {
			[]string{"--proxytunnel", "--rate", "12/s", "-w", and, "http://shop.demo/text/[1-60]"}, keptAlive("text %d\n%d 200\n"),
		},
		"a slow upload": {
			append(noProxy, "--limit-rate", "30k", "-T", file, "-X", "POST", "-H", "Transfer-Encoding: chunked", "http://shop.demo/sum"), sum,
		},
		"a slow upload that comes back": {append(noProxy, "--limit-rate", "30k", "--data-binary", "@"+file, "http://shop.demo/echo"), body},
		"a slow answer":                 {append(noProxy, "-w", and, "http://shop.demo/drops/100"), slow.String() + "1 200\n"},
		"a slow answer, CONNECT":        {[]string{"--proxytunnel", "-w", and, "http://shop.demo/drops/100"}, slow.String() + "1 200\n"},
	}
	running := map[string]*process{}
	for name, b := range busy {
		cmd := s.curl(b.args...)
		running[name] = launch(t, cmd.Env, cmd.Args[0], cmd.Args[1:]...)
	}
	for range 3 {
		eventually(t, "another half second of answers", s.answered(running["keep-alive"], 6))
		s.peer.upgrade()
		eventually(t, "another half second of answers", s.answered(running["keep-alive"], 6))
		s.client.upgrade()
	}
	for name, p := range running {
		if !p.running() {
			t.Errorf("%s: curl ended before the last upgrade", name)
		}
	}
	for name, p := range running {
		p.ends()
		if diff := cmp.Diff(busy[name].want, p.out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	s.client.sound()
	s.peer.sound()
}

// answered says whether a curl has got n more answers than now.
func (s *shop) answered(p *process, n int) func() bool {
	lines := func() int { return strings.Count(p.out.String(), " 200\n") }
	from := lines()
	return func() bool { return lines() >= from+n }
}
