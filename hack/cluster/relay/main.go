// Command relay is the bridge between a local cluster's network namespace and
// the host: an image registry that both sides reach at the same address, and a
// TCP forwarder from the host's loopback into the namespace.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/axlemesh/axle/hack/cluster/netns"
)

type config struct {
	namespace string // the cluster's network namespace
	registry  string // where the registry listens, on both sides
	blobs     string // the folder of the registry's layers
	listen    string // the forwarder's address on the host
	target    string // the forwarder's target inside the namespace
}

func main() {
	var c config
	flag.StringVar(&c.namespace, "namespace", "", "path of the cluster's network namespace")
	flag.StringVar(&c.registry, "registry", "", "address of the registry, on the host and inside")
	flag.StringVar(&c.blobs, "blobs", "", "folder of the registry's layers")
	flag.StringVar(&c.listen, "listen", "", "address of the forwarder on the host")
	flag.StringVar(&c.target, "target", "", "address inside the namespace that the forwarder reaches")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends or a listener fails.
func run(ctx context.Context, c config) error {
	outside, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", c.registry)
	if err != nil {
		return fmt.Errorf("open the registry on the host: %w", err)
	}
	inside, err := netns.Listen(ctx, c.namespace, inner(c.registry))
	if err != nil {
		return fmt.Errorf("open the registry inside: %w", err)
	}
	forward, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", c.listen)
	if err != nil {
		return fmt.Errorf("open the forwarder: %w", err)
	}
	server := &http.Server{
		Handler: registry.New(
			registry.WithBlobHandler(registry.NewDiskBlobHandler(c.blobs)),
			registry.WithReferrersSupport(true),
			registry.Logger(log.New(os.Stderr, "registry ", log.LstdFlags|log.Lmicroseconds))),
		ReadHeaderTimeout: 10 * time.Second,
	}
	failed := make(chan error, 3)
	go func() { failed <- server.Serve(outside) }()
	go func() { failed <- server.Serve(inside) }()
	go func() { failed <- accept(ctx, forward, c) }()
	log.Printf("registry on %s, forwarding %s to %s", c.registry, c.listen, c.target)
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	return errors.Join(err, server.Close(), forward.Close())
}

// inner widens a loopback address to every address of the namespace, so that
// pods reach the registry too, at the node's address.
func inner(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return net.JoinHostPort("0.0.0.0", port)
}

// accept carries each connection of l into the namespace.
func accept(ctx context.Context, l net.Listener, c config) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept on the forwarder: %w", err)
		}
		go func() { // ends when both sides have closed
			defer conn.Close()
			peer, err := netns.Dial(ctx, c.namespace, "tcp4", c.target)
			if err != nil {
				log.Printf("forward %s: %v", conn.RemoteAddr(), err)
				return
			}
			defer peer.Close()
			pipe(conn, peer)
		}()
	}
}

// pipe copies both directions and passes on half-closes.
func pipe(a, b net.Conn) {
	var wait sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		wait.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // a reset is an ordinary end of a connection
			if half, ok := pair[0].(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
		})
	}
	wait.Wait()
}
