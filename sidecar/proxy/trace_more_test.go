package proxy_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
)

// newOrigin2 is newOrigin for HTTP/2.
func newOrigin2(t *testing.T, answer func(n int64, w http.ResponseWriter, r *http.Request)) netip.AddrPort {
	t.Helper()
	var seen atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(seen.Add(1), w, r) }))
	s.Config.Protocols = onlyHTTP2()
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().(*net.TCPAddr).AddrPort()
}

// callWithStatus makes a call that is answered with a code, or not at all.
func callWithStatus(t *testing.T, c pb.TestServiceClient, code codes.Code) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	in := &pb.SimpleRequest{}
	if code != codes.OK {
		in.ResponseStatus = &pb.EchoStatus{Code: int32(code), Message: "as wished"}
	}
	_, _ = c.UnaryCall(ctx, in)
}
