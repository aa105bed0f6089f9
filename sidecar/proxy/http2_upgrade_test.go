package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// offer is a request that offers HTTP/2, with SETTINGS_INITIAL_WINDOW_SIZE 70,000.
func offer(method, fields, body string) string {
	if body != "" {
		fields += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return method + " /echo HTTP/1.1\r\nHost: shop.demo\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAQAARFw\r\n" +
		"X-Id: 7f\r\n" + fields + "\r\n" + body
}

// behind101 is what a client sends behind the answer 101.
func behind101() []byte {
	s := newHTTP2Script()
	s.WriteString(http2.ClientPreface)
	_ = s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 70_000})
	s.headers(3, false, 0, ":method= POST", ":scheme= http", ":authority= shop.demo", ":path= /echo", "x-id= 8f")
	_ = s.WriteData(3, true, []byte("second"))
	return s.Bytes()
}

const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

// upgraded reads the answer 101 and two streams.
func upgraded(client net.Conn) ([]string, error) {
	got := make([]byte, len(switched))
	if _, err := io.ReadFull(client, got); err != nil || string(got) != switched {
		return nil, fmt.Errorf("%q, %w", got, err)
	}
	all, err := readHTTP2(client, 2, nil)
	var lines []string
	for id := uint32(1); id <= 3; id += 2 {
		if u := all[id]; u != nil {
			lines = append(lines, fmt.Sprint(id, " ", u.id, " ", u.body))
		}
	}
	return lines, err
}

// TestUpgradeAtEveryByte hops after every byte that a client sends which offers HTTP/2.
func TestUpgradeAtEveryByte(t *testing.T) {
	all := append([]byte(offer("POST", "", "first")), behind101()...)
	for cut := 0; cut <= len(all); cut++ {
		b := newBackend(t)
		addr := freePort(t)
		s := http2Snapshot(addr, b.ln.Addr().(*net.TCPAddr).AddrPort())
		from := started(t, 1, s)
		to := started2(t, s)
		client, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_ = client.SetDeadline(time.Now().Add(10 * time.Second))
		write(t, client, all[:cut])
		for !read(from, "downstream", uint64(cut)) {
			time.Sleep(50 * time.Microsecond)
		}
		give(t, from, to)
		write(t, client, all[cut:])
		up := &lazyConn{ln: b.ln}
		asked, err := greetHTTP2(up, 2)
		if err != nil {
			t.Fatalf("at byte %d: the endpoint: %v", cut, err)
		}
		write(t, up, answersTo(asked))
		got, err := upgraded(client)
		if diff := cmp.Diff([]string{"1 7f first", "3 8f second"}, got); diff != "" || err != nil {
			t.Fatalf("at byte %d: %v, (-want +got):\n%s", cut, err, diff)
		}
		_, _, _ = client.Close(), up.Close(), b.ln.Close()
		from.Stop()
		to.Stop()
	}
}

// TestAnOfferThatIsIgnored is passed on as HTTP/1.1, without what was for this connection only.
func TestAnOfferThatIsIgnored(t *testing.T) {
	o := newOrigin(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Proto, " ", r.Header["Upgrade"], r.Header["Http2-Settings"], r.Header["Connection"])
	})
	addr := freePort(t)
	started(t, 1, httpSnapshot(addr, o.addr))
	for name, request := range map[string]string{
		"its endpoint is not known to speak it": offer("GET", "", ""),
		"in chunks":                             offer("POST", "Transfer-Encoding: chunked\r\n", "") + "1\r\nx\r\n0\r\n\r\n",
		"with bad settings":                     strings.Replace(offer("GET", "", ""), "AAQAARFw", "AA!", 1),
		"without settings":                      strings.Replace(offer("GET", "", ""), "HTTP2-Settings: AAQAARFw\r\n", "", 1),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			write(t, conn, []byte(strings.Replace(request, "\r\nX-Id", "\r\nConnection: close\r\nX-Id", 1)))
			got, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(string(got), "HTTP/1.1 [] [] []") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// TestAnOfferIsTakenWhereEndpointsSpeakHTTP2 also on a listener of HTTP/1.1, when they are known to.
func TestAnOfferIsTakenWhereEndpointsSpeakHTTP2(t *testing.T) {
	for name, p := range map[string]config.Protocol{"HTTP/1.1": config.HTTP1, "HTTP/2": config.HTTP2, "any": config.Auto} {
		t.Run(name, func(t *testing.T) {
			to, _ := shop2(t)
			addr := freePort(t)
			s := http2Snapshot(addr, to)
			if s.Listeners[0].Protocol = p; p == config.Auto {
				s.Listeners[0].Cluster = "shop"
			}
			e := started(t, 1, s)
			if got, err := say2(web2(t, addr), "POST", "/echo", strings.NewReader("hello")); err != nil || got != "hello" {
				t.Fatalf("%q, %v", got, err)
			}
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			write(t, conn, []byte(offer("POST", "", "first")))
			write(t, conn, behind101())
			got, err := upgraded(conn)
			if diff := cmp.Diff([]string{"1  first", "3  second"}, got); diff != "" || err != nil {
				t.Errorf("%v, (-want +got):\n%s", err, diff)
			}
			if n := e.Stats().Requests[config.Outbound]; n != 3 {
				t.Errorf("%d requests are counted, want 3", n)
			}
			nothingHeld2(t, e, conn)
		})
	}
}

func nothingHeld2(t *testing.T, e *proxy.Engine, conn net.Conn) {
	t.Helper()
	_ = conn.Close()
	nothingHeld(t, e)
}

// TestHTTP1OnAnHTTP2Listener is refused as ever, in HTTP/2.
func TestHTTP1OnAnHTTP2Listener(t *testing.T) {
	to, _ := shop2(t)
	addr := freePort(t)
	started(t, 1, http2Snapshot(addr, to))
	for name, request := range map[string]string{
		"HTTP/1.1":           "GET / HTTP/1.1\r\nHost: shop.demo\r\n\r\n",
		"nothing at all":     "INVALID CONNECTION PREFACE\r\n\r\n",
		"an offer for TLS":   strings.Replace(offer("GET", "", ""), "h2c", "h2", 1),
		"unfit settings":     strings.Replace(offer("GET", "", ""), "AAQAARFw", "AAQAARE", 1),
		"a window too large": strings.Replace(offer("GET", "", ""), "AAQAARFw", "AASAAAAA", 1),
	} {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		write(t, conn, []byte(request))
		fr := http2.NewFramer(io.Discard, conn)
		fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		var f http2.Frame
		for err == nil {
			if f, err = fr.ReadFrame(); err == nil && f.Header().Type == http2.FrameGoAway {
				break
			}
		}
		if err != nil {
			t.Errorf("%s: %v, want GOAWAY", name, err)
		}
		_ = conn.Close()
	}
}

// TestProgramsThatOfferHTTP2 are others'.
func TestProgramsThatOfferHTTP2(t *testing.T) {
	to, _ := shop2(t)
	for name, tc := range map[string]struct {
		program string
		args    func(at netip.AddrPort) []string
		want    string
	}{
		"curl": {"curl", func(at netip.AddrPort) []string {
			return []string{"-sv", "--http2", "-m", "10", "-H", "Host: shop.demo", fmt.Sprint("http://", at, "/sum"), fmt.Sprint("http://", at, "/sum")}
		}, "HTTP/2 200"},
		"curl with a body": {"curl", func(at netip.AddrPort) []string {
			return []string{"-sv", "--http2", "-m", "10", "-H", "Host: shop.demo", "-d", "hello", fmt.Sprint("http://", at, "/echo")}
		}, "hello"},
		"nghttp": {"nghttp", func(at netip.AddrPort) []string {
			return []string{"-u", "-v", "-H", ":authority: shop.demo", "-H", "host: shop.demo", fmt.Sprint("http://", at, "/sum")}
		}, "HTTP Upgrade success"},
	} {
		t.Run(name, func(t *testing.T) {
			program, err := exec.LookPath(tc.program)
			if err != nil {
				t.Skip(err)
			}
			addr := freePort(t)
			s := http2Snapshot(addr, to)
			s.Hosts["*"] = &config.Host{Name: "*", Routes: s.Hosts["shop.demo"].Routes}
			e := started(t, 1, s)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			out, err := exec.CommandContext(ctx, program, tc.args(addr)...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), tc.want) || !strings.Contains(string(out), "101 Switching Protocols") {
				t.Errorf("%v, %s", err, out)
			}
			if s := e.Stats(); s.Answered[config.Outbound] == 0 || s.Malformed != 0 {
				t.Errorf("answered %v, malformed %d", s.Answered, s.Malformed)
			}
		})
	}
}

// TestAnOfferAmidAMove comes when the connections to endpoints have moved and its own has not, or when none has and none does.
func TestAnOfferAmidAMove(t *testing.T) {
	for name, moves := range map[string]bool{"it moves": true, "it stays": false} {
		t.Run(name, func(t *testing.T) {
			to, _ := shop2(t)
			addr := freePort(t)
			s := http2Snapshot(addr, to)
			e := started(t, 1, s)
			c := web2(t, addr)
			whole := stuck(t, c, 1)
			late, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = late.Close() }()
			_ = late.SetDeadline(time.Now().Add(10 * time.Second))
			until(t, "both clients are there", func() bool { return e.Stats().Downstream[config.Outbound] == 2 })
			w := begin(t, e, s)
			b := w.freeze(t, 2)
			if moves {
				w.commit(t, b)
			} else {
				w.donor.Thaw(b.ID)
			}
			write(t, late, []byte(offer("POST", "", "first")))
			write(t, late, behind101())
			time.Sleep(20 * time.Millisecond) // it is read, and waits
			if moves {
				w.commit(t, w.freeze(t, 1))
				w.freeze(t, 0)
				w.candidate.Done()
			} else {
				w.abort()
			}
			got, err := upgraded(late)
			if diff := cmp.Diff([]string{"1  first", "3  second"}, got); diff != "" || err != nil {
				t.Errorf("%v, (-want +got):\n%s", err, diff)
			}
			whole()
		})
	}
}
