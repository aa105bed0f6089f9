package docs_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestResilientSample does what the comments of resilient.yaml say, with one endpoint of two that is always busy.
func TestResilientSample(t *testing.T) {
	p := newPlace(t)
	file := p.file("resilient.yaml", "resilient.yaml")
	if err := os.MkdirAll(filepath.Join(p.dir, "run/axle"), 0o700); err != nil {
		t.Fatal(err)
	}
	var busy, good atomic.Int64
	answer(t, p.move("127.0.0.1:18092"), func(w http.ResponseWriter, _ *http.Request) {
		busy.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	answer(t, p.move("127.0.0.1:18093"), func(w http.ResponseWriter, r *http.Request) {
		good.Add(1)
		w.Header().Set("Server", "test")
		_, _ = fmt.Fprintf(w, "%s %s%s", r.URL, r.Header.Get("X-Mesh"), r.Header.Get("Cookie"))
	})
	if out, err := exec.Command(program(t, "axle-sidecar"), "check", "-f", file).CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Fatalf("check: %v, %s", err, out)
	}
	start(t, program(t, "axle-sidecar"), "run", "-f", file)
	eventually(t, "ready", func() bool { return page(p.move("http://127.0.0.1:13371/readyz")) == "ok\n" })
	client := &http.Client{
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	type answered struct {
		status int
		header http.Header
		body   string
	}
	ask := func(path string, headers ...string) answered {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, p.move("http://127.0.0.1:18010")+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.demo"
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answered{res.StatusCode, res.Header, string(body)}
	}
	for range 10 {
		got := ask("/api/items?a=b", "Cookie", "secret", "User", "ann")
		if got.status != http.StatusOK || got.body != "/items?a=b axle" || got.header.Get("Server") != "" {
			t.Fatalf("got %+v", got)
		}
	}
	if good.Load() != 10 || busy.Load() < 2 {
		t.Errorf("%d requests at the good endpoint and %d at the busy one", good.Load(), busy.Load())
	}
	if got := ask("/old/a?b"); got.status != http.StatusPermanentRedirect || got.header.Get("Location") != "/new/a?b" {
		t.Errorf("status %d to %q", got.status, got.header.Get("Location"))
	}
	limited := 0
	for range 5 {
		if got := ask("/login"); got.status == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited != 2 {
		t.Errorf("%d of 5 were limited, want 2", limited)
	}
	begin := time.Now()
	if got := ask("/", "X-Test", "mine-chaos"); got.status != http.StatusServiceUnavailable || time.Since(begin) < 50*time.Millisecond {
		t.Errorf("status %d after %s", got.status, time.Since(begin))
	}
	if got := ask("/?safe", "X-Test", "mine-chaos"); got.status != http.StatusOK {
		t.Errorf("status %d with safe", got.status)
	}
	text := page(p.move("http://127.0.0.1:13371/metrics"))
	for _, line := range []string{
		`axle_requests_total{class="ok",code="200",direction="outbound",flag="-",host="shop.demo",protocol="http1",route="all"} 11`,
		`axle_requests_total{class="ok",code="429",direction="outbound",flag="rate_limit",host="shop.demo",protocol="http1",route="login"} 2`,
		`axle_request_duration_seconds_count{direction="outbound",host="shop.demo",protocol="http1",route="all"} 11`,
		`axle_failures_total{reason="rate_limit"} 2`, `axle_failures_total{reason="fault"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	eventually(t, "the access log has what the limit and the fault have answered", func() bool {
		b, _ := os.ReadFile(filepath.Join(p.dir, "run/axle/resilient.json"))
		log := string(b)
		return strings.Count(log, `"status":429`) == 2 && strings.Count(log, `"status":503,"flags":"fault"`) == 1
	})
}

// answer serves HTTP at address.
func answer(t *testing.T, address string, with http.HandlerFunc) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(with)
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
}
