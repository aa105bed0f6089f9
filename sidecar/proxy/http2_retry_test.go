package proxy_test

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

func TestHTTP2IsTriedAgain(t *testing.T) {
	fast := func(r config.Retry) *config.Retry { r.Backoff = time.Millisecond; return &r }
	slow := func(_ int64, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	late := func(_ int64, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	const body = "a body that is small"
	gateway := config.Retry{On: config.RetryGateway}
	cases := map[string]struct {
		bad     func(int64, http.ResponseWriter, *http.Request)
		retry   *config.Retry
		method  string
		body    string
		status  int
		retried bool
	}{
		"503 of a GET":                 {statusOnly(503), fast(gateway), "GET", "", 200, true},
		"503 whose body never ends":    {late, fast(gateway), "GET", "", 200, true},
		"500 is no gateway error":      {statusOnly(500), fast(gateway), "GET", "", 500, false},
		"404 if that is listed":        {statusOnly(404), fast(config.Retry{Statuses: []int{404}}), "GET", "", 200, true},
		"a reset":                      {reset, fast(config.Retry{On: config.RetryReset}), "GET", "", 200, true},
		"a PUT with its body":          {statusOnly(503), fast(gateway), "PUT", body, 200, true},
		"a POST is not":                {statusOnly(503), fast(gateway), "POST", body, 503, false},
		"a POST if that is asked for":  {statusOnly(503), fast(config.Retry{On: config.RetryGateway, AnyMethod: true}), "POST", body, 200, true},
		"a body of as much as is kept": {statusOnly(503), fast(gateway), "PUT", strings.Repeat("x", 64<<10), 200, true},
		"a body of more is not":        {statusOnly(503), fast(gateway), "PUT", strings.Repeat("x", 64<<10+1), 503, false},
		"a try that takes too long":    {slow, fast(config.Retry{On: config.RetryReset, PerTry: 50 * time.Millisecond}), "GET", "", 200, true},
		"too long, not to be retried":  {slow, fast(config.Retry{On: config.RetryConnect, PerTry: 50 * time.Millisecond}), "GET", "", 504, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			bad, good := newOrigin(t, tc.bad), newOrigin(t, statusOnly(200))
			addr := freePort(t)
			s := ruled(addr, config.HTTP2, map[string]netip.AddrPort{"v1": bad.addr}, config.Route{Name: "r", Cluster: "v1", Retry: tc.retry})
			e := started(t, 1, endpoints(s, "v1", bad.addr, good.addr))
			c := web2(t, addr)
			asked := uint64(0)
			for bad.seen.Load() == 0 && asked < 2 { // one of them begins at the bad one
				asked++
				got, err := ask2(c, tc.method, "/", strings.NewReader(tc.body))
				want := tc.status
				if bad.seen.Load() == 0 {
					want = 200
				}
				if err != nil || got.status != want {
					t.Errorf("status %d, %v; want %d", got.status, err, want)
				}
				if good.body != tc.body && good.last != nil {
					t.Errorf("%d bytes of body, want %d", len(good.body), len(tc.body))
				}
			}
			if n := e.Stats().Retried; (n > 0) != tc.retried || bad.seen.Load() != 1 {
				t.Errorf("%d retries and %d requests at the bad endpoint, want 1 there and retries: %t", n, bad.seen.Load(), tc.retried)
			}
			up, slow := e.Stats().Upstreams["v1"], strings.Contains(name, "too long")
			if (up.Retries == 1) != tc.retried || (up.Timeouts == 1) != slow {
				t.Errorf("of the cluster are counted %d retries and %d timeouts", up.Retries, up.Timeouts)
			}
			counted := endsOf(e.Stats(), "shop.demo", "r")
			if sum := counted.answered + counted.own; counted.all != asked || sum != asked {
				t.Errorf("the route counts %+v, want %d requests that ended", counted, asked)
			}
			nothingHeld(t, e)
		})
	}
}

// nothingHeld waits until no stream is open, and fails when something was kept for one.
func nothingHeld(t *testing.T, e *proxy.Engine) {
	t.Helper()
	until(t, "nothing is held", func() bool {
		bytes, exchanges := e.HeldHTTP2()
		return bytes+exchanges == 0
	})
}

// TestGRPCIsTriedAgain: what a server says of a call in trailers only is one of HTTP's statuses where retries are decided.
func TestGRPCIsTriedAgain(t *testing.T) {
	busy := []int{429, 503}
	cases := map[string]struct {
		code   codes.Code
		retry  config.Retry
		method bool
		tries  uint64
	}{
		"unavailable is busy":                {codes.Unavailable, config.Retry{Statuses: busy}, true, 2},
		"exhausted is busy":                  {codes.ResourceExhausted, config.Retry{Statuses: busy}, true, 2},
		"a deadline is a gateway's error":    {codes.DeadlineExceeded, config.Retry{On: config.RetryGateway}, true, 2},
		"internal is the server's":           {codes.Internal, config.Retry{On: config.RetryServerError}, true, 2},
		"internal is not busy":               {codes.Internal, config.Retry{Statuses: busy}, true, 0},
		"unknown is the application's":       {codes.Unknown, config.Retry{On: config.RetryServerError}, true, 0},
		"an answer is one":                   {codes.NotFound, config.Retry{On: config.RetryServerError, Statuses: busy}, true, 0},
		"a call is not without methods: All": {codes.Unavailable, config.Retry{Statuses: busy}, false, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			to, _ := serveGRPC(t)
			addr := freePort(t)
			tc.retry.Backoff, tc.retry.AnyMethod = time.Millisecond, tc.method
			s := ruled(addr, config.HTTP2, map[string]netip.AddrPort{"v1": to}, config.Route{Name: "r", Cluster: "v1", Retry: &tc.retry, Attempts: 3})
			e := started(t, 1, s)
			c := dialGRPC(t, addr, "shop.demo")
			_, err := c.UnaryCall(t.Context(), &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: int32(tc.code)}, Payload: payload(1000)})
			if err := want(err, tc.code, ""); err != nil {
				t.Error(err)
			}
			if n := e.Stats().Retried; n != tc.tries {
				t.Errorf("%d retries, want %d", n, tc.tries)
			}
			nothingHeld(t, e)
		})
	}
}

// TestTrailersAreSentAgain, those too that have gone on at once.
func TestTrailersAreSentAgain(t *testing.T) {
	var o *origin
	o = newOrigin(t, func(n int64, w http.ResponseWriter, _ *http.Request) {
		switch sum := o.last.Trailer.Get("X-Sum"); {
		case n == 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case n == 3 && sum != "4":
			w.WriteHeader(http.StatusTeapot)
		}
	})
	addr := freePort(t)
	started(t, 1, ruled(addr, config.HTTP2, map[string]netip.AddrPort{"v1": o.addr}, config.Route{
		Name: "r", Cluster: "v1", Retry: &config.Retry{On: config.RetryGateway, Backoff: time.Millisecond},
	}))
	c := web2(t, addr)
	for n := range 2 { // the first one opens the connection
		req, err := http.NewRequest("PUT", "http://shop.demo/", io.MultiReader(strings.NewReader("body")))
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-Sum": {"4"}}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _ = res.Body.Close(); res.StatusCode != 200 {
			t.Errorf("request %d: status %d, want 200", n, res.StatusCode)
		}
	}
	if n := o.seen.Load(); n != 3 {
		t.Errorf("%d tries, want 3", n)
	}
}

// TestAHeadThatIsNotKeptTakesNoRoom: where nothing more may be kept to be sent again, a request that was sent holds nothing.
func TestAHeadThatIsNotKeptTakesNoRoom(t *testing.T) {
	ws, to := waiting(t)
	addr := freePort(t)
	e := started(t, 1, ruled(addr, config.HTTP2, map[string]netip.AddrPort{"v1": to}, config.Route{
		Name: "r", Cluster: "v1", Retry: &config.Retry{On: config.RetryGateway}, Attempts: 2,
	}))
	e.FillHTTP2()
	full, _ := e.HeldHTTP2()
	for n := range 2 { // the first one waits until the connection is open, the second is sent at once
		ws.ask(t, addr, 1, 1000)
		until(t, "it is sent and holds nothing", func() bool {
			sent := e.Stats().Waiting == uint64(n+1)
			held, _ := e.HeldHTTP2()
			return sent && held == full
		})
	}
	ws.answered(t)
}
