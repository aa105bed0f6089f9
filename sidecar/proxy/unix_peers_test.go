package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/axlemesh/axle/sidecar/address"
	"github.com/axlemesh/axle/sidecar/config"
)

// counted counts what a listener accepts.
type counted struct {
	net.Listener
	n atomic.Int64
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// listenUnix listens on a path, or on an abstract name.
func listenUnix(t *testing.T, abstract bool) (*counted, netip.AddrPort) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "app.sock")
	if abstract {
		name = "@axle-test" + strings.ReplaceAll(name, "/", ":")
		name = name[:min(len(name), 100)]
	}
	ln, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	at, err := address.Unix(name)
	if err != nil {
		t.Fatal(err)
	}
	return &counted{Listener: ln}, at
}

func accepting(ln net.Listener, handle func(net.Conn)) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go handle(conn)
	}
}

// talker is a server on any listener, and a client that calls it through a sidecar.
type talker struct {
	serve    func(ln net.Listener)
	snapshot func(addr netip.AddrPort, to ...netip.AddrPort) *config.Snapshot
	dial     func(t *testing.T, addr netip.AddrPort) (call func(n int) error)
}

func echoHTTP(p *http.Protocols) func(net.Listener) {
	s := &http.Server{Protocols: p, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})}
	return func(ln net.Listener) { _ = s.Serve(ln) }
}

func text(n int) string { return fmt.Sprintf("%d-%0*d", n, 1+(n*7919)%60_000, n) }

// settled waits for the answers to all that a client has asked.
func settled(err error, waiting func() int, failed func() error) error {
	for deadline := time.Now().Add(20 * time.Second); err == nil && waiting() > 0; time.Sleep(100 * time.Microsecond) {
		if err = failed(); err == nil && time.Now().After(deadline) {
			err = fmt.Errorf("%d requests without an answer", waiting())
		}
	}
	return err
}

// talkers are one of every protocol.
func talkers() map[string]talker {
	return map[string]talker{
		"bolt": {
			serve: func(ln net.Listener) { serveOn(ln, netip.AddrPort{}, nil) },
			snapshot: func(addr netip.AddrPort, to ...netip.AddrPort) *config.Snapshot {
				s := snapshot(addr)
				s.Clusters["echo"].Endpoints = to
				return s
			},
			dial: func(t *testing.T, addr netip.AddrPort) func(int) error {
				c := dial(t, addr)
				return func(n int) error {
					return settled(c.ask([]byte(text(n))), c.waiting, func() error { c.mu.Lock(); defer c.mu.Unlock(); return c.err })
				}
			},
		},
		"dubbo": {
			serve: func(ln net.Listener) { accepting(ln, func(conn net.Conn) { serveDubbo(conn, "one", nil) }) },
			snapshot: func(addr netip.AddrPort, to ...netip.AddrPort) *config.Snapshot {
				s := dubboSnapshot(addr, netip.AddrPort{})
				s.Clusters["echo"].Endpoints = to
				return s
			},
			dial: func(t *testing.T, addr netip.AddrPort) func(int) error {
				c := dialDubbo(t, addr, "one")
				return func(n int) error {
					return settled(c.ask([]byte(text(n))), c.waiting, func() error { c.mu.Lock(); defer c.mu.Unlock(); return c.err })
				}
			},
		},
		"http1": {
			serve: echoHTTP(nil), snapshot: httpSnapshot,
			dial: func(t *testing.T, addr netip.AddrPort) func(int) error {
				conn, err := net.Dial("tcp", addr.String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				r := bufio.NewReader(conn)
				return func(n int) error { return post(conn, r, text(n), n%2 == 0) }
			},
		},
		"http2": {
			serve: echoHTTP(onlyHTTP2()), snapshot: http2Snapshot,
			dial: func(t *testing.T, addr netip.AddrPort) func(int) error {
				c := web2(t, addr)
				return func(n int) error {
					got, err := ask2(c, "POST", "/", strings.NewReader(text(n)))
					if err == nil && (got.status != 200 || got.body != text(n)) {
						err = fmt.Errorf("status %d, %d bytes of %d", got.status, len(got.body), len(text(n)))
					}
					return err
				}
			},
		},
		"tcp": {
			serve: func(ln net.Listener) {
				accepting(ln, func(conn net.Conn) { _, _ = io.Copy(conn, conn); _ = conn.Close() })
			},
			snapshot: func(addr netip.AddrPort, to ...netip.AddrPort) *config.Snapshot {
				s := tcpSnapshot(addr, netip.AddrPort{})
				s.Clusters["app"].Endpoints = to
				return s
			},
			dial: func(t *testing.T, addr netip.AddrPort) func(int) error {
				conn, err := net.Dial("tcp", addr.String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
				return func(n int) error {
					want, wrote := []byte(text(n)), make(chan error, 1)
					go func() { _, err := conn.Write(want); wrote <- err }()
					got := make([]byte, len(want))
					if _, err := io.ReadFull(conn, got); err != nil {
						return err
					}
					if !bytes.Equal(got, want) {
						return fmt.Errorf("%d other bytes came back", len(got))
					}
					return <-wrote
				}
			},
		},
	}
}
