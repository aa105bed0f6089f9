//go:build interop

package interop

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/axlemesh/axle/hack/testport"
)

// late is how long the slow one of two servers takes for every second call, in milliseconds; the other one takes none. A call is
// hedged long before.
const (
	late  = 700
	hedge = `timeout: 30s, attempts: 2, retry: {retryOn: [gateway-error], perTry: 100ms, hedge: true, anyMethod: true, budgetPercent: 100}`
)

// hedged is the way of a call whose client's sidecar has two servers to choose from, each with a sidecar of its own. The slow one of
// HTTP/1.1 has none: a sidecar lets a server answer whose client has closed its side, as a client may that waits.
type hedged struct {
	t       *testing.T
	client  *sidecar
	peers   []*sidecar
	servers []int
}

func newHedged(t *testing.T, protocol, service string, servers ...int) *hedged {
	t.Helper()
	h := &hedged{t: t, servers: servers}
	var to []int
	for i, server := range servers {
		if protocol == "http1" && i == 0 {
			to = append(to, server)
			continue
		}
		peer := newSidecar(t, fmt.Sprintf("inbound-%d", i), protocol, traffic{listener: ", cluster: peer", to: []int{server}})
		h.peers, to = append(h.peers, peer), append(to, peer.port)
	}
	h.client = newSidecar(t, "outbound", protocol, traffic{
		to: to, rest: fmt.Sprintf("  routes:\n  - {service: %q, cluster: peer, %s}\n", service, hedge),
	})
	return h
}

// carries upgrades all sidecars twice in the middle of calls of which some are hedged. The client's connections stay, and where
// nothing is called off by closing a connection all others do, too.
func (h *hedged) carries(keeps bool, goesOn func()) {
	h.t.Helper()
	legs := func() (all [][]int) {
		all = append(all, connections(h.t, h.client.port))
		for i := range h.peers {
			if keeps {
				all = append(all, connections(h.t, h.peers[i].port), connections(h.t, h.servers[i]))
			}
		}
		return all
	}
	goesOn()
	before := legs()
	for range 2 {
		for _, s := range append(h.peers, h.client) {
			s.upgrade()
		}
		goesOn()
	}
	if diff := cmp.Diff(before, legs()); diff != "" || slices.ContainsFunc(before, func(l []int) bool { return len(l) == 0 }) {
		h.t.Errorf("connections %v (-before +after the upgrades):\n%s", before, diff)
	}
}

// counts holds what the servers have done against what the client has got and what its sidecar says, once the client has ended: each
// call was done once, and once more by the other server for each hedge. calledOff is how often a server has heard that nobody waits for
// it any more, which may come before it has begun; nil where the protocol has no words for it, and such answers are ignored.
func (h *hedged) counts(calls int, took func(server int) []string, calledOff func() int) {
	h.t.Helper()
	const hedges, won, retries, ignored = "axle_hedges_total", "axle_hedges_won_total", "axle_retries_total", "axle_responses_late_total"
	m := h.client.metrics(hedges, won, retries, ignored)
	all := map[string]int{}
	eventually(h.t, "each call and each hedge has reached a server", func() bool {
		clear(all)
		for i := range h.servers {
			for _, text := range took(i) {
				all[text]++
			}
		}
		sum := 0
		for n := range maps.Values(all) {
			sum += n
		}
		return sum >= calls+int(m[hedges]) || calledOff != nil && sum >= calls
	})
	twice := 0
	for text, n := range all {
		if twice += n - 1; n > 2 {
			h.t.Errorf("%s has reached servers %d times", text, n)
		}
	}
	if len(all) != calls || twice > int(m[hedges]) || calledOff == nil && twice < int(m[hedges]) || m[retries] < m[hedges] { // one that found its connection closed has reached nobody before
		h.t.Errorf("%d calls; the servers have %d, and %d of them once more; the sidecar has sent %v again, hedges: %v", calls, len(all), twice, m[retries], m[hedges])
	}
	if m[won] < 10 || m[won] > m[hedges] {
		h.t.Errorf("%v of %v hedges have answered first", m[won], m[hedges])
	}
	off := -1
	if calledOff == nil {
		eventually(h.t, "late answers are ignored", func() bool { m = h.client.metrics(hedges, won, ignored); return m[ignored] >= m[won] })
		if m[ignored] > m[hedges] {
			h.t.Errorf("%v answers are ignored, of %v hedges", m[ignored], m[hedges])
		}
	} else {
		eventually(h.t, "late tries are called off", func() bool { off = calledOff(); return off >= 10 })
		if off > int(m[hedges]) {
			h.t.Errorf("%d tries were called off, of %v hedges", off, m[hedges])
		}
	}
	h.t.Logf("%d calls, %d of them done twice, %v hedges, %v of them won, %v answers ignored, %d tries called off", calls, twice, m[hedges], m[won], m[ignored], off)
	for _, s := range append(h.peers, h.client) {
		s.sound()
	}
}

// told are the texts behind a word that a program has said.
func told(p *process, word string) (all []string) {
	for line := range strings.Lines(p.out.String()) {
		if text, ok := strings.CutPrefix(line, word+" "); ok {
			all = append(all, strings.TrimSpace(text))
		}
	}
	return all
}

// TestHedgedRPC: SOFARPC and Dubbo for Java, client and servers. A server is not told that nobody waits for it.
func TestHedgedRPC(t *testing.T) {
	for protocol, tc := range map[string]struct {
		jars    func() (string, error)
		server  []string // class and what is behind its port
		service string
	}{
		"bolt":  {sofarpcJars, []string{"LedgerServer"}, "axle.interop.Ledger:1.0"},
		"dubbo": {dubboJars, []string{"DubboServer", "dubbo"}, "axle.interop.Ledger:1.0@gray"},
	} {
		t.Run(protocol, func(t *testing.T) {
			needs(t, protocol)
			var ports []int
			var servers []*process
			for _, ms := range []int{late, 0} {
				port := testport.Free(t)
				args := append([]string{strconv.Itoa(port)}, tc.server[1:]...)
				servers = append(servers, javaWith(t, tc.jars, []string{fmt.Sprintf("-Dinterop.late=%d", ms)}, tc.server[0], args...))
				ports = append(ports, port)
			}
			for _, s := range servers {
				s.says("serving")
			}
			h := newHedged(t, protocol, tc.service, ports...)
			c := client{process: java(t, tc.jars, "HastyClient", strconv.Itoa(h.client.port)).says("calling"), kinds: []string{"hedged"}}
			h.carries(true, func() { c.goesOn(60) })
			c.finish()
			calls := parseReport(c.out.String(), "in all")["hedged"]
			h.counts(calls, func(i int) []string { return told(servers[i], "took") }, nil)
		})
	}
}

// TestHedgedHTTP: curl and the server of Node.js, whose connection is closed when nobody waits for it.
func TestHedgedHTTP(t *testing.T) {
	var ports []int
	var servers []*process
	for _, ms := range []int{late, 0} {
		port := testport.Free(t)
		servers = append(servers, node(t, "web-server.js", strconv.Itoa(port), strconv.Itoa(ms)).says("serving"))
		ports = append(ports, port)
	}
	h := newHedged(t, "http1", "shop.demo", ports...)
	const clients, most = 4, 10_000
	var curls []*process
	answered := func() (n int) {
		for _, c := range curls {
			n += strings.Count(c.out.String(), "\n")
		}
		return n
	}
	for i := range clients {
		curls = append(curls, launch(t, nil, "curl", "--disable", "--silent", "--show-error", "--noproxy", "*", "--rate", "20/s",
			"--connect-to", fmt.Sprintf("shop.demo:80:127.0.0.1:%d", h.client.port), fmt.Sprintf("http://shop.demo/hedged/[%d-%d]", i*most+1, (i+1)*most)))
	}
	h.carries(false, func() {
		from := answered()
		eventually(t, "the calls go on", func() bool { return answered() >= from+40 })
	})
	got := map[string]bool{}
	for i, c := range curls {
		_ = c.cmd.Process.Kill() // it may have a call that is not answered
		<-c.done
		n := 0
		for line := range strings.Lines(c.out.String()) {
			if n++; line != fmt.Sprintf("text %d\n", i*most+n) {
				t.Fatalf("curl %d: answer %d is %q", i, n, line)
			}
			got[fmt.Sprintf("text-%d", i*most+n)] = true
		}
	}
	h.counts(len(got), func(i int) []string {
		return slices.DeleteFunc(told(servers[i], "took"), func(text string) bool { return !got[text] })
	}, func() int { return len(told(servers[0], "called off")) })
}

// hasty is a grpc-go server of which every second call takes long, and which counts.
type hasty struct {
	late time.Duration
	off  *atomic.Int64

	mu   sync.Mutex
	took []string
}

func (s *hasty) slow(ctx context.Context, text *wrapperspb.StringValue) (any, error) {
	s.mu.Lock()
	s.took = append(s.took, text.Value)
	s.mu.Unlock()
	var wait time.Duration
	if n := text.Value[len(text.Value)-1]; n%2 == 0 {
		wait = s.late
	}
	select {
	case <-time.After(wait):
		return text, nil
	case <-ctx.Done():
		s.off.Add(1)
		return nil, ctx.Err()
	}
}

func (s *hasty) serve(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "axle.interop.Hasty", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "Slow", Handler: handle(s.slow)}},
	}, nil)
	go func() { _ = server.Serve(l) }() // ends with Stop
	t.Cleanup(server.Stop)
	return l.Addr().(*net.TCPAddr).Port
}

// TestHedgedGRPC: grpc-go, client and servers. The stream of a try that is late is reset.
func TestHedgedGRPC(t *testing.T) {
	needs(t, "http2")
	var off atomic.Int64
	servers := []*hasty{{late: late * time.Millisecond, off: &off}, {off: &off}}
	h := newHedged(t, "http2", "ledger.demo", servers[0].serve(t), servers[1].serve(t))
	c, err := grpc.NewClient(fmt.Sprintf("passthrough:///127.0.0.1:%d", h.client.port), grpc.WithAuthority("ledger.demo"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var next, done atomic.Int64
	var stopping atomic.Bool
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for !stopping.Load() {
				text, got := fmt.Sprintf("text-%d", next.Add(1)), wrapperspb.StringValue{}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				err := c.Invoke(ctx, "/axle.interop.Hasty/Slow", wrapperspb.String(text), &got)
				if cancel(); err != nil || got.Value != text {
					t.Errorf("%s: %q, %v", text, got.Value, err)
					return
				}
				done.Add(1)
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	stop := func() { stopping.Store(true); running.Wait() }
	defer stop()
	h.carries(true, func() {
		from := done.Load()
		eventually(t, "the calls go on", func() bool { return done.Load() >= from+60 || t.Failed() })
	})
	stop()
	h.counts(int(done.Load()), func(i int) []string {
		servers[i].mu.Lock()
		defer servers[i].mu.Unlock()
		return slices.Clone(servers[i].took)
	}, func() int { return int(off.Load()) })
}
