package docs_test

import (
	"bufio"
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

// TestHTTPSample serves HTTP/1.1 with http.yaml, with a takeover in the middle of a request's body.
func TestHTTPSample(t *testing.T) {
	p := newPlace(t)
	file := p.file("http.yaml", "http.yaml")
	if err := os.MkdirAll(filepath.Join(p.dir, "run/axle"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"127.0.0.1:18090", "127.0.0.1:18091"} {
		repeat(t, p.move(at))
	}
	if out, err := exec.Command(program(t, "axle-sidecar"), "check", "-f", file).CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Fatalf("check: %v, %s", err, out)
	}
	first := start(t, program(t, "axle-sidecar"), "run", "-f", file)
	c := dial(t, p.move("127.0.0.1:18000"))
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	answers := bufio.NewReader(c)
	send := func(text string) {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatalf("send %q: %v", text, err)
		}
	}
	receive := func(want string) {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("answer %q: %v", want, err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || string(body) != want {
			t.Fatalf("status %d, body %q, error %v; want 200 and %q", resp.StatusCode, body, err, want)
		}
	}
	send("GET /before HTTP/1.1\r\nHost: shop.demo\r\n\r\n")
	receive("shop.demo /before ")
	send("POST http://shop.demo/amid HTTP/1.1\r\nHost: shop.demo\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
	eventually(t, "ready", func() bool { return page(p.move("http://127.0.0.1:13361/readyz")) == "ok\n" })
	start(t, program(t, "axle-sidecar"), "run", "-f", file, "--takeover")
	if code := first.exit(); code != 0 {
		t.Errorf("the first exited with %d", code)
	}
	send("lo\r\n0\r\n\r\n")
	receive("shop.demo /amid hello")
	send("GET /after HTTP/1.1\r\nHost: shop.demo\r\n\r\n")
	receive("shop.demo /after ")
	if got := page(p.move("http://127.0.0.1:13360/state")); !strings.Contains(got, `"generation":2`) {
		t.Errorf("state %s, want generation 2", got)
	}
}

// repeat serves HTTP at address and says back what it was asked.
func repeat(t *testing.T, address string) {
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
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Host, r.URL.Path, body)
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
}
