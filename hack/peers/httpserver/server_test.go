package httpserver

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
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

func content(seq uint64) []byte {
	return wire.AppendRequestContent(nil, wire.Identity{Client: 5, Conn: 2, Seq: seq}, []byte("payload"))
}

func request(path string, body []byte) []byte {
	return append(fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", path, len(body)), body...)
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
			s, c := start(t, Config{Name: "ledger-0", Version: "v2", Delay: delay, Payload: 100})
			in := bufio.NewReader(c)
			for i, path := range []string{"/a", "/b"} {
				_, _ = c.Write(request(path, content(uint64(i+1))))
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				r, err := wire.ParseReplyContent(body)
				if err != nil || r.Seq != uint64(i+1) || r.Client != 5 || r.Server != "ledger-0" {
					t.Errorf("answer %+v, %v", r, err)
				}
				if resp.StatusCode != 200 || resp.Header.Get(ServerField) != "ledger-0" || resp.Header.Get(VersionField) != "v2" {
					t.Errorf("status %d, fields %v", resp.StatusCode, resp.Header)
				}
			}
			eventually(t, s, Report{Name: "ledger-0", Version: "v2", Requests: 2, Accepted: 1, Active: 1, Paths: map[string]int64{"/a": 1, "/b": 1}})
		})
	}
}

func TestWhatGoesWrongIsCounted(t *testing.T) {
	bad := content(1)
	bad[len(bad)-1] ^= 1
	cases := map[string]struct {
		act  func(t *testing.T, c net.Conn)
		want Report
	}{
		"a request twice": {
			func(_ *testing.T, c net.Conn) {
				_, _ = c.Write(append(request("/", content(1)), request("/", content(1))...))
			},
			Report{Requests: 1, Duplicates: 1, Accepted: 1, Active: 1, Paths: map[string]int64{"/": 2}},
		},
		"a changed byte": {
			func(_ *testing.T, c net.Conn) { _, _ = c.Write(request("/", bad)) },
			Report{BadChecksums: 1, Accepted: 1, Active: 1, Paths: map[string]int64{"/": 1}},
		},
		"another protocol": {
			func(_ *testing.T, c net.Conn) { _, _ = c.Write([]byte("SSH-2.0\r\n\r\n")) },
			Report{Broken: 1, Accepted: 1},
		},
		"an end inside a request": {
			func(_ *testing.T, c net.Conn) {
				b := request("/", content(1))
				_, _ = c.Write(b[:len(b)-3])
				_ = c.Close()
			},
			Report{Resets: 1, Accepted: 1, Paths: map[string]int64{"/": 1}},
		},
		"a reset": {
			func(_ *testing.T, c net.Conn) {
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
			},
			Report{Resets: 1, Accepted: 1},
		},
		"a clean end is no reset": {
			func(_ *testing.T, c net.Conn) { _ = c.Close() },
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

func TestAClientThatLeavesBeforeItsAnswerIsAReset(t *testing.T) {
	s, c := start(t, Config{Delay: 30 * time.Second})
	_, _ = c.Write(request("/", content(1)))
	eventually(t, s, Report{Accepted: 1, Active: 1, Paths: map[string]int64{"/": 1}})
	_ = c.Close()
	eventually(t, s, Report{Resets: 1, Accepted: 1, Paths: map[string]int64{"/": 1}})
}

func TestAPlainRequestIsToldWhoAnswers(t *testing.T) {
	s, c := start(t, Config{Name: "ledger-0", Version: "v2"})
	_, _ = io.WriteString(c, "GET /who HTTP/1.1\r\nHost: ledger.demo\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got map[string]string
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"server": "ledger-0", "version": "v2", "method": "GET", "host": "ledger.demo", "path": "/who"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	eventually(t, s, Report{Name: "ledger-0", Version: "v2", Plain: 1, Accepted: 1, Active: 1, Paths: map[string]int64{"/who": 1}})
}

func TestPathsAreBounded(t *testing.T) {
	s := New(Config{})
	for i := range 2 * maxPaths {
		s.count(fmt.Sprint("/", i))
	}
	if n := len(s.Report().Paths); n != maxPaths+1 || s.Report().Paths[Elsewhere] != maxPaths {
		t.Errorf("%d paths, %d elsewhere", n, s.Report().Paths[Elsewhere])
	}
}
