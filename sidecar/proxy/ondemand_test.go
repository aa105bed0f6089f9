package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/accesslog"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// askedFor makes engines log and trace what their configuration asks for, and nothing else.
func askedFor(t *testing.T) (*lines, *collector) {
	log, c := logging(t), traced(t, 0)
	onDemand = true
	t.Cleanup(func() { onDemand = false })
	all := tracing
	tracing = func() *proxy.Tracing {
		n := all()
		n.OnDemand = true
		return n
	}
	return log, c
}

// telling is s with a log and spans of all requests.
func telling(s *config.Snapshot, f *accesslog.Filter) *config.Snapshot {
	with := *s
	with.Listeners = append([]config.Listener(nil), s.Listeners...)
	with.Listeners[0].AccessLog, with.Listeners[0].SamplePercent = f, new(100.)
	with.Tracing = &bootstrap.Tracing{Endpoint: "http://collector/v1/traces"}
	return &with
}

// TestTelemetryIsTurnedOnAndOff while a client is connected.
func TestTelemetryIsTurnedOnAndOff(t *testing.T) {
	log, c := askedFor(t)
	addr := freePort(t)
	o := newOrigin(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	off := httpSnapshot(addr, o.addr)
	e := started(t, 1, off)
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(conn)
	for i, step := range []struct {
		use   *config.Snapshot
		path  string
		lines int // so far
	}{
		{off, "/0", 0},
		{telling(off, &accesslog.Filter{}), "/1", 1},
		{telling(off, &accesslog.Filter{OnlyErrors: true}), "/2", 1},
		{telling(off, &accesslog.Filter{OnlyErrors: true}), "/bad", 2},
		{off, "/3", 2},
		{telling(off, &accesslog.Filter{}), "/4", 3},
	} {
		if err := e.Apply(step.use); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: shop.demo\r\n\r\n", step.path); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if all := log.wait(t, step.lines); step.lines > 0 && i > 0 && step.use.Tracing != nil && step.path != "/2" && all[step.lines-1]["path"] != step.path {
			t.Errorf("step %d: the last line is %v", i, all[step.lines-1])
		}
	}
	paths := map[string]bool{}
	for _, s := range c.all(t, e) {
		paths[s.attributes["url.path"]] = true
	}
	if len(paths) != 4 || !paths["/1"] || !paths["/2"] || !paths["/bad"] || !paths["/4"] {
		t.Errorf("spans of %v", paths)
	}
}

// TestASuccessorLogsAndTracesTheSame: a request that moves, and the first one that comes afterwards.
func TestASuccessorLogsAndTracesTheSame(t *testing.T) {
	log, c := askedFor(t)
	addr := freePort(t)
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	o := newOrigin(t, func(n int64, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			_, _ = io.WriteString(w, "first ")
			w.(http.Flusher).Flush()
			<-hold
		}
	})
	t.Cleanup(release) // before the origin waits for its requests
	s := telling(httpSnapshot(addr, o.addr), &accesslog.Filter{})
	from, conn := firstOf(t, s)
	r := bufio.NewReader(conn)
	ask := func(path string) *http.Response {
		t.Helper()
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: shop.demo\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	res := ask("/moves")
	to := hop(t, from, 1, s)
	release()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	_ = ask("/after").Body.Close()
	all := log.wait(t, 2)
	if all[0]["path"] != "/moves" || all[1]["path"] != "/after" {
		t.Errorf("lines %v", all)
	}
	spans := c.all(t, to.Engine)
	if len(spans) != 2 || spans[0].attributes["axle.moved"]+spans[1].attributes["axle.moved"] != "" {
		t.Errorf("spans %+v", spans)
	}
}
