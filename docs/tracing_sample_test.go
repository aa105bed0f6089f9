package docs_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	otlp "github.com/axlemesh/axle/hack/peers/collector"
)

// collector takes spans at an address.
type collector struct {
	mu    sync.Mutex
	spans []string // what is said of each, in short
}

func collect(t *testing.T, address string) *collector {
	t.Helper()
	c := &collector{}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(otlp.Handler(c.take, func(err error) { t.Error(err) }))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return c
}

func (c *collector) take(data *tracepb.TracesData) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, all := range data.ResourceSpans {
		for _, s := range all.ScopeSpans[0].Spans {
			c.spans = append(c.spans, fmt.Sprintf("%s %s %s under %s", all.Resource.Attributes[0].Value.GetStringValue(), s.Name,
				hex.EncodeToString(s.TraceId), hex.EncodeToString(s.ParentSpanId)))
		}
	}
}

func (c *collector) got() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.spans, "\n")
}

const documentedSpan = "shop GET 0af7651916cd43dd8448eb211c80319c under b7ad6b7169203331"

// TestTracingSession types every command of tracing.md, in order, into one shell, with a collector and a server.
func TestTracingSession(t *testing.T) {
	p := newPlace(t)
	c := collect(t, p.move("127.0.0.1:4318"))
	repeat(t, p.move("127.0.0.1:18290"))
	if err := os.Symlink(filepath.Dir(program(t, "axle-sidecar")), filepath.Join(p.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	p.file("tracing.yaml", "docs/standalone/tracing.yaml")
	script := "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n" + strings.Join(blocks(t, "tracing.md", "sh"), "")
	cmd := exec.Command("timeout", "25", "bash", "-c", p.move(script))
	cmd.Dir = p.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		first, _ := os.ReadFile(filepath.Join(p.dir, "first.log"))
		t.Fatalf("%v\n%s\n%s\n%s", err, script, out, first)
	}
	if got := c.got(); got != documentedSpan+"\n"+documentedSpan {
		t.Errorf("the collector has\n%s", got)
	}
}

// TestTheTracingBlockIsTheSample: what the page shows is what the file has.
func TestTheTracingBlockIsTheSample(t *testing.T) {
	sample := regexp.MustCompile(` #[^\n]*`).ReplaceAllString(read(t, "standalone/tracing.yaml"), "")
	for _, block := range blocks(t, "tracing.md", "yaml") {
		if !strings.Contains(sample, block) {
			t.Errorf("tracing.yaml has not\n%s", block)
		}
	}
}

// TestASpanSurvivesATakeover: its request is under way when a new process takes over, which ends it.
func TestASpanSurvivesATakeover(t *testing.T) {
	p := newPlace(t)
	file := p.file("tracing.yaml", "tracing.yaml")
	if err := os.MkdirAll(filepath.Join(p.dir, "run/axle"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := collect(t, p.move("127.0.0.1:4318"))
	repeat(t, p.move("127.0.0.1:18290"))
	first := start(t, program(t, "axle-sidecar"), "run", "-f", file)
	conn := dial(t, p.move("127.0.0.1:18200"))
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	send := func(text string) {
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	send("POST / HTTP/1.1\r\nHost: shop.demo\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nContent-Length: 4\r\n\r\nha")
	eventually(t, "ready", func() bool { return page(p.move("http://127.0.0.1:13401/readyz")) == "ok\n" })
	start(t, program(t, "axle-sidecar"), "run", "-f", file, "--takeover")
	if code := first.exit(); code != 0 {
		t.Errorf("the first exited with %d", code)
	}
	if got := c.got(); got != "" {
		t.Errorf("the first has ended %s", got)
	}
	send("lf")
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the span", func() bool { return c.got() == strings.Replace(documentedSpan, "GET", "POST", 1) })
}
