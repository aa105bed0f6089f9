package docs_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestHedgingSample asks the sidecar of hedging.yaml, one endpoint of which answers nothing: every request is answered well all the same.
func TestHedgingSample(t *testing.T) {
	p := newPlace(t)
	file := p.file("hedging.yaml", "hedging.yaml")
	if err := os.MkdirAll(filepath.Join(p.dir, "run/axle"), 0o700); err != nil {
		t.Fatal(err)
	}
	var stuck, calledOff atomic.Int64
	answer(t, p.move("127.0.0.1:18094"), func(_ http.ResponseWriter, r *http.Request) {
		stuck.Add(1)
		<-r.Context().Done()
		calledOff.Add(1)
	})
	answer(t, p.move("127.0.0.1:18095"), func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "well") })
	if out, err := exec.Command(program(t, "axle-sidecar"), "check", "-f", file).CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Fatalf("check: %v, %s", err, out)
	}
	start(t, program(t, "axle-sidecar"), "run", "-f", file)
	eventually(t, "ready", func() bool { return page(p.move("http://127.0.0.1:13381/readyz")) == "ok\n" })
	client := &http.Client{Timeout: 20 * time.Second}
	const requests = 6
	for n := range requests {
		req, err := http.NewRequest(http.MethodGet, p.move("http://127.0.0.1:18011/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.demo"
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _ = res.Body.Close(); res.StatusCode != http.StatusOK {
			t.Errorf("request %d: status %d", n, res.StatusCode)
		}
	}
	if stuck.Load() < 2 {
		t.Errorf("%d of %d requests have come to the endpoint that answers nothing", stuck.Load(), requests)
	}
	eventually(t, "all tries there are called off", func() bool { return calledOff.Load() == stuck.Load() })
	text := page(p.move("http://127.0.0.1:13381/metrics"))
	for _, line := range []string{
		fmt.Sprintf("axle_hedges_total %d", stuck.Load()), fmt.Sprintf("axle_hedges_won_total %d", stuck.Load()),
		fmt.Sprintf(`axle_requests_total{class="ok",code="200",direction="outbound",flag="-",host="shop.demo",protocol="http1",route="all"} %d`, requests),
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}
