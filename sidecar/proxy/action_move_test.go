package proxy_test

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/codec/change"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// TestAPlanMoves hands over while a request waits for its endpoint, in a delay, or between two tries: the next owner goes on
// as the route says, and the end of the request is counted once.
func TestAPlanMoves(t *testing.T) {
	always := config.Fraction{Numerator: 1, Denominator: 1}
	edit := &config.Edit{Response: []change.Field{{Op: change.Set, Name: "X-Via", Value: "axle"}}}
	wait := make(chan struct{})
	held := func(then func(int64, http.ResponseWriter, *http.Request)) func(int64, http.ResponseWriter, *http.Request) {
		return func(n int64, w http.ResponseWriter, r *http.Request) {
			<-wait
			then(n, w, r)
		}
	}
	first := func(then func(int64, http.ResponseWriter, *http.Request)) func(int64, http.ResponseWriter, *http.Request) {
		return func(n int64, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				then(n, w, r)
			}
		}
	}
	retry := func(pause time.Duration) *config.Retry {
		return &config.Retry{On: config.RetryServerError, Backoff: pause, MaxBackoff: pause}
	}
	cases := map[string]struct {
		answer func(int64, http.ResponseWriter, *http.Request)
		route  config.Route
		when   func(s proxy.Stats, seen int64) bool // to hand over
		status int
		seen   int64
	}{
		"its answer is changed": {held(statusOnly(200)), config.Route{}, func(_ proxy.Stats, seen int64) bool { return seen == 1 }, 200, 1},
		"its endpoint fails": {
			first(held(reset)), config.Route{Retry: retry(time.Millisecond)},
			func(_ proxy.Stats, seen int64) bool { return seen == 1 }, 200, 2,
		},
		"its endpoint cannot": {
			first(held(statusOnly(500))), config.Route{Retry: retry(time.Millisecond)},
			func(_ proxy.Stats, seen int64) bool { return seen == 1 }, 200, 2,
		},
		"between two tries": {
			first(statusOnly(500)), config.Route{Retry: retry(time.Hour)},
			func(s proxy.Stats, _ int64) bool { return s.Retried == 1 }, 200, 2,
		},
		"delayed": {
			statusOnly(200), config.Route{Fault: &config.Fault{Delayed: always, Delay: time.Hour}},
			func(s proxy.Stats, _ int64) bool { return s.Delayed == 1 }, 200, 1,
		},
		"delayed, then aborted": {
			statusOnly(200), config.Route{Fault: &config.Fault{Delayed: always, Delay: time.Hour, Aborted: always, Status: 418}},
			func(s proxy.Stats, _ int64) bool { return s.Delayed == 1 }, 418, 0,
		},
	}
	type asker struct {
		protocol config.Protocol
		web      func(netip.AddrPort) *http.Client
	}
	var askers []asker
	for p, web := range webs(t) {
		askers = append(askers, asker{p, web})
	}
	for i := range len(cases) * len(askers) {
		name := slices.Sorted(maps.Keys(cases))[i/len(askers)]
		tc, by := cases[name], askers[i%len(askers)]
		t.Run(fmt.Sprint(name, ", protocol ", by.protocol), func(t *testing.T) {
			wait = make(chan struct{})
			o := newOrigin(t, tc.answer)
			addr := freePort(t)
			tc.route.Name, tc.route.Cluster, tc.route.Edit = "r", "v1", edit
			s := ruled(addr, by.protocol, map[string]netip.AddrPort{"v1": o.addr}, tc.route)
			from, to := started(t, 1, s), started2(t, s)
			c := by.web(addr)
			done := make(chan string, 1)
			go func() {
				res, err := c.Get("http://shop.demo/")
				if err != nil {
					done <- err.Error()
					return
				}
				_, _ = io.Copy(io.Discard, res.Body) // a client of HTTP/2 that closes it earlier resets the stream, and is gone
				_ = res.Body.Close()
				done <- fmt.Sprint(res.StatusCode, " ", res.Header.Get("X-Via"))
			}()
			for deadline := time.Now().Add(5 * time.Second); !tc.when(from.Stats(), o.seen.Load()); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the request does not get where it is to be handed over")
				}
			}
			give(t, from, to)
			close(wait)
			want := "200 axle"
			if tc.status != 200 {
				want = fmt.Sprint(tc.status, " ")
			}
			select {
			case got := <-done:
				if got != want {
					t.Errorf("answer %q, want %q", got, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("no answer")
			}
			n := endsOf(to.Stats(), "shop.demo", "r")
			if o.seen.Load() != tc.seen || n.all != 1 || n.gone > 0 {
				t.Errorf("the endpoint has seen %d requests, want %d; counted: %+v", o.seen.Load(), tc.seen, n)
			}
		})
	}
}

// started2 is an engine of the next generation that does not listen yet.
func started2(t *testing.T, s *config.Snapshot) *proxy.Engine {
	t.Helper()
	e, _ := newEngine(t, 2, 1)
	t.Cleanup(e.Stop)
	quiet := *s
	quiet.Listeners = []config.Listener{{Name: "other", Address: freePort(t), Protocol: config.HTTP1, Direction: config.Outbound}}
	if err := e.Apply(&quiet); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestPlansHopUnderLoad moves clients whose route does everything from engine to engine, over both protocols: each request
// has one answer, and each is counted once.
func TestPlansHopUnderLoad(t *testing.T) {
	tenth := config.Fraction{Numerator: 1, Denominator: 10}
	route := config.Route{
		Name: "r", Cluster: "v1", Timeout: 5 * time.Second,
		Retry: &config.Retry{On: config.RetryServerError, AnyMethod: true, PerTry: time.Second, Backoff: 5 * time.Millisecond, BudgetPercent: 100},
		Fault: &config.Fault{Delayed: tenth, Delay: 20 * time.Millisecond, Aborted: tenth, Status: 503},
		Limit: config.Limit{Burst: 1000, Tokens: 1000, Every: time.Millisecond},
		Edit:  &config.Edit{Request: []change.Field{{Name: "X-A", Value: "b"}}},
	}
	for name, p := range map[string]config.Protocol{"HTTP": config.HTTP1, "HTTP2": config.HTTP2, "Bolt": config.Bolt} {
		t.Run(name, func(t *testing.T) {
			jitter := func(n int64) time.Duration { return time.Duration(n%7) * time.Millisecond }
			bolt1, web1 := serve(t, jitter), newOrigin(t, func(n int64, w http.ResponseWriter, _ *http.Request) {
				time.Sleep(jitter(n))
				if n%10 == 0 {
					w.WriteHeader(500)
				}
			})
			addr := freePort(t)
			to := map[config.Protocol]netip.AddrPort{config.HTTP1: web1.addr, config.HTTP2: web1.addr, config.Bolt: bolt1.addr}[p]
			s := ruled(addr, p, map[string]netip.AddrPort{"v1": to}, route)
			e, set := newEngine(t, 1, 2)
			now := generation{e, set, 1}
			if err := e.Apply(s); err != nil {
				t.Fatal(err)
			}
			e.Serve()
			stop := make(chan struct{})
			var wg sync.WaitGroup
			var total atomic.Int64
			for range 20 {
				wg.Go(func() { total.Add(int64(keepAsking(t, addr, p, stop))) })
			}
			for i := range 4 {
				time.Sleep(100 * time.Millisecond)
				now = hop(t, now, 1+i%2, s)
			}
			close(stop)
			wg.Wait()
			stats := now.Stats()
			n := endsOf(stats, map[config.Protocol]string{config.HTTP1: "shop.demo", config.HTTP2: "shop.demo", config.Bolt: echoService}[p], "r")
			t.Logf("%d requests, %d retried, %d delayed, %+v", total.Load(), stats.Retried, stats.Delayed, n)
			if int64(n.all) != total.Load() {
				t.Errorf("the ends of %d requests are counted, the clients asked %d", n.all, total.Load())
			}
			if p != config.Bolt && stats.Retried == 0 {
				t.Error("none was retried: an exchange of HTTP moves with its plan")
			}
			now.Stop()
		})
	}
}

// keepAsking asks until stop, one request after the other, and returns how many there were. All have to be answered, well or
// as the route's faults are.
func keepAsking(t *testing.T, addr netip.AddrPort, p config.Protocol, stop <-chan struct{}) int {
	var ask func() error
	if p != config.Bolt {
		c := webs(t)[p](addr)
		ask = func() error {
			res, err := c.Get("http://shop.demo/")
			if err != nil {
				return err
			}
			return res.Body.Close()
		}
	} else {
		c := dial(t, addr)
		c.lenient = true
		ask = func() error {
			err := c.ask([]byte("hello"))
			for end := time.Now().Add(10 * time.Second); err == nil && c.waiting() > 0; time.Sleep(100 * time.Microsecond) {
				if time.Now().After(end) {
					return fmt.Errorf("no answer to request %d", c.next)
				}
			}
			return err
		}
	}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return n
		default:
		}
		if err := ask(); err != nil {
			t.Errorf("request %d: %v", n, err)
			return n + 1
		}
	}
}

// TestABoltPlanMoves hands over while a request waits for its endpoint, which fails it then: the next owner sends it to the
// other one.
func TestABoltPlanMoves(t *testing.T) {
	retry := &config.Retry{On: config.RetryReset, Statuses: []int{503}, AnyMethod: true, Backoff: time.Millisecond, PerTry: 200 * time.Millisecond}
	for name, fail := range map[string]func(*backend, message){"busy": busy, "a reset": hangUp, "too slow": silent} {
		t.Run(name, func(t *testing.T) {
			bad, good := newBackend(t), serve(t, nil)
			addr := freePort(t)
			at := addrOf(bad.ln.Addr().(*net.TCPAddr).AddrPort())
			s := ruled(addr, config.Bolt, map[string]netip.AddrPort{"v1": good.addr}, config.Route{Name: "r", Cluster: "v1", Retry: retry})
			endpoints(s, "v1", at.addr, good.addr)
			from, to := started(t, 1, s), started2(t, s)
			seen := make(chan message, 1)
			go func() {
				bad.accept(t)
				seen <- bad.read(t)
			}()
			c := dial(t, addr)
			var m message
			for asked := 0; asked < 2; asked++ {
				if err := c.ask([]byte("x")); err != nil {
					t.Fatal(err)
				}
				select {
				case m = <-seen:
					asked = 2
				case <-time.After(100 * time.Millisecond):
				}
			}
			if m.body == nil {
				t.Fatal("no request has come to the endpoint")
			}
			give(t, from, to)
			fail(bad, m)
			c.settle(t)
			stats := to.Stats()
			n := endsOf(stats, echoService, "r")
			if stats.Retried != 1 || n.answered != n.all {
				t.Errorf("%d retries, the route counts %+v", stats.Retried, n)
			}
		})
	}
}
