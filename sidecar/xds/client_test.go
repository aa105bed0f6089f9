package xds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"github.com/go-logr/logr/testr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/axlemesh/axle/hack/testport"
	"github.com/axlemesh/axle/sidecar/backoff"
	"github.com/axlemesh/axle/sidecar/config"
)

// plane is a real go-control-plane server whose connections can be cut.
type plane struct {
	t      *testing.T
	caches map[string]*cache.LinearCache
	mux    *cache.MuxCache
	addr   string
	grpc   *grpc.Server

	mu    sync.Mutex
	sent  []string // names of resources sent, "-name" for removed ones
	nacks []string
	nodes []string
	asked []string // names of secrets that were subscribed to, "-name" when that ended
}

func newPlane(t *testing.T) *plane {
	p := &plane{t: t, caches: make(map[string]*cache.LinearCache), mux: &cache.MuxCache{Caches: make(map[string]cache.Cache)}}
	for _, typ := range all {
		p.caches[typ] = cache.NewLinearCache(typ)
		p.mux.Caches[typ] = p.caches[typ]
	}
	p.mux.ClassifyDelta = func(r *cache.DeltaRequest) string { return r.GetTypeUrl() }
	p.addr = fmt.Sprintf("127.0.0.1:%d", testport.Free(t))
	p.up()
	t.Cleanup(p.down)
	return p
}

func (p *plane) up() {
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	p.grpc = grpc.NewServer(grpc.WaitForHandlers(true)) // what a stream that has ended sends to nobody is not counted
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(p.grpc, serverv3.NewServer(ctx, p.mux, serverv3.CallbackFuncs{
		StreamDeltaRequestFunc:  p.request,
		StreamDeltaResponseFunc: p.response,
	}))
	go func(g *grpc.Server) {
		defer cancel()
		_ = g.Serve(l)
	}(p.grpc)
}

func (p *plane) down() { p.grpc.Stop() }

func (p *plane) request(_ int64, r *discoveryv3.DeltaDiscoveryRequest) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := r.GetErrorDetail(); d != nil {
		p.nacks = append(p.nacks, d.GetMessage())
	}
	if r.GetTypeUrl() == TypeSecret {
		p.asked = append(p.asked, r.GetResourceNamesSubscribe()...)
		for _, name := range r.GetResourceNamesUnsubscribe() {
			p.asked = append(p.asked, "-"+name)
		}
	}
	if n := r.GetNode(); n != nil && r.GetResponseNonce() == "" {
		p.nodes = append(p.nodes, n.GetId())
	}
	return nil
}

func (p *plane) response(_ int64, _ *discoveryv3.DeltaDiscoveryRequest, r *discoveryv3.DeltaDiscoveryResponse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, res := range r.GetResources() {
		p.sent = append(p.sent, res.GetName())
	}
	for _, name := range r.GetRemovedResources() {
		p.sent = append(p.sent, "-"+name)
	}
}

// take returns what was sent since the last call.
func (p *plane) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := strings.Join(p.sent, " ")
	p.sent = nil
	return out
}

func (p *plane) set(ms ...types.Resource) {
	for _, m := range ms {
		if err := p.caches[pack(m).GetTypeUrl()].UpdateResource(name(m), m); err != nil {
			p.t.Fatal(err)
		}
	}
}

// follower is a running client and what it delivered.
type follower struct {
	t       *testing.T
	client  *Client
	snaps   chan *config.Snapshot
	last    []byte
	keyless []byte
}

func follow(t *testing.T, addr string, lastGood []byte) *follower {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{t: t, snaps: make(chan *config.Snapshot, 100)}
	f.client = New(Config{
		NodeID: "pod-1", Conn: conn, Retry: backoff.Policy{First: 20 * time.Millisecond, Max: 50 * time.Millisecond}, Now: time.Now, Log: testr.New(t),
		Deliver: func(s *config.Snapshot, b LastGood) { f.last, f.keyless = b.All, b.Keyless; f.snaps <- s },
	})
	if lastGood != nil {
		if err := f.client.Import(lastGood); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.client.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
		_ = conn.Close()
	})
	return f
}

func (f *follower) next() *config.Snapshot {
	f.t.Helper()
	select {
	case s := <-f.snaps:
		return s
	case <-time.After(10 * time.Second):
		f.t.Fatal("no snapshot was delivered")
		return nil
	}
}

// none fails when something is delivered within a while.
func (f *follower) none() {
	f.t.Helper()
	select {
	case s := <-f.snaps:
		f.t.Errorf("an unexpected snapshot %+v", s)
	case <-time.After(2 * maxSettle):
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func ports(s *config.Snapshot, cluster string) []uint16 {
	var out []uint16
	if c := s.Clusters[cluster]; c != nil {
		for _, e := range c.Endpoints {
			out = append(out, e.Port())
		}
	}
	return out
}

func TestFirstSnapshotIsWhole(t *testing.T) {
	p := newPlane(t)
	p.set(inbound(), outbound(), edsCluster("c"), assignment("c", 1), virtualHost("c", "k"))
	f := follow(t, p.addr, nil)
	s := f.next()
	if len(s.Listeners) != 2 || len(ports(s, "c")) != 1 || s.Hosts["k"] == nil {
		t.Errorf("snapshot %+v", s)
	}
	f.none()
	if len(p.nodes) == 0 || p.nodes[0] != "pod-1" {
		t.Errorf("nodes %v", p.nodes)
	}
}

func TestAServerWithNothingToSay(t *testing.T) {
	p := newPlane(t)
	f := follow(t, p.addr, nil)
	if s := f.next(); len(s.Listeners) != 0 {
		t.Errorf("listeners %v", s.Listeners)
	}
	p.set(inbound())
	if s := f.next(); len(s.Listeners) != 1 {
		t.Errorf("listeners %v", s.Listeners)
	}
}

// TestABurstIsOneSnapshot: a burst is what comes within milliseconds, which a busy machine may not manage. It may try again.
func TestABurstIsOneSnapshot(t *testing.T) {
	p := newPlane(t)
	p.set(edsCluster("c"))
	f := follow(t, p.addr, nil)
	f.next()
	const burst, attempts = 5, 20
	for try := range uint32(attempts) {
		p.take()
		last := (try + 1) * burst
		for port := last - burst + 1; port <= last; port++ {
			p.set(assignment("c", port))
		}
		snapshots := 0
		for done := false; !done && !t.Failed(); {
			got := ports(f.next(), "c")
			snapshots++
			done = len(got) == 1 && got[0] == uint16(last)
		}
		f.none()
		if got := len(strings.Fields(p.take())); got > burst || snapshots > got {
			t.Fatalf("%d changes were sent %d times, and made %d snapshots", burst, got, snapshots)
		}
		if snapshots == 1 {
			return
		}
	}
	t.Errorf("none of %d bursts was one snapshot", attempts)
}

func TestABadResourceIsRejectedAlone(t *testing.T) {
	p := newPlane(t)
	p.set(edsCluster("a"), edsCluster("b"), assignment("a", 1), assignment("b", 1))
	f := follow(t, p.addr, nil)
	f.next()
	if err := p.caches[TypeEndpoint].UpdateResources(map[string]types.Resource{"a": assignment("a", 2), "b": assignment("b", 99999)}, nil); err != nil {
		t.Fatal(err)
	}
	s := f.next()
	if a, b := ports(s, "a"), ports(s, "b"); a[0] != 2 || b[0] != 1 {
		t.Errorf("a %v, b %v; want the new a and the last good b", a, b)
	}
	eventually(t, "a NACK", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.nacks) == 1 })
	if !strings.HasPrefix(p.nacks[0], `ClusterLoadAssignment "b": endpoints[0]`) || strings.Contains(p.nacks[0], `"a"`) {
		t.Errorf("NACK %q", p.nacks[0])
	}
	if got := f.client.Status().Rejected["ClusterLoadAssignment"]; got != p.nacks[0] {
		t.Errorf("status %q", got)
	}
	p.set(assignment("b", 3))
	if got := ports(f.next(), "b"); got[0] != 3 {
		t.Errorf("after the repair b is %v", got)
	}
	if got := f.client.Status().Rejected; len(got) != 0 {
		t.Errorf("still rejected: %v", got)
	}
}

func TestReconnectSendsNothingTwice(t *testing.T) {
	p := newPlane(t)
	p.set(inbound(), edsCluster("a"), edsCluster("b"), assignment("a", 1), virtualHost("a", "k"))
	f := follow(t, p.addr, nil)
	for s := f.next(); s.Clusters["b"] == nil || s.Clusters["a"] == nil || len(s.Clusters["a"].Endpoints) == 0 || len(s.Listeners) == 0 || s.Hosts["k"] == nil; {
		s = f.next() // on a busy machine it comes in parts
	}
	p.down()
	eventually(t, "disconnected", func() bool { return !f.client.Status().Connected })
	p.take()
	p.up()
	eventually(t, "connected again", func() bool { return f.client.Status().Connected })
	f.none()
	if got := p.take(); got != "" {
		t.Errorf("sent again: %q", got)
	}
	p.down()
	eventually(t, "disconnected", func() bool { return !f.client.Status().Connected })
	p.set(assignment("a", 2))
	if err := p.caches[TypeCluster].DeleteResource("b"); err != nil {
		t.Fatal(err)
	}
	p.up()
	s := f.next()
	for s.Clusters["b"] != nil || ports(s, "a")[0] != 2 { // they may come one by one; next fails when nothing does
		s = f.next()
	}
	if len(s.Listeners) != 1 {
		t.Errorf("snapshot %+v; want the old listener, too", s)
	}
	eventually(t, "only the changes are sent", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		got := strings.Join(p.sent, " ")
		return got == "-b a" || got == "a -b"
	})
}

func TestStartsFromTheLastGoodConfiguration(t *testing.T) {
	p := newPlane(t)
	p.set(inbound(), edsCluster("a"), assignment("a", 1))
	first := follow(t, p.addr, nil)
	want := first.next()
	p.down()
	second := follow(t, p.addr, first.last)
	got := second.next()
	if len(got.Listeners) != len(want.Listeners) || ports(got, "a")[0] != 1 {
		t.Errorf("snapshot %+v, want %+v", got, want)
	}
	p.take()
	p.up()
	eventually(t, "connected", func() bool { return second.client.Status().Connected })
	second.none()
	if got := p.take(); got != "" {
		t.Errorf("sent again: %q", got)
	}
	if err := New(Config{}).Import([]byte("rubbish")); err == nil {
		t.Error("rubbish was imported")
	}
}
