package docs_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHTTP2Sample serves HTTP/2 with http2.yaml, with a takeover in the middle of a request's body; the client keeps its
// connection.
func TestHTTP2Sample(t *testing.T) {
	p := newPlace(t)
	file := p.file("http2.yaml", "http2.yaml")
	if err := os.MkdirAll(filepath.Join(p.dir, "run/axle"), 0o700); err != nil {
		t.Fatal(err)
	}
	repeat2(t, "orders", p.move("127.0.0.1:18030"))
	repeat2(t, "shop", p.move("127.0.0.1:18031"))
	if out, err := exec.Command(program(t, "axle-sidecar"), "check", "-f", file).CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Fatalf("check: %v, %s", err, out)
	}
	first := start(t, program(t, "axle-sidecar"), "run", "-f", file)
	eventually(t, "ready", func() bool { return page(p.move("http://127.0.0.1:13391/readyz")) == "ok\n" })
	dials := 0
	c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		Protocols: plainHTTP2(),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dials++
			return new(net.Dialer).DialContext(ctx, "tcp", p.move("127.0.0.1:18020"))
		},
	}}
	ask := func(path string, body io.Reader, want string) {
		resp, err := c.Post("http://shop.demo"+path, "text/plain", body)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	ask("/before", nil, "shop shop.demo /before ")
	r, w := io.Pipe()
	done := make(chan bool)
	go func() {
		ask("/shop.Orders/Add", r, "orders shop.demo /shop.Orders/Add hello")
		close(done)
	}()
	_, _ = w.Write([]byte("hel"))
	start(t, program(t, "axle-sidecar"), "run", "-f", file, "--takeover")
	if code := first.exit(); code != 0 {
		t.Errorf("the first exited with %d", code)
	}
	_, _ = w.Write([]byte("lo"))
	_ = w.Close()
	<-done
	ask("/after", nil, "shop shop.demo /after ")
	if got := page(p.move("http://127.0.0.1:13390/state")); dials != 1 || !strings.Contains(got, `"generation":2`) {
		t.Errorf("%d connections, state %s; want 1 and generation 2", dials, got)
	}
}

func plainHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// repeat2 serves HTTP/2 at address and says back what it was asked.
func repeat2(t *testing.T, name, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s %s %s", name, r.Host, r.URL.Path, body)
	}))
	_ = s.Listener.Close()
	s.Listener, s.Config.Protocols = l, plainHTTP2()
	s.Start()
	t.Cleanup(s.Close)
}
