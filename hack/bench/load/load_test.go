package load

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/axlemesh/axle/hack/bench/certs"
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

func echoServer(t *testing.T, p Protocol, size int, folder string) string {
	t.Helper()
	addr := free(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Echo(ctx, p, addr, size, folder) }()
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
		"closed loop":          {Protocol: Bolt, Size: 1024, Connections: 4, Flight: 8},
		"open loop":            {Protocol: Bolt, Size: 64, Connections: 4, Flight: 1024, Rate: 500},
		"closed loop, HTTP":    {Protocol: HTTP, Size: 1024, Connections: 8, Flight: 1},
		"open loop, HTTP":      {Protocol: HTTP, Size: 64, Connections: 4, Flight: 1, Rate: 500},
		"closed loop, Dubbo":   {Protocol: Dubbo, Size: 1024, Connections: 4, Flight: 8},
		"closed loop, HTTP/2":  {Protocol: HTTP2, Size: 1024, Connections: 4, Flight: 32},
		"closed loop, gRPC":    {Protocol: GRPC, Size: 1024, Connections: 4, Flight: 32},
		"open loop, gRPC":      {Protocol: GRPC, Size: 64, Connections: 4, Flight: 1024, Rate: 500},
		"closed loop, TLS":     {Protocol: TLS, Size: 1024, Connections: 8, Flight: 1},
		"open loop, TLS":       {Protocol: TLS, Size: 1024, Connections: 8, Flight: 1, Rate: 500},
		"one connection, HTTP": {Protocol: HTTP, Size: 64, Connections: 1, Flight: 1, Rate: 1000},
	}
	folder := t.TempDir()
	if err := certs.Write(folder, Host, time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range cases {
		t.Run(name, func(t *testing.T) {
			cfg.Certs = folder
			cfg.Addr, cfg.Now, cfg.PID = echoServer(t, cfg.Protocol, cfg.Size, folder), time.Now, os.Getpid()
			cfg.Warm, cfg.Window = 50*time.Millisecond, 300*time.Millisecond
			r, err := Run(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if r.Requests < 20 || r.CPU <= 0 || r.P50US <= 0 || r.P99US < r.P50US || r.MeanUS <= 0 || r.Reads <= 0 {
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
			_, err = Run(Config{Protocol: Bolt, Addr: ln.Addr().String(), Size: 64, Connections: 1, Flight: 1, Window: 2 * time.Second, Now: time.Now})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one about %q", err, tc.want)
			}
		})
	}
}

func TestLoadStaysOnThisMachine(t *testing.T) {
	if _, err := Run(Config{Protocol: Bolt, Addr: "192.0.2.1:80", Size: 64, Connections: 1, Flight: 1, Now: time.Now}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("error %v, want a refusal", err)
	}
}

func TestPagesRefuseWhatIsWrong(t *testing.T) {
	p := newPages(16)
	const body = "12345678ijklmnop"
	cases := map[string]struct {
		in, want string
	}{
		"right":             {"HTTP/1.1 200 OK\r\nX: y\r\ncontent-LENGTH:  16 \r\n\r\n" + body, ""},
		"an error status":   {"HTTP/1.1 503 Busy\r\nContent-Length: 16\r\n\r\n" + body, "503"},
		"a short answer":    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "2 bytes"},
		"no length":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "-1"},
		"a changed tail":    {"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n12345678ijklmnoX", "last byte"},
		"a length of words": {"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "-1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a, _, err := p.Answer([]byte(tc.in), nil)
			switch {
			case tc.want == "" && (err != nil || a.N != len(tc.in) || !a.Done):
				t.Errorf("%d bytes of %d, %v", a.N, len(tc.in), err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error %v, want one about %q", err, tc.want)
			}
			for i := range tc.in {
				if a, _, err := p.Answer([]byte(tc.in[:i]), nil); a.N != 0 && err == nil {
					t.Fatalf("%d bytes taken of %d", a.N, i)
				}
			}
		})
	}
}

func TestHoldKeepsConnectionsOpen(t *testing.T) {
	folder := t.TempDir()
	if err := certs.Write(folder, Host, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, p := range []Protocol{Bolt, Dubbo, HTTP, HTTP2, GRPC, TLS} {
		t.Run(string(p), func(t *testing.T) {
			h, err := Hold(p, echoServer(t, p, 64, folder), 64, 10, folder)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			if n := h.Alive(); n != 10 {
				t.Errorf("%d connections are alive, want 10", n)
			}
		})
	}
	if a, b := source(PerSource-1), source(PerSource); a != "127.0.0.2" || b != "127.0.0.3" {
		t.Errorf("sources %s and %s", a, b)
	}
}
