package proxy_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/axlemesh/axle/sidecar/proxy"
)

// gently is a gRPC server that is asked to end while it serves.
func gently(t *testing.T, o ...grpc.ServerOption) (netip.AddrPort, *grpc.Server) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(o...)
	pb.RegisterTestServiceServer(s, &tester{ended: make(chan error, 10)})
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	return ln.Addr().(*net.TCPAddr).AddrPort(), s
}

// crowd makes calls of several clients at once.
func crowd(t *testing.T, addr netip.AddrPort, clients, calls int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range clients {
		c := dialGRPC(t, addr, "shop.demo")
		for range 20 {
			wg.Go(func() {
				for range calls {
					if err := duplex(ctx, c, 5, 20_000); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

// TestHTTP2StreamsRunOut has an endpoint that allows few streams on a connection: more are opened, and requests wait.
func TestHTTP2StreamsRunOut(t *testing.T) {
	to, _ := gently(t, grpc.MaxConcurrentStreams(2))
	addr := freePort(t)
	e := started(t, 1, http2Snapshot(addr, to))
	crowd(t, addr, 3, 5)
	if s := e.Stats(); s.Dialled > 16 || s.Waiting > 0 {
		t.Errorf("%d connections were opened, %d requests wait", s.Dialled, s.Waiting)
	}
}

// TestHTTP2EndpointLeavesGently has one of two endpoints end with GOAWAY under load; no call fails.
func TestHTTP2EndpointLeavesGently(t *testing.T) {
	a, leaving := gently(t)
	b, _ := gently(t)
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	addr := freePort(t)
	e := started(t, 1, http2Snapshot(addr, a, b))
	time.AfterFunc(100*time.Millisecond, leaving.GracefulStop)
	crowd(t, addr, 2, 30)
	await(t, e, func(s proxy.Stats) bool { return s.Upstream <= 1 && s.Waiting == 0 })
}

// TestHTTP2EndpointThatSpeaksSomethingElse is an HTTP/1 server: its requests fail at once, for all kinds of clients.
func TestHTTP2EndpointThatSpeaksSomethingElse(t *testing.T) {
	to, _ := shop(t)
	addr := freePort(t)
	e := started(t, 1, http2Snapshot(addr, to))
	if got, err := ask2(web2(t, addr), "GET", "/echo", nil); err != nil || got.status != 503 {
		t.Errorf("%+v, %v; want status 503", got, err)
	}
	await(t, e, func(s proxy.Stats) bool { return s.Waiting == 0 && s.Upstream == 0 })
}

// TestAnHTTP2AttackEndsOneConnection has a client that resets what it has just asked for; another does not notice.
func TestAnHTTP2AttackEndsOneConnection(t *testing.T) {
	to, _ := shop2(t)
	addr := freePort(t)
	e := started(t, 1, http2Snapshot(addr, to))
	good := web2(t, addr)
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	s := newHTTP2Script()
	s.WriteString(http2.ClientPreface)
	_ = s.WriteSettings()
	for id := uint32(1); id < 10_000; id += 2 {
		s.headers(id, true, 0, ":method= GET", ":scheme= http", ":authority= shop.demo", ":path= /silent")
		_ = s.WriteRSTStream(id, http2.ErrCodeCancel)
	}
	go func() { _, _ = conn.Write(s.Bytes()) }()
	last := [8]byte{}
	for {
		var head [9]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			break
		}
		body := make([]byte, binary.BigEndian.Uint32(head[:])>>8)
		if _, err := io.ReadFull(conn, body); err != nil {
			break
		}
		if head[3] == byte(http2.FrameGoAway) {
			copy(last[:], body)
		}
	}
	if code := http2.ErrCode(binary.BigEndian.Uint32(last[4:])); code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("the connection ends with %s, want ENHANCE_YOUR_CALM", code)
	}
	if got, err := say2(good, "GET", "/echo", nil); err != nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
	await(t, e, func(s proxy.Stats) bool { return s.Waiting == 0 && s.Malformed == 1 })
}

// TestHTTP2ManyClientsMove has more clients than fit into one message of a handover's transport.
func TestHTTP2ManyClientsMove(t *testing.T) {
	const clients = 300
	to, conns := shop2(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	now := first(t, 1, s)
	var all []*http.Client
	for range clients {
		all = append(all, web2(t, addr))
	}
	ask := func() {
		var wg sync.WaitGroup
		for _, c := range all {
			wg.Go(func() {
				if got, err := say2(c, "POST", "/echo", strings.NewReader("here")); err != nil || got != "here" {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		wg.Wait()
	}
	ask()
	for range 2 {
		now = hop(t, now, 1, s)
		ask()
	}
	if s := now.Stats(); s.Accepted[1] != clients || conns.Load() != int64(s.Dialled) || s.Dialled > 16 {
		t.Errorf("%d connections accepted and %d dialled, the server has seen %d", s.Accepted[1], s.Dialled, conns.Load())
	}
	now.Stop()
}
