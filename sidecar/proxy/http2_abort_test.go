package proxy_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/axlemesh/axle/sidecar/proxy"
)

// stuck is a client that has read the heads of large responses only, so that much waits for it in the proxy. What it returns
// reads the rest.
func stuck(t *testing.T, c *http.Client, n int) (whole func()) {
	t.Helper()
	goOn := make(chan struct{})
	var begun, ended sync.WaitGroup
	for range n {
		begun.Add(1)
		ended.Go(func() {
			res, err := c.Get("http://shop.demo/large")
			begun.Done()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = res.Body.Close() }()
			<-goOn
			got, err := io.ReadAll(res.Body)
			if err != nil || !strings.HasPrefix(string(got), "0123456789abcdef0") || len(got) != 64<<16 {
				t.Errorf("%d bytes, %v; want %d", len(got), err, 64<<16)
			}
		})
	}
	begun.Wait()
	return func() { close(goOn); ended.Wait() }
}

// TestHTTP2SurvivesAborts freezes, drops and thaws connections with much under way, twice, and then moves them.
func TestHTTP2SurvivesAborts(t *testing.T) {
	to, conns := shop2(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	e := started(t, 1, s)
	c := web2(t, addr)
	whole := stuck(t, c, 6)
	time.Sleep(50 * time.Millisecond) // windows fill up
	for range 2 {
		w := begin(t, e, s)
		for range 2 {
			b := w.freeze(t, 2)
			w.prepare(t, b)
			w.candidate.Drop(b.ID)
			w.donor.Thaw(b.ID)
		}
		w.abort()
		if left := w.to.Conns(); len(left) > 0 {
			t.Errorf("the candidate has %d connections", len(left))
		}
	}
	if got, err := say2(c, "POST", "/echo", strings.NewReader("here")); err != nil || got != "here" {
		t.Errorf("after the aborts: %q, %v", got, err)
	}
	w := begin(t, e, s)
	w.commit(t, w.freeze(t, 2))
	w.freeze(t, 0)
	w.candidate.Done()
	whole()
	if got, err := say2(c, "POST", "/echo", strings.NewReader("there")); err != nil || got != "there" {
		t.Errorf("after the move: %q, %v", got, err)
	}
	await(t, w.to, func(s proxy.Stats) bool { return s.Waiting == 0 })
	for _, e := range []*proxy.Engine{e, w.to} {
		if bytes, exchanges := e.HeldHTTP2(); bytes+exchanges > 0 {
			t.Errorf("%d bytes are held, %d exchanges are open", bytes, exchanges)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("the server has seen %d connections, want 1", n)
	}
}

// TestHTTP2AsksAmidAMove has a client without a request ask between its loop's first batch and its own.
func TestHTTP2AsksAmidAMove(t *testing.T) {
	to, conns := shop2(t)
	addr := freePort(t)
	s := http2Snapshot(addr, to)
	e := started(t, 1, s)
	c, late := web2(t, addr), web2(t, addr)
	whole := stuck(t, c, 1)
	w := begin(t, e, s)
	w.commit(t, w.freeze(t, 2))
	w.donor.ResumeAccept() // as if it had been accepted just before
	answers := make(chan string)
	go func() {
		got, err := say2(late, "POST", "/echo", strings.NewReader("late"))
		if err != nil {
			got = err.Error()
		}
		answers <- got
	}()
	await(t, e, func(s proxy.Stats) bool { return s.Downstream[1] == 1 })
	time.Sleep(20 * time.Millisecond)
	w.donor.PauseAccept()
	w.commit(t, w.freeze(t, 1))
	w.freeze(t, 0)
	w.candidate.Done()
	if got := <-answers; got != "late" {
		t.Errorf("answer %q", got)
	}
	whole()
	if n := conns.Load(); n != 1 {
		t.Errorf("the server has seen %d connections, want 1", n)
	}
}

// TestHTTP2MovesWhatHasNoEndpointYet moves requests that wait for a connection.
func TestHTTP2MovesWhatHasNoEndpointYet(t *testing.T) {
	to, _ := serveGRPC(t)
	addr := freePort(t)
	s := http2Snapshot(addr, full(t))
	s.Clusters["shop"].ConnectTimeout = time.Minute
	e := started(t, 1, s)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c := dialGRPC(t, addr, "shop.demo")
	errs := make(chan error)
	go func() { errs <- upload(ctx, c, 30, 10_000) }()
	go func() {
		_, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload(100)})
		errs <- err
	}()
	await(t, e, func(s proxy.Stats) bool { return s.Waiting == 2 })
	time.Sleep(20 * time.Millisecond)
	w := begin(t, e, http2Snapshot(addr, to))
	w.commit(t, w.freeze(t, 1))
	w.freeze(t, 0)
	w.candidate.Done()
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
