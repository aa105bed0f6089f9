package docs_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAutoSample serves HTTP/1.1 and Dubbo on one port with auto.yaml, to clients that were silent until after a takeover.
func TestAutoSample(t *testing.T) {
	p := newPlace(t)
	file := p.file("auto.yaml", "auto.yaml")
	if err := os.MkdirAll(filepath.Join(p.dir, "run/axle"), 0o700); err != nil {
		t.Fatal(err)
	}
	repeat(t, p.move("127.0.0.1:18041"))
	answerDubbo(t, p.move("127.0.0.1:18042"), "ledger")
	if out, err := exec.Command(program(t, "axle-sidecar"), "check", "-f", file).CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Fatalf("check: %v, %s", err, out)
	}
	first := start(t, program(t, "axle-sidecar"), "run", "-f", file)
	web, rpc, other := dial(t, p.move("127.0.0.1:18040")), dial(t, p.move("127.0.0.1:18040")), dial(t, p.move("127.0.0.1:18040"))
	undecided := func() bool {
		return strings.Count(page(p.move("http://127.0.0.1:13421/connections")), `"undecided"`) == 3
	}
	eventually(t, "the three are there", undecided)
	eventually(t, "ready", func() bool { return page(p.move("http://127.0.0.1:13421/readyz")) == "ok\n" })
	second := start(t, program(t, "axle-sidecar"), "run", "-f", file, "--takeover")
	if code := first.exit(); code != 0 {
		t.Errorf("the first exited with %d", code)
	}
	eventually(t, "the three have moved", undecided)
	for _, c := range []io.Writer{web, rpc, other} {
		says := map[io.Writer]string{
			web: "GET /after HTTP/1.1\r\nHost: shop.demo\r\n\r\n", rpc: dubboRequest(1, "query", "user", "test"), other: "PING\r\n",
		}[c]
		if _, err := io.WriteString(c, says); err != nil {
			t.Fatal(err)
		}
	}
	_ = web.SetDeadline(time.Now().Add(20 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(web), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "shop.demo /after " {
		t.Errorf("status %d, body %q, %v", resp.StatusCode, body, err)
	}
	_ = rpc.SetDeadline(time.Now().Add(20 * time.Second))
	if head, body, err := readDubbo(rpc); err != nil || binary.BigEndian.Uint64(head[4:]) != 1 || head[3] != 20 || !strings.Contains(body, "ledger") {
		t.Errorf("got % x %q, %v; want id 1, status 20 and ledger", head, body, err)
	}
	eventually(t, "the log says that nobody knows the third", func() bool {
		return strings.Contains(second.log.String(), "its first bytes are none of Bolt, Dubbo, HTTP/1 and HTTP/2")
	})
}
