package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// A race is a sidecar and endpoints which do with each try what a test says, so that the order of events is the test's.
type race struct {
	t     *testing.T
	p     config.Protocol
	addr  netip.AddrPort
	s     *config.Snapshot
	e     *proxy.Engine
	shots chan *shot
}

// shot is one try at an endpoint.
type shot struct {
	at   string
	do   chan string   // "ok", "busy" (503), "reset"
	gone chan struct{} // closed when the sidecar has called it off; only HTTP says so
}

// racing are the protocols that hedge, by their names.
var racing = map[string]config.Protocol{"Bolt": config.Bolt, "Dubbo": config.Dubbo, "HTTP1": config.HTTP1, "HTTP2": config.HTTP2}

// slowFor is when a try is slow: long enough for a busy machine to bring the first one to its endpoint before the second.
const slowFor = 100 * time.Millisecond

// hedged is a route that hedges.
func hedged(change ...func(*config.Route)) config.Route {
	r := config.Route{Name: "r", Cluster: "v1", Attempts: 3, Timeout: 8 * time.Second, Retry: &config.Retry{
		On: config.RetryReset, Statuses: []int{503}, AnyMethod: true, PerTry: slowFor, Hedge: true,
		Backoff: time.Millisecond, BudgetPercent: 100,
	}}
	for _, f := range change {
		f(&r)
	}
	return r
}

// newRace starts a sidecar with n endpoints.
func newRace(t *testing.T, p config.Protocol, n int, r config.Route, limits ...func(*config.Cluster)) *race {
	t.Helper()
	x := newTrack(t, p, n, r, limits...)
	x.e = started(t, 1, x.s)
	return x
}

// newTrack is a race without its sidecar.
func newTrack(t *testing.T, p config.Protocol, n int, r config.Route, limits ...func(*config.Cluster)) *race {
	t.Helper()
	x := &race{t: t, p: p, shots: make(chan *shot, 1000)}
	var all []netip.AddrPort
	for range n {
		all = append(all, x.endpoint())
	}
	x.addr = freePort(t) // which no endpoint takes any more
	x.s = endpoints(ruled(x.addr, p, map[string]netip.AddrPort{"v1": all[0]}, r), "v1", all...)
	x.s.Hosts[echoDubbo] = &config.Host{Name: echoDubbo, Routes: []config.Route{r}}
	c := x.s.Clusters["v1"]
	c.MaxRequests, c.MaxRetries, c.MaxPending = 1000, 1000, 1000
	for _, f := range limits {
		f(c)
	}
	return x
}

func (x *race) rpc() bool { return x.p == config.Bolt || x.p == config.Dubbo }

func (x *race) endpoint() netip.AddrPort {
	if !x.rpc() {
		o := newOrigin(x.t, func(n int64, w http.ResponseWriter, r *http.Request) {
			s := &shot{fmt.Sprint(r.Context().Value(http.LocalAddrContextKey)), make(chan string, 1), make(chan struct{})}
			x.shots <- s
			select {
			case what := <-s.do:
				if what == "reset" {
					reset(n, w, r)
					return
				}
				w.WriteHeader(map[string]int{"ok": 200, "busy": 503}[what])
				_, _ = io.WriteString(w, s.at)
			case <-r.Context().Done():
				close(s.gone)
			}
		})
		return o.addr
	}
	ln := listenTCP(x.t)
	at := ln.Addr().(*net.TCPAddr).AddrPort()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go x.serve(conn, at.String())
		}
	}()
	return at
}

// serve is an endpoint's end of an RPC connection.
func (x *race) serve(conn net.Conn, at string) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for {
		m, d, err := x.read(r)
		if err != nil {
			return
		}
		s := &shot{at: at, do: make(chan string, 1)}
		x.shots <- s
		if m.kind == 2 {
			continue
		}
		go func() {
			switch what := <-s.do; {
			case what == "reset":
				_ = conn.Close()
			case x.p == config.Dubbo:
				status := map[string]byte{"ok": 20, "busy": 100}[what]
				_, _ = conn.Write(dubboFrame(flagResponse, status, d.id, []byte(at)))
			default:
				f := frame(0, m.id, "", []byte(at))
				if what == "busy" {
					f[11] = 4
				}
				_, _ = conn.Write(f)
			}
		}()
	}
}

func (x *race) read(r *bufio.Reader) (m message, d dubboMessage, err error) {
	if x.p == config.Dubbo {
		d, err = readDubbo(r)
		return m, d, err
	}
	m, err = readMessage(r)
	return m, d, err
}

// wish is one request. Everything that its client gets is in answers, which is closed when there can be no more.
type wish struct {
	answers chan string
	leave   func()
}

// ask sends a request: a PUT with a body where there are methods.
func (x *race) ask() *wish { return x.askBy("PUT") }

func (x *race) askBy(method string) *wish {
	x.t.Helper()
	a := &wish{answers: make(chan string, 10)}
	if x.rpc() {
		x.askRPC(a)
		return a
	}
	ctx, cancel := context.WithCancel(context.Background())
	x.t.Cleanup(cancel)
	a.leave = cancel
	c := web(x.addr)
	if x.p == config.HTTP2 {
		c = web2(x.t, x.addr)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://shop.demo/", strings.NewReader("a body"))
	if err != nil {
		x.t.Fatal(err)
	}
	go func() {
		defer close(a.answers)
		res, err := c.Do(req)
		if err != nil {
			a.answers <- err.Error()
			return
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if a.answers <- fmt.Sprint(res.StatusCode, " ", string(body)); err != nil {
			a.answers <- err.Error()
		}
	}()
	return a
}

func (x *race) askRPC(a *wish) {
	conn, err := net.Dial("tcp", x.addr.String())
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = conn.Close() })
	a.leave = func() { _ = conn.Close() }
	raw := frame(1, 7, echoService, []byte("a body"))
	if x.p == config.Dubbo {
		raw = dubboFrame(flagRequest, 0, 7, dubboCall(echoDubbo, "pay", []byte("a body")))
	}
	if _, err := conn.Write(raw); err != nil {
		x.t.Fatal(err)
	}
	go func() {
		defer close(a.answers)
		r := bufio.NewReader(conn)
		for {
			m, d, err := x.read(r)
			if err != nil {
				return
			}
			code := map[uint16]int{0: 200, 4: 503, 7: 504, 5: 502}[m.status]
			if m.body = append(m.body, d.body...); x.p == config.Dubbo {
				code = map[byte]int{20: 200, 100: 503, 31: 504, 35: 502}[d.status]
			}
			if code != 200 {
				m.body = nil // a message for people
			}
			a.answers <- fmt.Sprint(code, " ", string(m.body))
		}
	}()
}

// shot is the next try.
func (x *race) shot() *shot {
	x.t.Helper()
	select {
	case s := <-x.shots:
		return s
	case <-time.After(10 * time.Second):
		x.t.Fatal("no try has come")
		return nil
	}
}

// answer is what the client gets.
func (x *race) answer(a *wish) string {
	x.t.Helper()
	select {
	case s := <-a.answers:
		return s
	case <-time.After(10 * time.Second):
		x.t.Fatal("no answer")
		return ""
	}
}

// rested waits until nothing is held for any request, and checks that the client has got nothing more.
func (x *race) rested(all ...*wish) {
	x.t.Helper()
	places := ""
	until(x.t, "everything is given back", func() bool {
		retries, open := x.e.Spent()
		bytes, active := x.e.Calls()
		held2, _ := x.e.HeldHTTP2()
		limits := held(x.e, "v1", "requests") + held(x.e, "v1", "retries") + held(x.e, "v1", "pending")
		places = fmt.Sprint(retries, open, bytes, active, held2, limits)
		return places == "0 0 0 0 0 0"
	})
	for _, a := range all {
		a.leave()
		for s := range a.answers {
			if !strings.Contains(s, "context canceled") {
				x.t.Errorf("the client has got %q besides", s)
			}
		}
	}
	if len(x.shots) > 0 {
		x.t.Errorf("%d tries that nobody has expected", len(x.shots))
	}
}
