package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	"github.com/axlemesh/axle/sidecar/xds"
)

// watched is a pod with a web application, whose requests are counted by their path.
type watched struct {
	*pod
	web       *httptest.Server
	collector *httptest.Server
	asked     atomic.Int64

	mu    sync.Mutex
	spans map[string]int // by path
}

func newWatched(t *testing.T) *watched {
	w := &watched{pod: newPod(t), spans: map[string]int{}}
	w.web = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * time.Millisecond) // so that some are open when connections move
		_, _ = io.Copy(rw, r.Body)
	}))
	w.collector = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var data tracepb.TracesData
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(b, &data)
		}
		if err != nil {
			t.Errorf("a batch of spans: %v", err)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, of := range data.ResourceSpans {
			for _, s := range of.ScopeSpans[0].Spans {
				for _, kv := range s.Attributes {
					if kv.Key == "url.path" {
						w.spans[kv.Value.GetStringValue()]++
					}
				}
			}
		}
	}))
	t.Cleanup(w.web.Close)
	t.Cleanup(w.collector.Close)
	return w
}

// tell sends the listener of the application, with a log of all requests and these sections of a bootstrap; no sections, no log.
func (w *watched) tell(sections map[string]map[string]any) {
	w.t.Helper()
	tcp := &tcpv3.TcpProxy{StatPrefix: "in", ClusterSpecifier: &tcpv3.TcpProxy_Cluster{
		Cluster: fmt.Sprintf("inbound/%d", w.web.Listener.Addr().(*net.TCPAddr).Port),
	}}
	pack := func(m proto.Message) *anypb.Any {
		a, err := anypb.New(m)
		if err != nil {
			w.t.Fatal(err)
		}
		return a
	}
	metadata := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
	for key, section := range sections {
		s, err := structpb.NewStruct(section)
		if err != nil {
			w.t.Fatal(err)
		}
		metadata.FilterMetadata[key] = s
	}
	if len(sections) > 0 {
		tcp.AccessLog = []*accesslogv3.AccessLog{{ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&filev3.FileAccessLog{Path: "/dev/stdout"})}}}
	}
	l := inboundListener(w.port, xds.FilterHTTP1, pack(tcp))
	l.Metadata = metadata
	w.offer(l)
}

// ask makes one request with a path of its own, which it returns.
func (w *watched) ask(c *http.Client) string {
	path := fmt.Sprintf("/%06d", w.asked.Add(1))
	res, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d%s", w.port, path))
	if err != nil {
		w.t.Error(err)
		return path
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return path
}

// linesOf are how often the processes have logged each path.
func linesOf(all ...*process) map[string]int {
	n := map[string]int{}
	for _, p := range all {
		for line := range strings.Lines(p.out.String()) {
			if _, rest, ok := strings.Cut(line, `"path":"`); ok {
				n[rest[:strings.IndexByte(rest, '"')]]++
			}
		}
	}
	return n
}

// load asks with several clients until it is told to stop, and then returns the paths.
func (w *watched) load() (stop func() []string) {
	var mu sync.Mutex
	var paths []string
	var clients sync.WaitGroup
	done := make(chan struct{})
	for range 8 {
		clients.Go(func() {
			c := &http.Client{Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for {
				select {
				case <-done:
					return
				default:
				}
				path := w.ask(c)
				mu.Lock()
				paths = append(paths, path)
				mu.Unlock()
			}
		})
	}
	return func() []string { close(done); clients.Wait(); return paths }
}

// TestTelemetryOfAPod is turned on while a sidecar runs, and stays through an upgrade under load, a crash without an operator, and bad
// settings.
func TestTelemetryOfAPod(t *testing.T) {
	w := newWatched(t)
	w.tell(nil)
	g1 := w.serve()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	w.ask(client)

	short := func() float64 { return value(t, get(w.admin, "/metrics"), `axle_overload_state{resource="memory"}`) }
	w.tell(map[string]map[string]any{"axlemesh.io/overload": {
		"memoryBytes": 1 << 20, "interval": "20ms", "memory": map[string]any{"closeIdle": 1, "refuseClients": 0, "shedLow": 0, "shedDefault": 0},
	}})
	eventually(t, "it is short of memory", func() bool { return short() == 1 })

	good := map[string]map[string]any{
		"axlemesh.io/tracing":  {"endpoint": w.collector.URL + "/v1/traces", "samplePercent": 100},
		"axlemesh.io/overload": {"disabled": true},
	}
	w.tell(good)
	eventually(t, "the settings are in force", func() bool { return strings.Contains(get(w.admin, "/config_dump"), w.collector.URL) })
	eventually(t, "nothing is done about memory", func() bool { return short() == 0 })
	if n := linesOf(g1); len(n) != 0 {
		t.Errorf("what came before is logged: %v", n)
	}

	stop := w.load()
	time.Sleep(200 * time.Millisecond)
	g2 := w.inject(2)
	w.phase(2, controlv1.State_STARTING)
	w.want(&controlv1.Desired{Generation: 2, Predecessor: 1, Begin: true, HandoverKey: []byte("one-time")})
	w.phase(2, controlv1.State_SERVING)
	if code := g1.exit(); code != 0 {
		t.Errorf("generation 1 exited with %d", code)
	}
	time.Sleep(200 * time.Millisecond)
	paths := stop()
	eventually(t, "the last line", func() bool { return len(linesOf(g1, g2)) >= len(paths) })
	w.once(t, "logged", paths, linesOf(g1, g2))
	if len(linesOf(g1)) == 0 || len(linesOf(g2)) == 0 {
		t.Errorf("%d lines of generation 1, %d of 2", len(linesOf(g1)), len(linesOf(g2)))
	}
	eventually(t, "the last span", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.spans) >= len(paths) })
	w.mu.Lock()
	w.once(t, "in a span", paths, w.spans)
	w.mu.Unlock()

	w.grpc.Stop() // nobody can say now what to log
	if err := syscall.Kill(childOf(t, g2.cmd.Process.Pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()
	first := w.ask(client)
	eventually(t, "the first request of the next process is logged", func() bool { return linesOf(g2)[first] == 1 })

	w.up()
	w.tell(map[string]map[string]any{"axlemesh.io/tracing": {"endpoint": "otel:4318"}})
	eventually(t, "the settings are rejected", func() bool { return strings.Contains(get(w.admin, "/config_dump"), "is no URL of a collector") })
	next := w.ask(client)
	eventually(t, "the last good ones stay", func() bool { return linesOf(g2)[next] == 1 })

	w.tell(nil)
	eventually(t, "it is off", func() bool { return !strings.Contains(get(w.admin, "/config_dump"), w.collector.URL) })
	last := w.ask(client)
	time.Sleep(50 * time.Millisecond)
	if linesOf(g2)[last] != 0 {
		t.Error("a line after the log was turned off")
	}
}

// once checks that each path is there exactly once.
func (w *watched) once(t *testing.T, what string, paths []string, seen map[string]int) {
	t.Helper()
	for _, p := range paths {
		if seen[p] != 1 {
			t.Errorf("%s is %s %d times", p, what, seen[p])
		}
	}
}
