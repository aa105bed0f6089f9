// Command grpc is the client of grpc-go's own interop tests (https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md)
// that goes on: it runs each case again and again, all on one connection, until its standard input ends, and says how often.
// The stock client does one case and ends. A case that fails ends the program, as it does the stock one.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// metricsPolicy is the balancer of package interop that keeps what the ORCA cases look at.
const metricsPolicy = `{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}`

func main() {
	target := flag.String("target", "", "host:port")
	ca := flag.String("ca", "", "file with the root of the server's certificate; empty means no TLS")
	name := flag.String("name", "", "name in the server's certificate")
	flag.Parse()
	if err := run(*target, *ca, *name); err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}

func run(target, ca, name string) error {
	creds := insecure.NewCredentials()
	if ca != "" {
		var err error
		if creds, err = credentials.NewClientTLSFromFile(ca, name); err != nil {
			return fmt.Errorf("trust %s: %w", ca, err)
		}
	}
	dial := func() (*grpc.ClientConn, error) {
		return grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(creds), grpc.WithDefaultServiceConfig(metricsPolicy))
	}
	conn, err := dial()
	if err != nil {
		return fmt.Errorf("dial %s: %w", target, err)
	}
	defer func() { _ = conn.Close() }()
	r := newReport(cases(conn))
	r.untilStopped(os.Stdin)
	interop.DoSoakTest(context.Background(), soak(5, func() (*grpc.ClientConn, func()) {
		another, err := dial()
		if err != nil {
			panic(err) // the target was good before
		}
		return another, func() { _ = another.Close() }
	}))
	r.done["channel_soak"] = &atomic.Int64{}
	r.done["channel_soak"].Add(1)
	r.print("in all")
	return nil
}

// cases are all that need no credentials of a cloud, but for channel_soak, which is there to connect again, and
// pick_first_unary: grpc-go's server does not give the name of its own that it asks for.
func cases(conn *grpc.ClientConn) map[string]func(context.Context) {
	c := testgrpc.NewTestServiceClient(conn)
	plain := func(do func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context) {
		return func(ctx context.Context) { do(ctx, c) }
	}
	return map[string]func(context.Context){
		"empty_unary":                 plain(interop.DoEmptyUnaryCall),
		"large_unary":                 plain(interop.DoLargeUnaryCall),
		"client_streaming":            plain(interop.DoClientStreaming),
		"server_streaming":            plain(interop.DoServerStreaming),
		"ping_pong":                   plain(interop.DoPingPong),
		"empty_stream":                plain(interop.DoEmptyStream),
		"timeout_on_sleeping_server":  plain(interop.DoTimeoutOnSleepingServer),
		"cancel_after_begin":          plain(interop.DoCancelAfterBegin),
		"cancel_after_first_response": plain(interop.DoCancelAfterFirstResponse),
		"status_code_and_message":     plain(interop.DoStatusCodeAndMessage),
		"special_status_message":      plain(interop.DoSpecialStatusMessage),
		"custom_metadata":             plain(interop.DoCustomMetadata),
		"unimplemented_method":        func(ctx context.Context) { interop.DoUnimplementedMethod(ctx, conn) },
		"unimplemented_service": func(ctx context.Context) {
			interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn))
		},
		"orca_per_rpc": func(ctx context.Context) { interop.DoORCAPerRPCTest(ctx, c) },
		"orca_oob":     func(ctx context.Context) { interop.DoORCAOOBTest(ctx, c) },
		"rpc_soak": func(ctx context.Context) {
			interop.DoSoakTest(ctx, soak(10, func() (*grpc.ClientConn, func()) { return conn, func() {} }))
		},
	}
}

// soak are the stock client's sizes, with time for a machine that does other things too.
func soak(iterations int, channel func() (*grpc.ClientConn, func())) interop.SoakTestConfig {
	return interop.SoakTestConfig{
		RequestSize: 271828, ResponseSize: 314159, PerIterationMaxAcceptableLatency: 20 * time.Second,
		OverallTimeout: time.Minute, NumWorkers: 1, Iterations: iterations, ChannelForTest: channel,
	}
}

// report counts how often each case was done.
type report struct {
	calls map[string]func(context.Context)
	done  map[string]*atomic.Int64
}

func newReport(calls map[string]func(context.Context)) *report {
	r := &report{calls: calls, done: map[string]*atomic.Int64{}}
	for kind := range calls {
		r.done[kind] = &atomic.Int64{}
	}
	return r
}

// untilStopped does every case, one after the other 5 ms apart, until in ends.
func (r *report) untilStopped(in io.Reader) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for kind, call := range r.calls {
		running.Go(func() {
			for ctx.Err() == nil {
				call(context.Background()) // a case that has begun goes to its end
				r.done[kind].Add(1)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	running.Go(func() {
		for ctx.Err() == nil {
			r.print("so far")
			time.Sleep(50 * time.Millisecond)
		}
	})
	_, _ = io.Copy(io.Discard, in) // nothing is expected
	stop()
	running.Wait()
}

func (r *report) print(word string) {
	var line strings.Builder
	fmt.Fprintf(&line, "%s: failed=0", word)
	for _, kind := range slices.Sorted(maps.Keys(r.done)) {
		fmt.Fprintf(&line, " %s=%d", kind, r.done[kind].Load())
	}
	fmt.Println(line.String())
}
