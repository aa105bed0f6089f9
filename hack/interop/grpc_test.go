//go:build interop

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	unary = "/axle.interop.Ledger/Echo"
	slow  = "/axle.interop.Ledger/Slow"
	talk  = "/axle.interop.Ledger/Talk"
	fail  = "/axle.interop.Ledger/Fail"
)

// ledgerDesc describes a service without generated code.
var ledgerDesc = grpc.ServiceDesc{
	ServiceName: "axle.interop.Ledger",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Echo", Handler: handle(func(ctx context.Context, text *wrapperspb.BytesValue) (any, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			return text, grpc.SetTrailer(ctx, metadata.Pairs("seen", strings.Join(md.Get("mark"), ",")))
		})},
		{MethodName: "Slow", Handler: handle(func(ctx context.Context, d *durationpb.Duration) (any, error) {
			select {
			case <-time.After(d.AsDuration()):
				return d, nil
			case <-ctx.Done():
				return nil, status.FromContextError(ctx.Err()).Err()
			}
		})},
		{MethodName: "Fail", Handler: handle(func(_ context.Context, text *wrapperspb.StringValue) (any, error) {
			return nil, status.Error(codes.FailedPrecondition, text.Value)
		})},
	},
	Streams: []grpc.StreamDesc{{StreamName: "Talk", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		for {
			var text wrapperspb.StringValue
			if err := s.RecvMsg(&text); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(&text); err != nil {
				return err
			}
		}
	}}},
}

func handle[In any](f func(context.Context, *In) (any, error)) grpc.MethodHandler {
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err
		}
		return f(ctx, in)
	}
}

func grpcServer(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	s.RegisterService(&ledgerDesc, nil)
	go func() { _ = s.Serve(l) }() // ends with Stop
	t.Cleanup(s.Stop)
	return l.Addr().(*net.TCPAddr).Port
}

// grpcCalls are what a grpc-go client does all the time. Each has to succeed.
func grpcCalls(ctx context.Context, c *grpc.ClientConn, stream grpc.ClientStream) map[string]func() error {
	large := bytes.Repeat([]byte("large "), 50_000)
	text := 0
	echo := func(want []byte) error {
		var got wrapperspb.BytesValue
		var trailer metadata.MD
		ctx := metadata.AppendToOutgoingContext(ctx, "mark", "a b")
		if err := c.Invoke(ctx, unary, wrapperspb.Bytes(want), &got, grpc.Trailer(&trailer)); err != nil {
			return err
		}
		if !bytes.Equal(got.Value, want) || cmp.Diff([]string{"a b"}, trailer.Get("seen")) != "" {
			return fmt.Errorf("%d bytes came back, and the trailer %v", len(got.Value), trailer)
		}
		return nil
	}
	fails := func(ctx context.Context, method string, in any, code codes.Code) error {
		if err := c.Invoke(ctx, method, in, &wrapperspb.StringValue{}); status.Code(err) != code {
			return fmt.Errorf("got %w, want %s", err, code)
		}
		return nil
	}
	return map[string]func() error{
		"unary": func() error { return echo([]byte("text")) },
		"large": func() error { return echo(large) },
		"slow": func() error {
			return c.Invoke(ctx, slow, durationpb.New(300*time.Millisecond), &durationpb.Duration{})
		},
		"error": func() error { return fails(ctx, fail, wrapperspb.String("as told"), codes.FailedPrecondition) },
		"unknown": func() error {
			return fails(ctx, "/axle.interop.Ledger/None", wrapperspb.String(""), codes.Unimplemented)
		},
		"deadline": func() error {
			ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			return fails(ctx, slow, durationpb.New(20*time.Second), codes.DeadlineExceeded)
		},
		"stream": func() error {
			text++
			want, got := fmt.Sprintf("message %d", text), wrapperspb.StringValue{}
			if err := stream.SendMsg(wrapperspb.String(want)); err != nil {
				return err
			}
			if err := stream.RecvMsg(&got); err != nil || got.Value != want {
				return fmt.Errorf("got %q, %w; want %q", got.Value, err, want)
			}
			return nil
		},
	}
}

// TestGRPC: grpc-go, client and server, with one stream that never ends.
func TestGRPC(t *testing.T) {
	needs(t, "http2")
	m := newMesh(t, "http2", grpcServer(t), `service: ledger.demo, cluster: peer`)
	c, err := grpc.NewClient(fmt.Sprintf("passthrough:///127.0.0.1:%d", m.client.port), grpc.WithAuthority("ledger.demo"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	stream, err := c.NewStream(ctx, &ledgerDesc.Streams[0], talk)
	if err != nil {
		t.Fatal(err)
	}
	calls := grpcCalls(ctx, c, stream)
	done := map[string]*atomic.Int64{}
	var stopping atomic.Bool
	var running sync.WaitGroup
	stop := func() { stopping.Store(true); running.Wait() }
	defer stop()
	for kind, call := range calls {
		done[kind] = &atomic.Int64{}
		running.Go(func() {
			for !stopping.Load() {
				if err := call(); err != nil {
					t.Errorf("%s: %v", kind, err)
					return
				}
				done[kind].Add(1)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	goesOn := func() {
		for kind, n := range done {
			from := n.Load()
			eventually(t, kind+" goes on", func() bool { return n.Load() > from+10 || t.Failed() })
		}
	}
	goesOn()
	before := m.legs()
	for range 2 {
		m.peer.upgrade()
		m.client.upgrade()
		goesOn()
	}
	if diff := cmp.Diff(before, m.legs()); diff != "" {
		t.Errorf("connections (-before +after the upgrades):\n%s", diff)
	}
	stop()
	for kind, n := range done {
		t.Logf("grpc-go %s: %s %d", grpc.Version, kind, n.Load())
	}
	m.client.sound()
	m.peer.sound()
}
