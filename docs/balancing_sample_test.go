package docs_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// moody is an HTTP server that says its name, and is healthy and working as long as it is told so.
type moody struct{ sick, failing atomic.Bool }

func (m *moody) serve(t *testing.T, name, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" && m.sick.Load() || r.URL.Path != "/health" && m.failing.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = fmt.Fprint(w, name)
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
}

// TestBalancingSample serves balancing.yaml: a cart stays with its server, and what fails or is sick is passed over.
func TestBalancingSample(t *testing.T) {
	p := newPlace(t)
	file := p.file("balancing.yaml", "balancing.yaml")
	if err := os.MkdirAll(filepath.Join(p.dir, "run/axle"), 0o700); err != nil {
		t.Fatal(err)
	}
	var servers [3]moody
	ats := []string{"127.0.0.1:18191", "127.0.0.1:18192", "127.0.0.1:18193"}
	for i, at := range ats {
		servers[i].serve(t, at, p.move(at))
	}
	if out, err := exec.Command(program(t, "axle-sidecar"), "check", "-f", file).CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Fatalf("check: %v, %s", err, out)
	}
	start(t, program(t, "axle-sidecar"), "run", "-f", file)
	eventually(t, "ready", func() bool { return page(p.move("http://127.0.0.1:13381/readyz")) == "ok\n" })
	ask := func(path, session string) (status int, server string) {
		req, err := http.NewRequest(http.MethodGet, p.move("http://127.0.0.1:18100")+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Session", session)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b := make([]byte, 100)
		n, _ := resp.Body.Read(b)
		return resp.StatusCode, string(b[:n])
	}
	homes := map[string]bool{}
	for u := range 20 {
		_, home := ask("/cart", fmt.Sprint(u))
		homes[home] = true
		for range 3 {
			if _, at := ask("/cart", fmt.Sprint(u)); at != home {
				t.Errorf("cart %d is at %s, then at %s", u, home, at)
			}
		}
	}
	if len(homes) < 2 {
		t.Errorf("20 carts are all at %v", homes)
	}
	health := func(cluster, at string) string {
		var all []struct {
			Name      string
			Endpoints []struct{ Endpoint, Health string }
		}
		if err := json.Unmarshal([]byte(page(p.move("http://127.0.0.1:13381/clusters"))), &all); err != nil {
			return err.Error()
		}
		for _, c := range all {
			for _, e := range c.Endpoints {
				if c.Name == cluster && e.Endpoint == p.move(at) {
					return e.Health
				}
			}
		}
		return "not there"
	}
	servers[1].sick.Store(true)
	eventually(t, "the sick one is unhealthy", func() bool { return health("shop", ats[1]) == "unhealthy" })
	servers[0].failing.Store(true)
	eventually(t, "the failing one is ejected", func() bool {
		ask("/", "")
		return health("shop", ats[0]) == "ejected"
	})
	if got := page(p.move("http://127.0.0.1:13381/metrics")); !strings.Contains(got, `axle_endpoints_out{reason="ejected"} 1`) {
		t.Error("the metrics show no ejection")
	}
}
