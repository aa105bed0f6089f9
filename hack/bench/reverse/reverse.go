// Package reverse is Go's own reverse proxy, net/http/httputil.ReverseProxy, as a fair peer: it logs nothing, keeps as many
// connections to the server as clients can want, and reuses its buffers.
package reverse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// How many connections to the server are kept, how long, and the size of a copy's buffer.
const (
	kept   = 4096
	idle   = 90 * time.Second
	buffer = 32 << 10
)

// Proxy forwards everything that comes to addr to the server at to, until ctx ends.
func Proxy(ctx context.Context, addr, to string) error {
	quiet := log.New(io.Discard, "", 0)
	target := &url.URL{Scheme: "http", Host: to}
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		Transport:  &http.Transport{MaxIdleConns: kept, MaxIdleConnsPerHost: kept, IdleConnTimeout: idle, DisableCompression: true},
		BufferPool: &buffers{},
		ErrorLog:   quiet,
	}
	s := http.Server{Addr: addr, Handler: p, ErrorLog: quiet, ReadHeaderTimeout: idle}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() }) // ListenAndServe says the same
	defer stop()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("reverse proxy on %s: %w", addr, err)
	}
	return nil
}

// buffers lends the copies' buffers.
type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, buffer)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
