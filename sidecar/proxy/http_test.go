package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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
)

func httpSnapshot(addr netip.AddrPort, to ...netip.AddrPort) *config.Snapshot {
	return &config.Snapshot{
		Listeners: []config.Listener{{Name: "http", Address: addr, Protocol: config.HTTP1, Direction: config.Outbound}},
		Hosts:     map[string]*config.Host{"shop.demo": {Name: "shop.demo", Routes: []config.Route{{Name: "default", Cluster: "shop"}}}},
		Clusters:  map[string]*config.Cluster{"shop": {Name: "shop", Connections: 1, ConnectTimeout: toConnect, Endpoints: to}},
	}
}

// shop is an HTTP server that does a little of everything.
func shop(t *testing.T) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	conns := &atomic.Int64{}
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("X-Method", r.Method)
		_, _ = w.Write(body)
	})
	mux.HandleFunc("/chunks", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		for i := range 10 {
			_, _ = fmt.Fprintf(w, "%d,", i)
			w.(http.Flusher).Flush()
		}
		w.Header().Set("X-Sum", "45")
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
		_, _ = w.Write(body)
	})
	mux.HandleFunc("/none", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/upgrade", upgrade)
	s := httptest.NewUnstartedServer(mux)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort(), conns
}

// upgrade answers 101 and echoes bytes from then on.
func upgrade(w http.ResponseWriter, _ *http.Request) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"))
	_, _ = io.Copy(conn, rw)
}

// web is a client of the proxy at addr that asks for shop.demo and never retries.
func web(addr netip.AddrPort) *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		Proxy: nil, MaxIdleConnsPerHost: 100, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr.String())
		},
	}}
}

func TestHTTPRequests(t *testing.T) {
	to, conns := shop(t)
	addr := freePort(t)
	e := started(t, 1, httpSnapshot(addr, to))
	c := web(addr)
	large := strings.Repeat("0123456789", 300_000)
	cases := map[string]struct {
		method, path, body string
		chunked            bool
		status             int
		want               string
	}{
		"a body of known length":  {"POST", "/echo", "hello", false, 200, "hello"},
		"a chunked body":          {"POST", "/echo", "hello", true, 200, "hello"},
		"a large body":            {"PUT", "/echo", large, false, 200, large},
		"a large chunked body":    {"PUT", "/echo", large, true, 200, large},
		"a chunked response":      {"GET", "/chunks", "", false, 200, "0,1,2,3,4,5,6,7,8,9,"},
		"a response to HEAD":      {"HEAD", "/chunks", "", false, 200, ""},
		"a response without body": {"GET", "/none", "", false, 204, ""},
		"what the server has not": {"GET", "/nowhere", "", false, 404, "404 page not found\n"},
	}
	for range 2 {
		for name, tc := range cases {
			var body io.Reader = strings.NewReader(tc.body)
			if tc.chunked {
				body = io.MultiReader(body) // hides its length
			}
			req, err := http.NewRequest(tc.method, "http://shop.demo"+tc.path, body)
			if err != nil {
				t.Fatal(err)
			}
			res, err := c.Do(req)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || res.StatusCode != tc.status || string(got) != tc.want {
				t.Errorf("%s: %d, %d bytes %.40q, %v; want %d and %d bytes", name, res.StatusCode, len(got), got, err, tc.status, len(tc.want))
			}
			if tc.path == "/chunks" && tc.method == "GET" && res.Trailer.Get("X-Sum") != "45" {
				t.Errorf("%s: trailers %v", name, res.Trailer)
			}
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("the server has seen %d connections, want 1 for requests one after the other", n)
	}
	if s := e.Stats(); s.Requests[config.Outbound] != 16 || s.Answered[config.Outbound] != 16 {
		t.Errorf("requests %v, answered %v, want 16", s.Requests, s.Answered)
	}
}

// rawHTTP sends bytes and returns everything until the connection ends.
func rawHTTP(t *testing.T, addr netip.AddrPort, parts ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	for _, p := range parts {
		if _, err := conn.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return string(b)
}

func TestHTTPOnTheWire(t *testing.T) {
	to, _ := shop(t)
	nobody := freePort(t)
	const host = "Host: shop.demo\r\n"
	cases := map[string]struct {
		to    netip.AddrPort
		parts []string
		want  []string // in this order
	}{
		"pipelined requests are answered in turn": {to, []string{
			"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\noneGET /none HTTP/1.1\r\n" + host + "\r\n" +
				"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 5\r\nConnection: close\r\n\r\nthree",
		}, []string{"200 OK", "one", "204 No Content", "200 OK", "three"}},
		"a request in pieces":               {to, []string{"GET /ec", "ho HTTP/1.1\r\nHo", "st: shop.demo\r\nConnection: close\r\n", "\r\n"}, []string{"200 OK"}},
		"an HTTP/1.0 client":                {to, []string{"GET /chunks HTTP/1.0\r\n" + host + "\r\n"}, []string{"200 OK", "0,1,2,3,4,5,6,7,8,9,"}},
		"expect 100-continue":               {to, []string{"POST /echo HTTP/1.1\r\n" + host + "Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", "ok"}, []string{"100 Continue", "200 OK", "ok"}},
		"two lengths are refused":           {to, []string{"POST /echo HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"}, []string{"400 "}},
		"a host without a route":            {to, []string{"GET / HTTP/1.1\r\nHost: other.demo\r\nConnection: close\r\n\r\n"}, []string{"404 "}},
		"an endpoint that is not there":     {nobody, []string{"GET / HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n"}, []string{"503 "}},
		"a host in capitals with a dot":     {to, []string{"GET /none HTTP/1.1\r\nHost: Shop.Demo.:80\r\nConnection: close\r\n\r\n"}, []string{"204 "}},
		"an OPTIONS that may go no further": {to, []string{"OPTIONS * HTTP/1.1\r\n" + host + "Max-Forwards: 0\r\nConnection: close\r\n\r\n"}, []string{"200 "}},
		"a proxy's absolute form":           {to, []string{"GET http://shop.demo.svc:8080/none HTTP/1.1\r\nHost: shop.demo\r\nConnection: close\r\n\r\n"}, []string{"204 "}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			started(t, 1, httpSnapshot(addr, tc.to))
			got := rawHTTP(t, addr, tc.parts...)
			rest := got
			for _, want := range tc.want {
				i := strings.Index(rest, want)
				if i < 0 {
					t.Fatalf("%q is missing, in its order, in %q", want, got)
				}
				rest = rest[i+len(want):]
			}
		})
	}
}

func TestHTTPUpgradeAndConnectBecomeTunnels(t *testing.T) {
	to, _ := shop(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	cases := map[string]struct {
		to        netip.AddrPort
		head, say string
	}{
		"upgrade": {to, "GET /upgrade HTTP/1.1\r\nHost: shop.demo\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n", "101 Switching"},
		"connect": {ln.Addr().(*net.TCPAddr).AddrPort(), "CONNECT shop.demo:443 HTTP/1.1\r\nHost: shop.demo:443\r\n\r\n", "200 "},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			started(t, 1, httpSnapshot(addr, tc.to))
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			want := bytes.Repeat([]byte("through the tunnel "), 100_000)
			go func() {
				_, _ = conn.Write([]byte(tc.head))
				_, _ = conn.Write(want)
				_ = conn.(*net.TCPConn).CloseWrite()
			}()
			r := bufio.NewReader(conn)
			line, err := r.ReadString('\n')
			if err != nil || !strings.Contains(line, tc.say) {
				t.Fatalf("answer %q, %v", line, err)
			}
			for line != "\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d bytes back, %v; want %d", len(got), err, len(want))
			}
		})
	}
}

// TestHTTPHopsUnderLoad moves HTTP clients in the middle of requests and responses; none is retried, none fails.
func TestHTTPHopsUnderLoad(t *testing.T) {
	const hops, clients = 10, 30
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	to, _ := shop(t)
	addr := freePort(t)
	s := httpSnapshot(addr, to)
	now := first(t, 2, s)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var total atomic.Int64
	for i := range clients {
		size := rnd.IntN(200_000)
		wg.Go(func() {
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			r := bufio.NewReader(conn)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				body := fmt.Sprintf("%d-%d-%0*d", i, n, 1+(n*7919)%(size+1), n)
				if err := post(conn, r, body, n%2 == 0); err != nil {
					t.Errorf("client %d, request %d: %v", i, n, err)
					return
				}
				total.Add(1)
				time.Sleep(time.Millisecond)
			}
		})
	}
	for i := range hops {
		time.Sleep(40 * time.Millisecond)
		now = hop(t, now, 1+i%2, s)
	}
	close(stop)
	wg.Wait()
	stats := now.Stats()
	allEnded(t, stats, 0)
	t.Logf("%d requests over %d hops, %d connections moved", total.Load(), hops, stats.Moved)
	if int64(stats.Requests[config.Outbound]) != total.Load() {
		t.Errorf("the clients count %d requests, the engines %d", total.Load(), stats.Requests[config.Outbound])
	}
	now.Stop()
}

// post sends a body, in pieces or in chunks, and wants it back.
func post(conn net.Conn, r *bufio.Reader, body string, chunked bool) error {
	req := "POST /slow HTTP/1.1\r\nHost: shop.demo\r\n"
	half := len(body) / 2
	if chunked {
		req += fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", half+1, body[:half+1])
		if rest := body[half+1:]; rest != "" {
			req += fmt.Sprintf("%x\r\n%s\r\n", len(rest), rest)
		}
		req += "0\r\n\r\n"
	} else {
		req += fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	errs := make(chan error, 1)
	go func() {
		cut := len(req) / 3
		_, err := conn.Write([]byte(req[:cut]))
		time.Sleep(3 * time.Millisecond)
		_, err2 := conn.Write([]byte(req[cut:]))
		errs <- errors.Join(err, err2)
	}()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return errors.Join(err, <-errs)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || string(got) != body {
		return errors.Join(err, fmt.Errorf("status %d, %d bytes of %d", res.StatusCode, len(got), len(body)))
	}
	return <-errs
}

// TestHTTPGoesOnBehindATimeout has a second request wait, unread, behind one that times out.
func TestHTTPGoesOnBehindATimeout(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	addr := freePort(t)
	s := httpSnapshot(addr, silent.Addr().(*net.TCPAddr).AddrPort())
	s.Hosts["shop.demo"].Routes[0].Timeout = 50 * time.Millisecond
	started(t, 1, s)
	const get = "GET / HTTP/1.1\r\nHost: shop.demo\r\n"
	got := rawHTTP(t, addr, get+"\r\n"+get+"Connection: close\r\n\r\n")
	if n := strings.Count(got, "HTTP/1.1 504 "); n != 2 {
		t.Errorf("%d answers of 504 in %q, want 2", n, got)
	}
}
