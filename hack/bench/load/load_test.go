package load

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/hack/peers/wire"
)

func free(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func echoServer(t *testing.T, size int) string {
	t.Helper()
	addr := free(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Echo(ctx, addr, size) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for range 500 {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return addr
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the echo server does not listen")
	return ""
}

func TestRunMeasures(t *testing.T) {
	cases := map[string]Config{
		"closed loop": {Size: 1024, Connections: 4, Flight: 8},
		"open loop":   {Size: 64, Connections: 4, Flight: 1024, Rate: 500},
	}
	for name, cfg := range cases {
		t.Run(name, func(t *testing.T) {
			cfg.Addr, cfg.Now, cfg.PID = echoServer(t, cfg.Size), time.Now, os.Getpid()
			cfg.Warm, cfg.Window = 50*time.Millisecond, 300*time.Millisecond
			r, err := Run(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if r.Requests < 20 || r.CPU <= 0 || r.P50US <= 0 || r.P99US < r.P50US || r.Reads <= 0 {
				t.Errorf("result %+v", r)
			}
			if cfg.Rate > 0 && (r.RPS < cfg.Rate/2 || r.RPS > 2*cfg.Rate) {
				t.Errorf("%v requests/s, want about %v", r.RPS, cfg.Rate)
			}
		})
	}
}

// TestRunRefusesAWrongAnswer talks to servers that answer, but not what they should.
func TestRunRefusesAWrongAnswer(t *testing.T) {
	answer := func(change func(*wire.Frame)) func(wire.Frame) []byte {
		return func(f wire.Frame) []byte {
			r := wire.Frame{Kind: wire.Response, Command: wire.Answer, ID: f.ID, Content: f.Content}
			change(&r)
			return wire.Append(nil, r)
		}
	}
	cases := map[string]struct {
		answer func(wire.Frame) []byte
		want   string
	}{
		"another token":   {answer(func(r *wire.Frame) { r.Content[7]++ }), "token"},
		"another id":      {answer(func(r *wire.Frame) { r.ID += 1000 }), "id"},
		"an error status": {answer(func(r *wire.Frame) { r.Status = 2 }), "status 2"},
		"a short answer":  {answer(func(r *wire.Frame) { r.Content = r.Content[:10] }), "10 bytes"},
		"a changed tail":  {answer(func(r *wire.Frame) { r.Content[len(r.Content)-1] = '!' }), "last byte"},
		"the end":         {func(wire.Frame) []byte { return nil }, "closed a connection"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				if f, err := wire.NewReader(c).Next(); err == nil {
					if b := tc.answer(f); b != nil {
						_, _ = c.Write(b)
						_, _ = io.Copy(io.Discard, c)
					}
				}
			}()
			_, err = Run(Config{Addr: ln.Addr().String(), Size: 64, Connections: 1, Flight: 1, Window: 2 * time.Second, Now: time.Now})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one about %q", err, tc.want)
			}
		})
	}
}

func TestLoadStaysOnThisMachine(t *testing.T) {
	if _, err := Run(Config{Addr: "192.0.2.1:80", Size: 64, Connections: 1, Flight: 1, Now: time.Now}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("error %v, want a refusal", err)
	}
}
