// Command axle-peers runs the strict servers and clients of the demo and the tests, with an HTTP endpoint for reports. They
// speak Bolt, or HTTP/1.1.
//
//	axle-peers server -listen :12200 -http :8080
//	axle-peers client -direct ledger:12200 -connections 34 -rate 400 -http :8080
//	axle-peers http-server -listen :8081 -http :8080
//	axle-peers http-client -direct ledger.demo:8081 -connections 34 -rate 400 -http :8080
//
// A server says the version in AXLE_PEER_VERSION in every answer, and a client counts its answers by it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/axlemesh/axle/hack/peers/boltclient"
	"github.com/axlemesh/axle/hack/peers/boltserver"
	"github.com/axlemesh/axle/hack/peers/meshstate"
)

// versionEnv is the environment variable by which a server is told the version that it says it is.
const versionEnv = "AXLE_PEER_VERSION"

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "axle-peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, log io.Writer) error {
	if len(args) == 0 {
		return errors.New("usage: axle-peers server|client|http-server|http-client [flags]")
	}
	switch args[0] {
	case "server":
		return server(ctx, args[1:], log)
	case "client":
		return client(ctx, args[1:], log)
	case "http-server":
		return httpServer(ctx, args[1:], log)
	case "http-client":
		return httpClient(ctx, time.Now, args[1:], log)
	}
	return fmt.Errorf("unknown command %q: it is server, client, http-server or http-client", args[0])
}

func server(ctx context.Context, args []string, log io.Writer) error {
	var cfg boltserver.Config
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.StringVar(&cfg.Name, "name", hostname(), "name in every answer")
	fs.StringVar(&cfg.Version, "version", os.Getenv(versionEnv), "version in every answer")
	fs.DurationVar(&cfg.Delay, "delay", 0, "how long a request is worked on")
	fs.IntVar(&cfg.Payload, "payload", 512, "bytes in an answer")
	listen := fs.String("listen", ":12200", "Bolt address")
	web := fs.String("http", ":8080", "report address")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", *listen, err)
	}
	s := boltserver.New(cfg)
	mux := http.NewServeMux()
	mux.Handle("/", s.Handler())
	mux.Handle("GET /mesh", meshstate.Handler(meshstate.DefaultURL, meshstate.DefaultMetricsURL))
	fmt.Fprintf(log, "server %s: Bolt on %s, reports on %s\n", cfg.Name, ln.Addr(), *web)
	return together(ctx, *web, mux, func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, s.Close)
		defer stop()
		return s.Serve(ln)
	})
}

func client(ctx context.Context, args []string, log io.Writer) error {
	cfg := boltclient.Config{Now: time.Now}
	fs := flag.NewFlagSet("client", flag.ContinueOnError)
	fs.StringVar(&cfg.Name, "name", hostname(), "name in every request")
	fs.StringVar(&cfg.Direct, "direct", "", "address to call without a sidecar")
	fs.StringVar(&cfg.Mesh, "mesh", "127.0.0.1:12220", "the sidecar's address for calls; empty to ignore it")
	fs.StringVar(&cfg.MeshState, "mesh-state", meshstate.DefaultURL, "URL of the sidecar's state")
	fs.StringVar(&cfg.Service, "service", boltclient.DefaultService, "routing key")
	fs.IntVar(&cfg.Connections, "connections", 34, "connections held open")
	fs.IntVar(&cfg.InFlight, "in-flight", 4, "requests that one connection may wait for")
	fs.Float64Var(&cfg.Rate, "rate", 300, "requests per second in all")
	fs.IntVar(&cfg.Payload, "payload", 512, "bytes in a request")
	fs.IntVar(&cfg.OnewayEvery, "oneway-every", 50, "every n-th message is a oneway; 0 for none")
	fs.DurationVar(&cfg.Heartbeat, "heartbeat", 5*time.Second, "time between heartbeats of a connection; 0 for none")
	of := fs.Int("of", 1, "how many clients share the connections and the rate")
	index := fs.Int("index", 0, "which of them this one is, from 0")
	fs.DurationVar(&cfg.Timeout, "timeout", 3*time.Second, "time that a request may take")
	web := fs.String("http", ":8080", "report address")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if cfg.Connections, cfg.Rate, err = share(cfg.Connections, cfg.Rate, *index, *of); err != nil {
		return err
	}
	c, err := boltclient.New(cfg)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", c.Handler())
	mux.Handle("GET /mesh", meshstate.Handler(cfg.MeshState, meshstate.DefaultMetricsURL))
	fmt.Fprintf(log, "client %s: %d connections to %s, reports on %s\n", cfg.Name, cfg.Connections, cfg.Direct, *web)
	return together(ctx, *web, mux, c.Run)
}

// share is a client's part of the connections and of the rate.
func share(connections int, rate float64, index, of int) (int, float64, error) {
	if of < 1 || index < 0 || index >= of {
		return 0, 0, fmt.Errorf("client %d of %d: count from 0", index, of)
	}
	mine := connections / of
	if index < connections%of {
		mine++
	}
	return mine, rate * float64(mine) / float64(connections), nil
}

// together runs work beside a web server until ctx ends or one of them fails.
func together(ctx context.Context, addr string, h http.Handler, work func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	web := http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() {
		err := web.ListenAndServe()
		cancel()
		served <- err
	}()
	err := work(ctx)
	_ = web.Close() // its error says the same as ListenAndServe's
	if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve reports on %s: %w", addr, serr))
	}
	return err
}

func hostname() string {
	h, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return h
}
