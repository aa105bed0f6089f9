package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/axlemesh/axle/sidecar/sockets"
)

// page is one HTTP endpoint of this process: a listening socket by key, and what answers on it.
type page struct {
	key, addr string
	server    *http.Server
}

// front is the set of HTTP endpoints. Only the serving generation has it open.
type front struct {
	set   *sockets.Set
	log   logr.Logger
	pages []page

	mu      sync.Mutex
	open    []net.Listener
	serving sync.WaitGroup
}

func newFront(set *sockets.Set, log logr.Logger) *front { return &front{set: set, log: log} }

func (f *front) add(key, addr string, h http.Handler) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	srv.SetKeepAlivesEnabled(false)
	f.pages = append(f.pages, page{key: key, addr: addr, server: srv})
}

// start accepts on every endpoint. One that cannot be bound is logged: traffic does not depend on it.
func (f *front) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.open) > 0 {
		return
	}
	for _, p := range f.pages {
		_, err := f.set.Listen(p.key, "tcp", p.addr)
		var l net.Listener
		if err == nil {
			l, err = f.set.Listener(p.key)
		}
		if err != nil {
			f.log.Error(err, "An endpoint is not available", "endpoint", p.key)
			continue
		}
		f.open = append(f.open, l)
		f.serving.Go(func() { // ends with l
			if err := p.server.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
				f.log.Error(err, "An endpoint has ended", "endpoint", p.key)
			}
		})
	}
}

// pause stops accepting; the sockets stay open, and requests that are being answered go on.
func (f *front) pause() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.open {
		_ = l.Close()
	}
	f.open = nil
}

// stop lets requests that are being answered finish, until ctx ends.
func (f *front) stop(ctx context.Context) {
	f.pause()
	for _, p := range f.pages {
		if err := p.server.Shutdown(ctx); err != nil {
			_ = p.server.Close()
		}
	}
	f.serving.Wait()
}
