package boltserver

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/hack/peers/wire"
)

func start(t *testing.T, cfg Config) (*Server, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(cfg)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return s, c
}

func request(id uint32, seq uint64) wire.Frame {
	return wire.Frame{
		Kind: wire.Request, Command: wire.Call, ID: id, Codec: wire.Hessian2,
		Content: wire.AppendRequestContent(nil, wire.Identity{Client: 5, Conn: 2, Seq: seq}, []byte("payload")),
	}
}

func send(t *testing.T, c net.Conn, frames ...wire.Frame) {
	t.Helper()
	var b []byte
	for _, f := range frames {
		b = wire.Append(b, f)
	}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, s *Server, want Report) {
	t.Helper()
	var diff string
	for range 300 {
		if diff = cmp.Diff(want, s.Report()); diff == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("report (-want +got):\n%s", diff)
}

func TestAnswersCarryTheIdentityOfTheirRequest(t *testing.T) {
	for name, delay := range map[string]time.Duration{"at once": 0, "after a while": 5 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			s, c := start(t, Config{Name: "ledger-0", Delay: delay, Payload: 100})
			oneway := request(8, 2)
			oneway.Kind = wire.Oneway
			beat := wire.Frame{Kind: wire.Request, Command: wire.Heartbeat, ID: 9, Codec: wire.Hessian2}
			send(t, c, request(7, 1), oneway, beat)
			in := wire.NewReader(c)
			answers := map[uint32]wire.Command{}
			for range 2 {
				f, err := in.Next()
				if err != nil {
					t.Fatal(err)
				}
				answers[f.ID] = f.Command
				if f.Command == wire.Heartbeat {
					continue
				}
				r, err := wire.ParseReplyContent(f.Content)
				if err != nil {
					t.Fatal(err)
				}
				if r.Seq != 1 || r.Client != 5 || r.Conn != 2 || r.Server != "ledger-0" || f.Status != 0 {
					t.Errorf("answer %+v with status %d", r, f.Status)
				}
			}
			if diff := cmp.Diff(map[uint32]wire.Command{7: wire.Answer, 9: wire.Heartbeat}, answers); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			eventually(t, s, Report{Name: "ledger-0", Requests: 1, Oneways: 1, Heartbeats: 1, Accepted: 1, Active: 1})
		})
	}
}

func TestWhatIsWrongIsCounted(t *testing.T) {
	bad := request(2, 2)
	bad.Content[30] ^= 1
	cases := map[string]struct {
		act  func(t *testing.T, c net.Conn)
		want Report
	}{
		"a message that comes twice": {
			func(t *testing.T, c net.Conn) { send(t, c, request(1, 1), request(2, 1)) },
			Report{Requests: 1, Duplicates: 1, Accepted: 1, Active: 1},
		},
		"a changed byte": {
			func(t *testing.T, c net.Conn) { send(t, c, request(1, 1), bad) },
			Report{Requests: 1, BadChecksums: 1, Accepted: 1, Active: 1},
		},
		"bytes that are not Bolt": {
			func(t *testing.T, c net.Conn) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
			Report{Broken: 1, Accepted: 1},
		},
		"an end inside a frame": {
			func(t *testing.T, c net.Conn) {
				_, _ = c.Write(wire.Append(nil, request(1, 1))[:30])
				_ = c.Close()
			},
			Report{Resets: 1, Accepted: 1},
		},
		"a reset": {
			func(t *testing.T, c net.Conn) {
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
			},
			Report{Resets: 1, Accepted: 1},
		},
		"a clean end is no reset": {
			func(t *testing.T, c net.Conn) { _ = c.Close() },
			Report{Accepted: 1},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s, c := start(t, Config{})
			tc.act(t, c)
			eventually(t, s, tc.want)
		})
	}
}
