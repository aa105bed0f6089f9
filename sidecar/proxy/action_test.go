package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// endpoints makes a cluster of several endpoints.
func endpoints(s *config.Snapshot, cluster string, all ...netip.AddrPort) *config.Snapshot {
	slices.SortFunc(all, netip.AddrPort.Compare)
	s.Clusters[cluster].Endpoints = all
	return s
}

// webs are clients of what HTTP's rules are for.
func webs(t *testing.T) map[config.Protocol]func(netip.AddrPort) *http.Client {
	return map[config.Protocol]func(netip.AddrPort) *http.Client{
		config.HTTP1: web, config.HTTP2: func(addr netip.AddrPort) *http.Client { return web2(t, addr) },
	}
}

// origin is an HTTP server whose answers a test chooses by how many requests it has seen.
type origin struct {
	addr netip.AddrPort
	seen atomic.Int64
	mu   sync.Mutex
	last *http.Request
	body string
}

func newOrigin(t *testing.T, answer func(n int64, w http.ResponseWriter, r *http.Request)) *origin {
	t.Helper()
	o := &origin{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		o.mu.Lock()
		o.last, o.body = r, string(body)
		o.mu.Unlock()
		answer(o.seen.Add(1), w, r)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	at, err := netip.ParseAddrPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	o.addr = at
	return o
}

// statusOnly answers with a status and says it.
func statusOnly(code int) func(int64, http.ResponseWriter, *http.Request) {
	return func(_ int64, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = fmt.Fprint(w, code)
	}
}

func reset(_ int64, w http.ResponseWriter, _ *http.Request) {
	h, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler) // HTTP/2 has streams for that
	}
	if conn, _, err := h.Hijack(); err == nil {
		_ = conn.Close()
	}
}

func TestHTTPIsTriedAgain(t *testing.T) {
	fast := func(r config.Retry) *config.Retry { r.Backoff = time.Millisecond; return &r }
	slow := func(_ int64, w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(5 * time.Second):
		}
	}
	const body = "a body that is small"
	cases := map[string]struct {
		bad     func(int64, http.ResponseWriter, *http.Request)
		retry   *config.Retry
		method  string
		body    string
		status  int
		retried bool
	}{
		"503 of a GET":                {statusOnly(503), fast(config.Retry{On: config.RetryGateway}), "GET", "", 200, true},
		"500 is no gateway error":     {statusOnly(500), fast(config.Retry{On: config.RetryGateway}), "GET", "", 500, false},
		"500 is one of the server":    {statusOnly(500), fast(config.Retry{On: config.RetryServerError}), "GET", "", 200, true},
		"404 if that is listed":       {statusOnly(404), fast(config.Retry{Statuses: []int{404}}), "GET", "", 200, true},
		"a reset":                     {reset, fast(config.Retry{On: config.RetryReset}), "GET", "", 200, true},
		"a reset is none of these":    {reset, fast(config.Retry{On: config.RetryGateway}), "GET", "", 502, false},
		"a PUT with its body":         {statusOnly(503), fast(config.Retry{On: config.RetryGateway}), "PUT", body, 200, true},
		"a POST is not":               {statusOnly(503), fast(config.Retry{On: config.RetryGateway}), "POST", body, 503, false},
		"a POST if that is asked for": {statusOnly(503), fast(config.Retry{On: config.RetryGateway, AnyMethod: true}), "POST", body, 200, true},
		"a large body is not":         {statusOnly(503), fast(config.Retry{On: config.RetryGateway}), "PUT", strings.Repeat(body, 10_000), 503, false},
		"a try that takes too long":   {slow, fast(config.Retry{On: config.RetryReset, PerTry: 50 * time.Millisecond}), "GET", "", 200, true},
		"too long, not to be retried": {slow, fast(config.Retry{On: config.RetryConnect, PerTry: 50 * time.Millisecond}), "GET", "", 504, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			bad, good := newOrigin(t, tc.bad), newOrigin(t, statusOnly(200))
			addr := freePort(t)
			s := ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": bad.addr}, config.Route{Name: "r", Cluster: "v1", Retry: tc.retry})
			e := started(t, 1, endpoints(s, "v1", bad.addr, good.addr))
			c := web(addr)
			asked := uint64(0)
			for range 2 { // one of them begins at the bad one
				if bad.seen.Load() > 0 {
					break
				}
				want := tc.status
				asked++
				before := bad.seen.Load()
				got, _ := fetch(t, c, tc.method, "/", strings.NewReader(tc.body))
				if bad.seen.Load() == before {
					want = 200
				}
				if got != want {
					t.Errorf("status %d, want %d", got, want)
				}
				if good.body != tc.body && good.last != nil {
					t.Errorf("body %.40q, want %.40q", good.body, tc.body)
				}
			}
			if n := e.Stats().Retried; (n > 0) != tc.retried || bad.seen.Load() != 1 {
				t.Errorf("%d retries and %d requests at the bad endpoint, want 1 there and retries: %t", n, bad.seen.Load(), tc.retried)
			}
			counted := endsOf(e.Stats(), "shop.demo", "r")
			if counted.all != asked || counted.gone > 0 {
				t.Errorf("the route counts %+v, want %d requests that ended", counted, asked)
			}
		})
	}
}

func TestABudgetBoundsRetries(t *testing.T) {
	const clients, each = 20, 10
	cases := map[string]struct {
		percent     uint32
		least, most uint64 // retries
	}{
		"a tenth of the open requests": {10, 1, clients * each / 4},
		"all of them":                  {100, clients * each, clients * each},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			bad := newOrigin(t, func(_ int64, w http.ResponseWriter, _ *http.Request) {
				time.Sleep(20 * time.Millisecond)
				w.WriteHeader(503)
			})
			addr := freePort(t)
			retry := &config.Retry{On: config.RetryGateway, BudgetPercent: tc.percent, BudgetMin: 1, Backoff: 20 * time.Millisecond}
			s := ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": bad.addr}, config.Route{Cluster: "v1", Attempts: 2, Retry: retry})
			e := started(t, 2, s)
			c := web(addr)
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					for range each {
						if got, _ := fetch(t, c, "GET", "/", nil); got != 503 {
							t.Errorf("status %d", got)
						}
					}
				})
			}
			wg.Wait()
			stats := e.Stats()
			if all := stats.Retried + stats.RetriesDenied; all != clients*each || stats.Retried < tc.least || stats.Retried > tc.most {
				t.Errorf("%d retries, %d denied, of %d requests", stats.Retried, stats.RetriesDenied, clients*each)
			}
		})
	}
}

func TestBoltIsTriedAgain(t *testing.T) {
	fast := func(r config.Retry) *config.Retry { r.Backoff = time.Millisecond; return &r }
	cases := map[string]struct {
		bad   func(conn *backend, m message)
		retry *config.Retry
		want  uint16
	}{
		"a busy server":             {busy, fast(config.Retry{Statuses: []int{503}}), 0},
		"busy, not to be retried":   {busy, fast(config.Retry{On: config.RetryReset}), 4},
		"a reset may have worked":   {hangUp, fast(config.Retry{On: config.RetryReset}), 5},
		"a reset if asked for":      {hangUp, fast(config.Retry{On: config.RetryReset, AnyMethod: true}), 0},
		"a try that takes too long": {silent, fast(config.Retry{On: config.RetryReset, AnyMethod: true, PerTry: 50 * time.Millisecond}), 0},
		"too long, not retried":     {silent, fast(config.Retry{On: config.RetryConnect, PerTry: 50 * time.Millisecond}), 7},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			bad, good := newBackend(t), serve(t, nil)
			addr := freePort(t)
			at := addrOf(bad.ln.Addr().(*net.TCPAddr).AddrPort())
			s := ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": good.addr}, config.Route{Name: "r", Cluster: "v1", Retry: tc.retry})
			e := started(t, 1, endpoints(s, "v1", at.addr, good.addr))
			var seen atomic.Int64
			go func() {
				bad.accept(t)
				m := bad.read(t)
				seen.Add(1)
				tc.bad(bad, m)
			}()
			asked := uint64(0)
			for range 2 {
				if seen.Load() > 0 {
					break
				}
				asked++
				before := seen.Load()
				m, err := askOnce(t, addr, frame(1, 7, echoService, []byte("x")))
				want := tc.want
				if seen.Load() == before {
					want = 0
				}
				if err != nil || m.id != 7 || m.status != want {
					t.Errorf("%+v, %v; want status %d", m, err, want)
				}
			}
			if n := e.Stats().Retried; (n == 1) != (tc.want == 0) || seen.Load() != 1 {
				t.Errorf("%d retries, %d requests at the bad one", n, seen.Load())
			}
			c := endsOf(e.Stats(), echoService, "r")
			if c.all != asked || c.gone > 0 {
				t.Errorf("the route counts %+v, want %d requests that ended", c, asked)
			}
		})
	}
}

func busy(b *backend, m message) {
	f := frame(0, m.id, "", nil)
	f[11] = 4
	_, _ = b.conn.Write(f)
}

func hangUp(b *backend, _ message) { _ = b.conn.Close() }

func silent(*backend, message) {}

func TestFaults(t *testing.T) {
	half := config.Fraction{Numerator: 1, Denominator: 2}
	all := config.Fraction{Numerator: 1, Denominator: 1}
	for name, p := range map[string]config.Protocol{"HTTP": config.HTTP1, "Bolt": config.Bolt} {
		t.Run(name, func(t *testing.T) {
			web1, bolt1 := newOrigin(t, statusOnly(200)), serve(t, nil)
			addr := freePort(t)
			to := web1.addr
			if p == config.Bolt {
				to = bolt1.addr
			}
			fault := &config.Fault{Delayed: all, Delay: 60 * time.Millisecond, Aborted: half, Status: 503}
			e := started(t, 1, ruled(addr, p, map[string]netip.AddrPort{"v1": to}, config.Route{Cluster: "v1", Fault: fault}))
			var ok, failed, other int
			c := web(addr)
			for range 10 {
				begin := time.Now()
				code := 0
				if p == config.HTTP1 {
					code, _ = fetch(t, c, "GET", "/", nil)
				} else if m, err := askOnce(t, addr, frame(1, 7, echoService, []byte("x"))); err == nil {
					code = map[uint16]int{0: 200, 4: 503}[m.status]
				}
				switch code {
				case 200:
					ok++
				case 503:
					failed++
				default:
					other++
				}
				if took := time.Since(begin); took < 60*time.Millisecond {
					t.Errorf("took %s, want a delay of 60 ms", took)
				}
			}
			if ok != 5 || failed != 5 || other != 0 {
				t.Errorf("%d well, %d aborted, %d otherwise; want a half each", ok, failed, other)
			}
			if s := e.Stats(); s.Delayed != 10 || s.Failed[proxy.FailFault] != 5 {
				t.Errorf("%d delayed and %d aborted are counted", s.Delayed, s.Failed[proxy.FailFault])
			}
		})
	}
}

// TestAClientLeavesInItsDelay: nothing is sent for it any more.
func TestAClientLeavesInItsDelay(t *testing.T) {
	up := serve(t, nil)
	addr := freePort(t)
	fault := &config.Fault{Delayed: config.Fraction{Numerator: 1, Denominator: 1}, Delay: 100 * time.Millisecond}
	e := started(t, 1, ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": up.addr}, config.Route{Name: "r", Cluster: "v1", Fault: fault}))
	c := dial(t, addr)
	if err := c.ask(nil); err != nil {
		t.Fatal(err)
	}
	for e.Stats().Delayed == 0 {
		time.Sleep(time.Millisecond)
	}
	_ = c.conn.Close()
	for deadline := time.Now().Add(5 * time.Second); endsOf(e.Stats(), echoService, "r").gone != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", e.Stats().Series)
		}
	}
	if up.requests.Load() != 0 {
		t.Error("its request was sent")
	}
}

func TestLimits(t *testing.T) {
	limit := config.Limit{Burst: 5, Tokens: 1, Every: time.Hour}
	cases := map[string]struct {
		p        config.Protocol
		listener bool
	}{
		"a route of HTTP":    {config.HTTP1, false},
		"a route of Bolt":    {config.Bolt, false},
		"a listener of HTTP": {config.HTTP1, true},
		"a listener of Bolt": {config.Bolt, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			web1, bolt1 := newOrigin(t, statusOnly(200)), serve(t, nil)
			to := map[config.Protocol]netip.AddrPort{config.HTTP1: web1.addr, config.Bolt: bolt1.addr}[tc.p]
			addr, r := freePort(t), config.Route{Cluster: "v1"}
			if !tc.listener {
				r.Limit = limit
			}
			s := ruled(addr, tc.p, map[string]netip.AddrPort{"v1": to}, r)
			if tc.listener {
				s.Listeners[0].Limit = limit
			}
			e := started(t, 2, s)
			got := map[int]int{}
			for range 8 { // a connection each, on both loops
				if tc.p == config.HTTP1 {
					code, _ := fetch(t, web(addr), "GET", "/", nil)
					got[code]++
				} else if m, err := askOnce(t, addr, frame(1, 7, echoService, []byte("x"))); err == nil {
					got[map[uint16]int{0: 200, 4: 429}[m.status]]++
				}
			}
			if diff := cmp.Diff(map[int]int{200: 5, 429: 3}, got); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			if n := e.Stats().Failed[proxy.FailLimit]; n != 3 {
				t.Errorf("%d are counted, want 3", n)
			}
		})
	}
}
