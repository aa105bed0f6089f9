package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// tester is a gRPC server of every kind of call.
type tester struct {
	pb.UnimplementedTestServiceServer
	ended chan error // of calls that wait for their end
}

func (s *tester) UnaryCall(ctx context.Context, in *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	if st := in.GetResponseStatus(); st != nil {
		return nil, status.Error(codes.Code(st.GetCode()), st.GetMessage())
	}
	if in.GetFillUsername() { // waits for its end
		<-ctx.Done()
		s.ended <- ctx.Err()
		return nil, ctx.Err()
	}
	md, _ := metadata.FromIncomingContext(ctx)
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", strings.Join(md.Get("x-ask"), "+"), "x-bin", "\x00\xff"))
	return &pb.SimpleResponse{Payload: in.GetPayload()}, nil
}

func (s *tester) StreamingOutputCall(in *pb.StreamingOutputCallRequest, out pb.TestService_StreamingOutputCallServer) error {
	for _, p := range in.GetResponseParameters() {
		if err := out.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: make([]byte, p.GetSize())}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *tester) StreamingInputCall(in pb.TestService_StreamingInputCallServer) error {
	sum := 0
	for {
		m, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return in.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
		} else if err != nil {
			return err
		}
		sum += len(m.GetPayload().GetBody())
	}
}

func (s *tester) FullDuplexCall(both pb.TestService_FullDuplexCallServer) error {
	for {
		m, err := both.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := both.Send(&pb.StreamingOutputCallResponse{Payload: m.GetPayload()}); err != nil {
			return err
		}
	}
}

func serveGRPC(t *testing.T) (netip.AddrPort, *tester) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, impl := grpc.NewServer(grpc.MaxRecvMsgSize(64<<20)), &tester{ended: make(chan error, 10)}
	pb.RegisterTestServiceServer(s, impl)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	return ln.Addr().(*net.TCPAddr).AddrPort(), impl
}

func dialGRPC(t *testing.T, addr netip.AddrPort, authority string) pb.TestServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr.String(), grpc.WithAuthority(authority), grpc.WithDisableRetry(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return pb.NewTestServiceClient(conn)
}

func payload(n int) *pb.Payload { return &pb.Payload{Body: make([]byte, n)} }

func TestGRPCCalls(t *testing.T) {
	to, impl := serveGRPC(t)
	addr := freePort(t)
	e := started(t, 2, http2Snapshot(addr, to))
	c := dialGRPC(t, addr, "shop.demo")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cases := map[string]func() error{
		"unary, with metadata and trailers": func() error {
			var trailer metadata.MD
			out, err := c.UnaryCall(metadata.AppendToOutgoingContext(ctx, "x-ask", "one", "x-ask", "two"), &pb.SimpleRequest{Payload: payload(100)}, grpc.Trailer(&trailer))
			if got := fmt.Sprint(len(out.GetPayload().GetBody()), trailer.Get("x-trailer"), trailer.Get("x-bin")); got != "100 [one+two] [\x00\xff]" {
				return fmt.Errorf("got %s, %w", got, err)
			}
			return err
		},
		"a large message": func() error {
			out, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload(20 << 20)})
			if n := len(out.GetPayload().GetBody()); n != 20<<20 {
				return fmt.Errorf("%d bytes, %w", n, err)
			}
			return err
		},
		"an error status": func() error {
			_, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: 9, Message: "not now: \u00fc"}})
			return want(err, codes.FailedPrecondition, "not now: \u00fc")
		},
		"a call that the server does not have": func() error {
			_, err := c.CacheableUnaryCall(ctx, &pb.SimpleRequest{})
			return want(err, codes.Unimplemented, "")
		},
		"server streaming":  func() error { return download(ctx, c, 100, 30_000) },
		"client streaming":  func() error { return upload(ctx, c, 100, 30_000) },
		"both ways at once": func() error { return duplex(ctx, c, 200, 5_000) },
		"a deadline": func() error {
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			_, err := c.UnaryCall(short, &pb.SimpleRequest{FillUsername: true})
			if ended := <-impl.ended; ended == nil {
				return errors.New("the server's call has not ended")
			}
			return want(err, codes.DeadlineExceeded, "")
		},
		"a cancellation reaches the server": func() error {
			brief, cancel := context.WithCancel(ctx)
			time.AfterFunc(50*time.Millisecond, cancel)
			_, err := c.UnaryCall(brief, &pb.SimpleRequest{FillUsername: true})
			if ended := <-impl.ended; !errors.Is(ended, context.Canceled) {
				return fmt.Errorf("the server's call ends with %w", ended)
			}
			return want(err, codes.Canceled, "")
		},
		"no route": func() error {
			_, err := dialGRPC(t, addr, "other.demo").UnaryCall(ctx, &pb.SimpleRequest{})
			return want(err, codes.Unimplemented, "no route takes this call")
		},
	}
	for name, call := range cases {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	await(t, e, func(s proxy.Stats) bool { return s.Waiting == 0 })
	if s := e.Stats(); s.Malformed > 0 || s.Errors[config.Outbound] < 2 {
		t.Errorf("malformed %d, errors %v", s.Malformed, s.Errors)
	}
}

func want(err error, code codes.Code, message string) error {
	if s := status.Convert(err); s.Code() != code || !strings.Contains(s.Message(), message) {
		return fmt.Errorf("%w; want %s with %q", err, code, message)
	}
	return nil
}

func download(ctx context.Context, c pb.TestServiceClient, n, size int) error {
	in := &pb.StreamingOutputCallRequest{}
	for range n {
		in.ResponseParameters = append(in.ResponseParameters, &pb.ResponseParameters{Size: int32(size)})
	}
	stream, err := c.StreamingOutputCall(ctx, in)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) && i == n {
			return nil
		}
		if err != nil || len(m.GetPayload().GetBody()) != size {
			return fmt.Errorf("message %d of %d: %d bytes, %w", i, n, len(m.GetPayload().GetBody()), err)
		}
	}
}

func upload(ctx context.Context, c pb.TestServiceClient, n, size int) error {
	stream, err := c.StreamingInputCall(ctx)
	for i := 0; err == nil && i < n; i++ {
		err = stream.Send(&pb.StreamingInputCallRequest{Payload: payload(size)})
	}
	if err != nil {
		return err
	}
	out, err := stream.CloseAndRecv()
	if err == nil && out.GetAggregatedPayloadSize() != int32(n*size) {
		err = fmt.Errorf("%d bytes have arrived, want %d", out.GetAggregatedPayloadSize(), n*size)
	}
	return err
}

// duplex says something and waits for the echo, again and again.
func duplex(ctx context.Context, c pb.TestServiceClient, n, size int) error {
	stream, err := c.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	for i := range n {
		body := []byte(fmt.Sprintf("%0*d", 1+i*size/n, i))
		if err := stream.Send(&pb.StreamingOutputCallRequest{Payload: &pb.Payload{Body: body}}); err != nil {
			return err
		}
		m, err := stream.Recv()
		if err != nil || string(m.GetPayload().GetBody()) != string(body) {
			return fmt.Errorf("message %d: %d bytes of %d, %w", i, len(m.GetPayload().GetBody()), len(body), err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("behind the end: %w", err)
	}
	return nil
}

// TestGRPCAnswersOfOurOwn has statuses in gRPC's form, in trailers only.
func TestGRPCAnswersOfOurOwn(t *testing.T) {
	to, impl := serveGRPC(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	unary := []config.Match{{Name: config.MatchPath, Kind: config.MatchExact, Value: "/grpc.testing.TestService/UnaryCall"}}
	s.Hosts["slow.demo"] = &config.Host{Name: "slow.demo", Routes: []config.Route{{Name: "slow", Cluster: "shop", Matches: unary, Timeout: 50 * time.Millisecond}}}
	s.Hosts["no.demo"] = &config.Host{Name: "no.demo", Routes: []config.Route{{Name: "no", Status: 403, Matches: unary}}}
	s.Hosts["gone.demo"] = &config.Host{Name: "gone.demo", Routes: []config.Route{{Name: "gone", Cluster: "nobody", Matches: unary}}}
	s.Clusters["nobody"] = &config.Cluster{Name: "nobody", Connections: 1, Endpoints: []netip.AddrPort{nobody(t)}}
	started(t, 1, s)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	ask := func(authority string, code codes.Code) {
		t.Helper()
		_, err := dialGRPC(t, addr, authority).UnaryCall(ctx, &pb.SimpleRequest{FillUsername: true})
		if err := want(err, code, "axle: "); err != nil {
			t.Errorf("%s: %v", authority, err)
		}
	}
	cases := map[string]codes.Code{
		"no.demo": codes.PermissionDenied, "gone.demo": codes.Unavailable, "what.demo": codes.Unimplemented,
	}
	for authority, code := range cases {
		ask(authority, code)
	}
	for range 20 { // on a busy machine a call may time out before the server has it
		ask("slow.demo", codes.DeadlineExceeded)
		select {
		case ended := <-impl.ended:
			if !errors.Is(ended, context.Canceled) {
				t.Errorf("the server's call ends with %v", ended)
			}
			return
		case <-time.After(2 * time.Second):
		}
	}
	t.Error("no call of the server's ends")
}

// TestGRPCHops moves streams that are open all the time, and calls between the hops.
func TestGRPCHops(t *testing.T) {
	to, _ := serveGRPC(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	now := first(t, 2, s)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		c := dialGRPC(t, addr, "shop.demo")
		for name, call := range map[string]func() error{
			"both ways": func() error { return duplex(ctx, c, 40, 60_000) },
			"down":      func() error { return download(ctx, c, 30, 100_000) },
			"up":        func() error { return upload(ctx, c, 30, 100_000) },
			"unary": func() error {
				_, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload(200)})
				return err
			},
		} {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					if err := call(); err != nil {
						t.Errorf("%s, %d: %v", name, n, err)
						return
					}
				}
			})
		}
	}
	for i := range 10 {
		time.Sleep(40 * time.Millisecond)
		now = hop(t, now, 1+i%2, s)
	}
	close(stop)
	wg.Wait()
	allEnded(t, now.Stats(), 0)
	if s := now.Stats(); s.Malformed > 0 || s.Slow > 0 || s.Dialled > 8 {
		t.Errorf("malformed %d, slow %d, dialled %d", s.Malformed, s.Slow, s.Dialled)
	}
	now.Stop()
}
