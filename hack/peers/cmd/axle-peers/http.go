package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/axlemesh/axle/hack/peers/httpclient"
	"github.com/axlemesh/axle/hack/peers/httpserver"
	"github.com/axlemesh/axle/hack/peers/meshstate"
)

func httpServer(ctx context.Context, args []string, log io.Writer) error {
	var cfg httpserver.Config
	fs := flag.NewFlagSet("http-server", flag.ContinueOnError)
	fs.StringVar(&cfg.Name, "name", hostname(), "name in every answer")
	fs.StringVar(&cfg.Version, "version", os.Getenv(versionEnv), "version in every answer")
	fs.DurationVar(&cfg.Delay, "delay", 0, "how long a request is worked on")
	fs.IntVar(&cfg.Payload, "payload", 512, "bytes in an answer")
	listen := fs.String("listen", ":8081", "address for requests")
	web := fs.String("http", ":8080", "report address")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", *listen, err)
	}
	s := httpserver.New(cfg)
	mux := http.NewServeMux()
	mux.Handle("/", s.Handler())
	mux.Handle("GET /mesh", meshstate.Handler(meshstate.DefaultURL, meshstate.DefaultMetricsURL))
	fmt.Fprintf(log, "server %s: HTTP on %s, reports on %s\n", cfg.Name, ln.Addr(), *web)
	return together(ctx, *web, mux, func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, s.Close)
		defer stop()
		return s.Serve(ln)
	})
}

func httpClient(ctx context.Context, now func() time.Time, args []string, log io.Writer) error {
	cfg := httpclient.Config{Now: now}
	fs := flag.NewFlagSet("http-client", flag.ContinueOnError)
	fs.StringVar(&cfg.Name, "name", hostname(), "name in every request")
	fs.StringVar(&cfg.Direct, "direct", "", "address to call without a sidecar")
	fs.StringVar(&cfg.Host, "host", "", "what the requests say they are for, which a sidecar routes by; the direct address when empty")
	fs.StringVar(&cfg.Path, "path", "", "path of the requests; /ledger when empty")
	fs.Func("field", "a further header field of every request, \"Name: value\"; may be given more than once", func(v string) error {
		if name, _, ok := strings.Cut(v, ":"); !ok || strings.TrimSpace(name) == "" {
			return fmt.Errorf("field %q: it is \"Name: value\"", v)
		}
		cfg.Fields = append(cfg.Fields, v)
		return nil
	})
	fs.StringVar(&cfg.Mesh, "mesh", "127.0.0.1:12280", "the sidecar's address for calls; empty to ignore it")
	fs.BoolVar(&cfg.Absolute, "absolute", false, "say the whole URI to the sidecar, as to a forward proxy")
	fs.StringVar(&cfg.MeshState, "mesh-state", meshstate.DefaultURL, "URL of the sidecar's state")
	fs.IntVar(&cfg.Connections, "connections", 34, "connections held open")
	fs.Float64Var(&cfg.Rate, "rate", 300, "requests per second in all")
	fs.IntVar(&cfg.Payload, "payload", 512, "bytes in a request")
	fs.IntVar(&cfg.ChunkEvery, "chunk-every", 50, "the body of every n-th request, and so of its answer, is chunked; 0 for none")
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
	c, err := httpclient.New(cfg)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", c.Handler())
	mux.Handle("GET /mesh", meshstate.Handler(cfg.MeshState, meshstate.DefaultMetricsURL))
	fmt.Fprintf(log, "client %s: %d HTTP connections to %s, reports on %s\n", cfg.Name, cfg.Connections, cfg.Direct, *web)
	return together(ctx, *web, mux, c.Run)
}
