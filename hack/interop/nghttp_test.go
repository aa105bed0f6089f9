//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/hack/testport"
)

// nghttpServer starts the server of nghttp2, without TLS. It serves /text and /large, and gives uploads back.
func nghttpServer(t *testing.T, text, large []byte) int {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string][]byte{"text": text, "large": large} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	port := testport.Free(t)
	launch(t, nil, "nghttpd", "--no-tls", "--echo-upload", "-a", "127.0.0.1", "-d", dir, strconv.Itoa(port))
	eventually(t, "nghttpd accepts", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
	return port
}

// TestNghttp: the client and the server of nghttp2.
func TestNghttp(t *testing.T) {
	needs(t, "http2")
	text, large := []byte("text\n"), bytes.Repeat([]byte("0123456789abcde\n"), 100_000)
	m := newMesh(t, "http2", nghttpServer(t, text, large), `service: shop.demo, cluster: peer`)
	file := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(file, large, 0o600); err != nil {
		t.Fatal(err)
	}
	url := func(path string) string { return fmt.Sprintf("http://127.0.0.1:%d/%s", m.client.port, path) }
	cases := map[string]struct {
		args []string
		want []byte
	}{
		"a text":               {[]string{url("text")}, text},
		"a large file":         {[]string{url("large")}, large},
		"a small window":       {[]string{"-w", "10", "-W", "10", url("large")}, large},
		"an upload":            {[]string{"-d", file, url("echo")}, large},
		"an upload, continued": {[]string{"--expect-continue", "-d", file, url("echo")}, large},
		"padded frames":        {[]string{"-b", "100", "-d", file, url("echo")}, large},
		"trailers":             {[]string{"--trailer", "x-sum: 1", "-d", file, url("echo")}, large},
		"no dynamic table":     {[]string{"-c", "0", url("text")}, text},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"--no-dep", "-t", "30", "-H", ":authority: shop.demo"}, tc.args...)
			cmd := exec.Command("nghttp", args...)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil || !bytes.Equal(out, tc.want) {
				t.Errorf("nghttp: %v, %d bytes, want %d\n%s", err, len(out), len(tc.want), errs.String())
			}
		})
	}
	m.client.sound()
	m.peer.sound()
}

// TestH2load: many requests on few connections of nghttp2's load generator, and four upgrades.
func TestH2load(t *testing.T) {
	needs(t, "http2")
	m := newMesh(t, "http2", nghttpServer(t, []byte("text\n"), nil), `service: shop.demo, cluster: peer`)
	load := launch(t, nil, "h2load", "-c", "10", "-m", "10", "-D", "12", "-H", ":authority: shop.demo",
		fmt.Sprintf("http://127.0.0.1:%d/text", m.client.port))
	served := func() float64 {
		return m.client.metrics("axle_downstream_requests_total")[`axle_downstream_requests_total{direction="outbound"}`]
	}
	goesOn := func() {
		from := served()
		eventually(t, "requests are served", func() bool { return served() > from+200 })
	}
	goesOn()
	before := m.legs()
	for range 2 {
		m.peer.upgrade()
		goesOn()
		m.client.upgrade()
		goesOn()
	}
	if diff := cmp.Diff(before, m.legs()); diff != "" || len(before.Client) != 10 {
		t.Errorf("connections of %d clients (-before +after the upgrades):\n%s", len(before.Client), diff)
	}
	if !load.running() {
		t.Error("h2load ended before the last upgrade")
	}
	load.ends()
	said := load.out.String()
	if !regexp.MustCompile(` 0 failed, 0 errored, 0 timeout\nstatus codes: [0-9]+ 2xx, 0 3xx, 0 4xx, 0 5xx`).MatchString(said) {
		t.Errorf("h2load says:\n%s", said)
	}
	t.Log(said)
	m.client.sound()
	m.peer.sound()
}
