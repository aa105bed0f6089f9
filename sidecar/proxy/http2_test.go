package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

func http2Snapshot(addr netip.AddrPort, to ...netip.AddrPort) *config.Snapshot {
	s := httpSnapshot(addr, to...)
	s.Listeners[0].Protocol = config.HTTP2
	return s
}

// onlyHTTP2 is HTTP/2 without TLS.
func onlyHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// shop2 is an HTTP/2 server that does a little of everything.
func shop2(t *testing.T) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	conns := &atomic.Int64{}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Method", r.Method)
		_, _ = io.Copy(flushing{w}, r.Body)
	})
	mux.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		n, _ := io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte("sum"))
		w.Header().Set("X-Sum", fmt.Sprint(n))
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		for range 64 {
			if _, err := w.Write(bytes.Repeat([]byte("0123456789abcdef"), 4096)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/abort", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	s := httptest.NewUnstartedServer(mux)
	s.Config.Protocols = onlyHTTP2()
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().(*net.TCPAddr).AddrPort(), conns
}

// flushing sends every piece at once.
type flushing struct{ http.ResponseWriter }

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	f.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

// web2 is an HTTP/2 client of the proxy at addr, with one connection.
func web2(t *testing.T, addr netip.AddrPort) *http.Client {
	t.Helper()
	tr := &http.Transport{
		Protocols: onlyHTTP2(), DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr.String())
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Timeout: 20 * time.Second, Transport: tr}
}

// heard is a response that was read to its end.
type heard struct {
	status  int
	body    string
	trailer http.Header
}

func ask2(c *http.Client, method, path string, body io.Reader) (heard, error) {
	req, err := http.NewRequest(method, "http://shop.demo"+path, body)
	if err != nil {
		return heard{}, err
	}
	res, err := c.Do(req)
	if err != nil {
		return heard{}, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return heard{res.StatusCode, string(b), res.Trailer}, err
}

// say2 is ask2 for those who want to know the body only.
func say2(c *http.Client, method, path string, body io.Reader) (string, error) {
	got, err := ask2(c, method, path, body)
	return got.body, err
}

func TestHTTP2Requests(t *testing.T) {
	to, conns := shop2(t)
	addr := freePort(t)
	e := started(t, 1, http2Snapshot(addr, to))
	c := web2(t, addr)
	large := strings.Repeat("0123456789", 300_000)
	cases := map[string]struct {
		method, path, body string
		status             int
		want, sum          string
	}{
		"a body":                       {"POST", "/echo", "hello", 200, "hello", ""},
		"no body":                      {"GET", "/echo", "", 200, "", ""},
		"a large body both ways":       {"PUT", "/echo", large, 200, large, ""},
		"trailers":                     {"POST", "/sum", large, 200, "sum", "3000000"},
		"HEAD":                         {"HEAD", "/large", "", 200, "", ""},
		"what the server has not":      {"GET", "/nowhere", "", 404, "404 page not found\n", ""},
		"an answer before the request": {"POST", "/early", large, 403, "", ""},
		"a large response":             {"GET", "/large", "", 200, strings.Repeat("0123456789abcdef", 4096*64), ""},
	}
	for range 2 {
		for name, tc := range cases {
			var body io.Reader
			if tc.body != "" {
				body = strings.NewReader(tc.body)
			}
			got, err := ask2(c, tc.method, tc.path, body)
			if err != nil || got.status != tc.status || got.body != tc.want || got.trailer.Get("X-Sum") != tc.sum {
				t.Errorf("%s: %d, %d bytes %.40q, %v; want %d and %d bytes", name, got.status, len(got.body), got.body, err, tc.status, len(tc.want))
			}
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("the server has seen %d connections, want 1", n)
	}
	if s := e.Stats(); s.Requests[config.Outbound] != 16 || s.Answered[config.Outbound] != 16 || s.Malformed > 0 {
		t.Errorf("requests %v, answered %v, want 16; malformed %d", s.Requests, s.Answered, s.Malformed)
	}
}

// TestHTTP2ClientsShareAConnection has many clients ask at once.
func TestHTTP2ClientsShareAConnection(t *testing.T) {
	to, conns := shop2(t)
	addr := freePort(t)
	started(t, 1, http2Snapshot(addr, to))
	var wg sync.WaitGroup
	for i := range 8 {
		c := web2(t, addr)
		for j := range 10 {
			wg.Go(func() {
				for n := range 10 {
					body := strings.Repeat(fmt.Sprintf("%d-%d-%d ", i, j, n), 1+n*1500)
					if got, err := say2(c, "POST", "/echo", strings.NewReader(body)); err != nil || got != body {
						t.Errorf("%d bytes of %d, %v", len(got), len(body), err)
					}
				}
			})
		}
	}
	wg.Wait()
	if n := conns.Load(); n != 1 {
		t.Errorf("the server has seen %d connections, want 1", n)
	}
}

func TestHTTP2AnswersOfOurOwn(t *testing.T) {
	to, _ := shop2(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	s.Hosts["shop.demo"].Routes = []config.Route{
		{Name: "slow", Cluster: "shop", Timeout: 50 * time.Millisecond, Matches: []config.Match{{Name: config.MatchPath, Kind: config.MatchPrefix, Value: "/silent"}}},
		{Name: "teapot", Status: 418, Matches: []config.Match{{Name: "x-tea", Kind: config.MatchExact, Value: "yes, please"}}},
		{Name: "gone", Cluster: "nobody", Matches: []config.Match{{Name: config.MatchMethod, Kind: config.MatchExact, Value: "DELETE"}}},
		{Name: "empty", Cluster: "empty", Matches: []config.Match{{Name: config.MatchMethod, Kind: config.MatchExact, Value: "PATCH"}}},
		{Name: "default", Cluster: "shop"},
	}
	s.Clusters["nobody"] = &config.Cluster{Name: "nobody", Connections: 1, Endpoints: []netip.AddrPort{freePort(t)}}
	s.Clusters["empty"] = &config.Cluster{Name: "empty", Connections: 1}
	e := started(t, 1, s)
	c := web2(t, addr)
	cases := map[string]struct {
		method, url string
		tea         []string
		status      int
	}{
		"a timeout":               {"GET", "http://shop.demo/silent?for=ever", nil, 504},
		"a rule":                  {"GET", "http://shop.demo/echo", []string{"yes", "please"}, 418},
		"nobody listens":          {"DELETE", "http://shop.demo/echo", nil, 503},
		"no endpoint":             {"PATCH", "http://shop.demo/echo", nil, 503},
		"no route":                {"GET", "http://other.demo/", nil, 404},
		"a host in capitals":      {"GET", "http://SHOP.demo:8080/echo", nil, 200},
		"what a service calls it": {"GET", "http://shop.demo.svc.cluster.local/echo", nil, 200},
	}
	for name, tc := range cases {
		for _, body := range []io.Reader{nil, io.MultiReader(strings.NewReader(strings.Repeat("x", 200_000)))} {
			if tc.status == 200 && body != nil {
				continue
			}
			req, err := http.NewRequest(tc.method, tc.url, body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header["X-Tea"] = tc.tea
			res, err := c.Do(req)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			_ = res.Body.Close()
			if res.StatusCode != tc.status {
				t.Errorf("%s: status %d, want %d", name, res.StatusCode, tc.status)
			}
		}
	}
	if n := e.Stats().Waiting; n != 0 {
		t.Errorf("%d requests still wait", n)
	}
}

// TestHTTP2Resets passes the end of a stream on, in both directions; others go on.
func TestHTTP2Resets(t *testing.T) {
	to, conns := shop2(t)
	addr := freePort(t)
	e := started(t, 1, http2Snapshot(addr, to))
	c := web2(t, addr)
	if _, err := say2(c, "GET", "/abort", nil); err == nil {
		t.Error("a response that was aborted is complete")
	}
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://shop.demo/silent", nil)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(30*time.Millisecond, cancel)
	if res, err := c.Do(req); err == nil {
		_ = res.Body.Close()
		t.Error("a request that was called off is answered")
	}
	await(t, e, func(s proxy.Stats) bool { return s.Waiting == 0 })
	if got, err := say2(c, "POST", "/echo", strings.NewReader("still")); err != nil || got != "still" || conns.Load() != 1 {
		t.Errorf("%q, %v over %d connections", got, err, conns.Load())
	}
}

func await(t *testing.T, e *proxy.Engine, ok func(proxy.Stats) bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(e.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it stays as it is: %+v", e.Stats())
		}
	}
}

// TestHTTP2SlowReaderHoldsNobodyUp has one client read nothing of a large response, while others share the connection.
func TestHTTP2SlowReaderHoldsNobodyUp(t *testing.T) {
	to, conns := shop2(t)
	addr := freePort(t)
	started(t, 1, http2Snapshot(addr, to))
	slow, quick := web2(t, addr), web2(t, addr)
	whole := stuck(t, slow, 20)
	for i := range 50 {
		body := strings.Repeat("x", 10_000*i)
		if got, err := say2(quick, "POST", "/echo", strings.NewReader(body)); err != nil || got != body {
			t.Fatalf("request %d: %d bytes, %v", i, len(got), err)
		}
	}
	whole()
	if n := conns.Load(); n != 1 {
		t.Errorf("the server has seen %d connections, want 1", n)
	}
}

// TestHTTP2OnAnHTTP1Listener serves a client that begins with HTTP/2's preface.
func TestHTTP2OnAnHTTP1Listener(t *testing.T) {
	to, _ := shop2(t)
	addr := freePort(t)
	started(t, 1, httpSnapshot(addr, to))
	if got, err := say2(web2(t, addr), "POST", "/echo", strings.NewReader("hello")); err != nil || got != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if got := rawHTTP(t, addr, "PRI", " * HTTP/2.0\r\n", "\r\nBOO\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 505 ") {
		t.Errorf("what begins like a preface is answered with %q", got)
	}
}

// TestAnEndpointThatRestartsHTTP2 has requests before and after the endpoint closes its connections.
func TestHTTP2EndpointCloses(t *testing.T) {
	var mux http.ServeMux
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	s := httptest.NewUnstartedServer(&mux)
	s.Config.Protocols = onlyHTTP2()
	s.Start()
	defer s.Close()
	addr := freePort(t)
	e := started(t, 1, http2Snapshot(addr, s.Listener.Addr().(*net.TCPAddr).AddrPort()))
	c := web2(t, addr)
	for range 5 {
		if got, err := say2(c, "GET", "/", nil); err != nil || got != "ok" {
			t.Fatalf("%q, %v", got, err)
		}
		s.CloseClientConnections()
		await(t, e, func(s proxy.Stats) bool { return s.Upstream == 0 })
	}
}
