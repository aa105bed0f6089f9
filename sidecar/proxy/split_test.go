package proxy_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// ruled routes echoService, and shop.demo, by rules among clusters of one endpoint each.
func ruled(addr netip.AddrPort, p config.Protocol, clusters map[string]netip.AddrPort, rules ...config.Route) *config.Snapshot {
	s := &config.Snapshot{
		Listeners: []config.Listener{{Name: "out", Address: addr, Protocol: p, Direction: config.Outbound}},
		Hosts:     map[string]*config.Host{},
		Clusters:  map[string]*config.Cluster{},
	}
	for _, key := range []string{echoService, "shop.demo"} {
		s.Hosts[key] = &config.Host{Name: key, Routes: rules}
	}
	for name, to := range clusters {
		c := &config.Cluster{Name: name, Connections: 1, ConnectTimeout: toConnect}
		if to.IsValid() {
			c.Endpoints = []netip.AddrPort{to}
		}
		s.Clusters[name] = c
	}
	return s
}

// canary sends 10 % to v2.
var canary = config.Route{Split: []config.Share{{Cluster: "v1", Weight: 90}, {Cluster: "v2", Weight: 10}}}

// tenth fails unless part is 10 % of all, within one.
func tenth(t *testing.T, part, all int64) {
	t.Helper()
	if share := float64(part) / float64(all); share < 0.09 || share > 0.11 {
		t.Errorf("%d of %d requests, %.2f %%, want 10 %% within 1", part, all, share*100)
	}
}

// headed is a request with a header map of pairs.
func headed(id uint32, body []byte, pairs ...string) []byte {
	plain := frame(1, id, "", nil)
	var header []byte
	for _, s := range pairs {
		header = append(binary.BigEndian.AppendUint32(header, uint32(len(s))), s...)
	}
	binary.BigEndian.PutUint16(plain[16:], uint16(len(header)))
	binary.BigEndian.PutUint32(plain[18:], uint32(len(body)))
	return append(append(plain, header...), body...)
}

func TestBoltIsSplit(t *testing.T) {
	v1, v2 := serve(t, nil), serve(t, nil)
	addr := freePort(t)
	e := started(t, 2, ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": v1.addr, "v2": v2.addr}, canary))
	clients := []*client{dial(t, addr), dial(t, addr), dial(t, addr)}
	const requests = 1000
	for _, c := range clients {
		for range requests { // one burst
			if err := c.ask([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range clients {
		c.settle(t)
	}
	tenth(t, v2.requests.Load(), int64(len(clients)*requests))
	s := e.Stats()
	if s.Clusters["v1"] != uint64(v1.requests.Load()) || s.Clusters["v2"] != uint64(v2.requests.Load()) {
		t.Errorf("counted by cluster: %v; the servers have got %d and %d", s.Clusters, v1.requests.Load(), v2.requests.Load())
	}
}

// TestSplitOutlivesSnapshots has a snapshot come every few requests, as endpoints do.
func TestSplitOutlivesSnapshots(t *testing.T) {
	v1, v2 := serve(t, nil), serve(t, nil)
	addr := freePort(t)
	s := ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": v1.addr, "v2": v2.addr}, canary)
	e := started(t, 1, s)
	c := dial(t, addr)
	for range 200 {
		for range 5 {
			if err := c.ask(nil); err != nil {
				t.Fatal(err)
			}
		}
		c.settle(t)
		if err := e.Apply(s); err != nil {
			t.Fatal(err)
		}
	}
	tenth(t, v2.requests.Load(), 1000)
}

// TestManySidecarsSplit has 40 sidecars see 50 requests each.
func TestManySidecarsSplit(t *testing.T) {
	v1, v2 := serve(t, nil), serve(t, nil)
	for i := range 40 {
		addr := freePort(t)
		e, _ := newEngine(t, int64(i+1), 1) // another generation starts at another place, as another node does
		if err := e.Apply(ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": v1.addr, "v2": v2.addr}, canary)); err != nil {
			t.Fatal(err)
		}
		e.Serve()
		c := dial(t, addr)
		for range 50 {
			if err := c.ask(nil); err != nil {
				t.Fatal(err)
			}
		}
		c.settle(t)
		e.Stop()
	}
	tenth(t, v2.requests.Load(), 40*50)
}

func TestAClusterWithoutEndpointsIsAnError(t *testing.T) {
	v1 := serve(t, nil)
	addr := freePort(t)
	e := started(t, 1, ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": v1.addr, "v2": {}}, canary))
	c := dial(t, addr)
	c.lenient = true
	for range 1000 {
		if err := c.ask(nil); err != nil {
			t.Fatal(err)
		}
	}
	c.settle(t)
	s := e.Stats()
	tenth(t, int64(s.Failed[proxy.FailNoEndpoint]), 1000)
	if int64(s.Failed[proxy.FailNoEndpoint])+v1.requests.Load() != 1000 {
		t.Errorf("%d errors and %d requests at v1, want 1000 in all", s.Failed[proxy.FailNoEndpoint], v1.requests.Load())
	}
}

// rules by method, header and path; everything else is refused.
var rules = []config.Route{
	{Matches: []config.Match{{Name: config.MatchMethod, Kind: config.MatchRegex, Value: "(?i)delete"}}, Cluster: "v1"},
	{Matches: []config.Match{{Name: "user", Kind: config.MatchPrefix, Value: "test-"}}, Cluster: "v2"},
	{Matches: []config.Match{{Name: config.MatchPath, Kind: config.MatchExact, Value: "/v2"}}, Cluster: "v2"},
	{Status: 503},
}

func TestBoltIsRoutedByHeaders(t *testing.T) {
	v1, v2 := serve(t, nil), serve(t, nil)
	addr := freePort(t)
	e := started(t, 1, ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": v1.addr, "v2": v2.addr}, rules...))
	cases := map[string]struct {
		pairs  []string
		at     *server
		status uint16
	}{
		"by method":               {[]string{"service", echoService, "sofa_head_method_name", "delete"}, v1, 0},
		"by header":               {[]string{"user", "test-7", "service", echoService}, v2, 0},
		"a header's case counts":  {[]string{"User", "test-7", "service", echoService}, nil, 6},
		"a key is no path":        {[]string{"service", echoService, ":path", "/v2"}, nil, 6},
		"the rest has no service": {[]string{"service", echoService}, nil, 6},
	}
	for name, tc := range cases {
		before := []int64{v1.requests.Load(), v2.requests.Load()}
		m, err := askOnce(t, addr, headed(7, []byte("x"), tc.pairs...))
		if err != nil || m.id != 7 || m.status != tc.status {
			t.Errorf("%s: %+v, %v; want status %d", name, m, err, tc.status)
		}
		if tc.at != nil && tc.at.requests.Load() == before[slices.Index([]*server{v1, v2}, tc.at)] {
			t.Errorf("%s: it went elsewhere", name)
		}
	}
	if n := e.Stats().Failed[proxy.FailRule]; n != 3 {
		t.Errorf("%d answers by rule, want 3", n)
	}
}

// counting is an HTTP server that says its name and counts, after delay.
func counting(t *testing.T, name string, delay time.Duration) (netip.AddrPort, *atomic.Int64, *sync.Map) {
	t.Helper()
	n, bodies := &atomic.Int64{}, &sync.Map{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n.Add(1)
		bodies.Store(string(body), r.Method+" "+r.URL.Path)
		select {
		case <-time.After(delay):
		case <-r.Context().Done(): // its client has gone
		}
		_, _ = io.WriteString(w, name)
	}))
	t.Cleanup(s.Close)
	at, err := netip.ParseAddrPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return at, n, bodies
}

// fetch asks for shop.demo and returns the status and body.
func fetch(t *testing.T, c *http.Client, method, path string, body io.Reader, user ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://shop.demo"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header["User"] = user
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestHTTPIsSplit(t *testing.T) {
	v1, n1, _ := counting(t, "v1", 0)
	v2, n2, _ := counting(t, "v2", 0)
	addr := freePort(t)
	e := started(t, 1, ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": v1, "v2": v2}, canary))
	c := web(addr)
	const requests = 1000
	for range requests {
		if status, body := fetch(t, c, "GET", "/", nil); status != 200 || body != "v1" && body != "v2" {
			t.Fatalf("status %d, %q", status, body)
		}
	}
	tenth(t, n2.Load(), requests)
	s := e.Stats()
	if s.Clusters["v1"] != uint64(n1.Load()) || s.Clusters["v2"] != uint64(n2.Load()) {
		t.Errorf("counted by cluster: %v; the servers have got %d and %d", s.Clusters, n1.Load(), n2.Load())
	}
}

func TestHTTPIsRoutedByHeaders(t *testing.T) {
	v1, _, _ := counting(t, "v1", 0)
	v2, _, _ := counting(t, "v2", 0)
	addr := freePort(t)
	started(t, 1, ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": v1, "v2": v2}, rules...))
	c := web(addr)
	cases := map[string]struct {
		method, path string
		user         []string
		want         string
	}{
		"by method":               {"DELETE", "/", nil, "200 v1"},
		"by header":               {"GET", "/", []string{"test-7"}, "200 v2"},
		"another value":           {"GET", "/", []string{"ann"}, "503 "},
		"several are one list":    {"GET", "/", []string{"test-1", "ann"}, "200 v2"},
		"the list begins so":      {"GET", "/", []string{"ann", "test-1"}, "503 "},
		"by path":                 {"GET", "/v2", nil, "200 v2"},
		"by path without query":   {"GET", "/v2?x=/v3", nil, "200 v2"},
		"another path":            {"GET", "/v22", nil, "503 "},
		"the rest has no service": {"GET", "/", nil, "503 "},
	}
	for name, tc := range cases {
		status, body := fetch(t, c, tc.method, tc.path, nil, tc.user...)
		if got := fmt.Sprint(status, " ", body); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// TestSplitHopsUnderLoad moves clients of a split and mirrored service from engine to engine: no request is lost, each
// goes to one of the two, a tenth of them to v2, and each copy is counted once.
func TestSplitHopsUnderLoad(t *testing.T) {
	jitter := func(n int64) time.Duration { return time.Duration(n%7) * time.Millisecond }
	v1, v2, mirror := serve(t, jitter), serve(t, jitter), serve(t, jitter)
	addr := freePort(t)
	rule := canary
	rule.Mirror = &config.Mirror{Cluster: "m", Numerator: 1, Denominator: 2}
	s := ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": v1.addr, "v2": v2.addr, "m": mirror.addr}, rule)
	e, set := newEngine(t, 1, 2)
	now := generation{e, set, 1}
	if err := e.Apply(s); err != nil {
		t.Fatal(err)
	}
	e.Serve()
	var clients []*client
	for range 30 {
		clients = append(clients, dial(t, addr))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if c.waiting() < 8 {
					if err := c.ask(bytes.Repeat([]byte{byte(i)}, n%2000)); err != nil {
						t.Error(err)
						return
					}
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	for i := range 6 {
		time.Sleep(50 * time.Millisecond)
		now = hop(t, now, 1+i%2, s)
	}
	close(stop)
	wg.Wait()
	total := int64(0)
	for _, c := range clients {
		c.settle(t)
		total += int64(c.got)
	}
	if got := v1.requests.Load() + v2.requests.Load(); got != total {
		t.Errorf("the servers have got %d requests, the clients %d answers", got, total)
	}
	tenth(t, v2.requests.Load(), total)
	var stats proxy.Stats
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if stats = now.Stats(); stats.Waiting == 0 {
			break
		}
	}
	if int64(stats.Clusters["v1"]) != v1.requests.Load() || int64(stats.Clusters["v2"]) != v2.requests.Load() {
		t.Errorf("counted by cluster: %v; the servers have got %d and %d", stats.Clusters, v1.requests.Load(), v2.requests.Load())
	}
	due := float64(stats.Mirrored+stats.MirrorDropped) / float64(total)
	t.Logf("%d requests, %d to v2, %d copies answered, %d dropped, %d at the mirror",
		total, v2.requests.Load(), stats.Mirrored, stats.MirrorDropped, mirror.requests.Load())
	if due < 0.45 || due > 0.55 || stats.Mirrored < uint64(total)/4 || int64(stats.Mirrored) > mirror.requests.Load() {
		t.Errorf("%d copies answered and %d dropped of %d requests; the mirror has got %d", stats.Mirrored, stats.MirrorDropped, total, mirror.requests.Load())
	}
	now.Stop()
}

// TestAFaultLeavesASplitAsItIs has routes that answer half of their requests themselves: the rest is split as the weights say.
func TestAFaultLeavesASplitAsItIs(t *testing.T) {
	const routes, requests = 8, 200
	v1, v2 := newOrigin(t, statusOnly(201)), newOrigin(t, statusOnly(202))
	half := &config.Fault{Aborted: config.Fraction{Numerator: 1, Denominator: 2}, Status: 503}
	var all []config.Route
	for i := range routes {
		name := fmt.Sprint("/", i)
		match := config.Match{Name: config.MatchPath, Kind: config.MatchExact, Value: name}
		all = append(all, config.Route{
			Name: name, Matches: []config.Match{match}, Fault: half, Split: []config.Share{{Cluster: "v1", Weight: 1}, {Cluster: "v2", Weight: 1}},
		})
	}
	addr := freePort(t)
	started(t, 1, ruled(addr, config.HTTP1, map[string]netip.AddrPort{"v1": v1.addr, "v2": v2.addr}, all...))
	c := web(addr)
	for i := range routes {
		count := map[int]int{}
		for range requests {
			status, _ := fetch(t, c, "GET", fmt.Sprint("/", i), nil)
			count[status]++
		}
		if count[201] < 30 || count[202] < 30 || count[503] < 80 || count[503] > 120 {
			t.Errorf("route %d: %d and %d of %d requests, %d are aborted; want a quarter each, and half", i, count[201], count[202], requests, count[503])
		}
	}
}
