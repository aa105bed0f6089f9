package proxy_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/overload"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// several routes four protocols from one listener that has no cluster.
func several(t *testing.T, addr netip.AddrPort) *config.Snapshot {
	t.Helper()
	s := snapshot(addr, serve(t, nil))
	s.Listeners[0].Protocol = config.Auto
	one, _ := shop(t)
	two, _ := shop2(t)
	for host, to := range map[string]netip.AddrPort{"one.demo": one, "two.demo": two, echoDubbo: dubboServer(t, "dubbo", nil)} {
		s.Hosts[host] = &config.Host{Name: host, Routes: []config.Route{{Name: "default", Cluster: host}}}
		s.Clusters[host] = &config.Cluster{Name: host, Connections: 1, ConnectTimeout: toConnect, Endpoints: []netip.AddrPort{to}}
	}
	return s
}

// talk is a request and what checks its answer.
type talk struct {
	request  []byte
	tells    int // first bytes that tell the protocol
	answered func(r io.Reader) error
}

// talks are a request for each protocol that several routes.
func talks() map[string]talk {
	script := newHTTP2Script()
	script.headers(1, true, 0, ":method= GET", ":scheme= http", ":authority= two.demo", ":path= /early")
	call := dubboCall(echoDubbo, "pay", []byte("hi"))
	return map[string]talk{
		"bolt": {frame(1, 7, echoService, []byte("hi")), 2, func(r io.Reader) error {
			m, err := readMessage(bufio.NewReader(r))
			if err == nil && (m.id != 7 || m.status != 0 || string(m.body) != "hi") {
				err = fmt.Errorf("answer %d has status %d and body %q", m.id, m.status, m.body)
			}
			return err
		}},
		"dubbo": {dubboFrame(flagRequest, 0, 7, call), 2, func(r io.Reader) error {
			m, err := readDubbo(bufio.NewReader(r))
			if err == nil && (m.id != 7 || m.status != 20 || !bytes.Equal(m.body, append([]byte("dubbo"), call...))) {
				err = fmt.Errorf("answer %d has status %d and body %q", m.id, m.status, m.body)
			}
			return err
		}},
		"http1": {[]byte("POST /echo HTTP/1.1\r\nHost: one.demo\r\nContent-Length: 2\r\n\r\nhi"), len("POST "), func(r io.Reader) error {
			res, err := http.ReadResponse(bufio.NewReader(r), nil)
			if err != nil {
				return err
			}
			defer func() { _ = res.Body.Close() }()
			if b, err := io.ReadAll(res.Body); err != nil || string(b) != "hi" {
				return fmt.Errorf("status %d, body %q, %w", res.StatusCode, b, err)
			}
			return nil
		}},
		"http2": {[]byte(http2Pieces(func(s *http2Script) { s.Write(script.Bytes()) })), len(http2.ClientPreface), func(r io.Reader) error {
			f := http2.NewFramer(io.Discard, r)
			f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
			for {
				next, err := f.ReadFrame()
				if err != nil {
					return err
				}
				if h, ok := next.(*http2.MetaHeadersFrame); ok && h.StreamID == 1 {
					if status := h.PseudoValue("status"); status != "403" {
						return errors.New("status " + status)
					}
					return nil
				}
			}
		}},
	}
}

// rest sends what is missing of a request and checks its answer.
func (k talk) rest(t *testing.T, conn net.Conn, sent int) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	write(t, conn, k.request[sent:])
	if err := k.answered(conn); err != nil {
		t.Errorf("behind %d bytes: %v", sent, err)
	}
}

// spoken is what the clients of e speak, in the order in which they came.
func spoken(e *proxy.Engine) (all []string) {
	for _, c := range e.Conns() {
		if c.Kind == "downstream" {
			all = append(all, c.Protocol)
		}
	}
	return all
}

// TestWhatIsToldIsRouted: on a listener without a cluster every protocol that first bytes tell follows the routes.
func TestWhatIsToldIsRouted(t *testing.T) {
	addr := freePort(t)
	e := started(t, 1, several(t, addr))
	for name, k := range talks() {
		for _, first := range []int{0, 1, len(k.request)} {
			conn := dialTCP(t, addr)
			write(t, conn, k.request[:first])
			k.rest(t, conn, first)
			if got := spoken(e); len(got) != 1 || got[0] != name {
				t.Errorf("the client speaks %v, want %s", got, name)
			}
			_ = conn.Close()
			until(t, "it has gone", func() bool { return len(spoken(e)) == 0 })
		}
	}
}

// TestFirstBytesThatTellNothing are what somebody has to hear of.
func TestFirstBytesThatTellNothing(t *testing.T) {
	for name, tc := range map[string]struct{ says, want string }{
		"another protocol":   {"*1\r\n$4\r\nPING\r\n", "none of Bolt, Dubbo, HTTP/1 and HTTP/2"},
		"almost one of them": {"POP", "none of Bolt, Dubbo, HTTP/1 and HTTP/2"},
		"TLS":                {"\x16\x03\x01\x02\x00", "it begins a TLS handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			lines := make(chan string, 100)
			e := complaining(t, 0, several(t, addr), func(line string) { lines <- line })
			if got := rawHTTP(t, addr, tc.says); got != "" {
				t.Errorf("the answer is %q", got)
			}
			until(t, "it is closed", func() bool { return e.Stats().Downstream[config.Outbound] == 0 })
			if n := e.Stats().Malformed; n != 1 {
				t.Errorf("%d are counted as malformed, want 1", n)
			}
			for {
				select {
				case line := <-lines:
					if strings.Contains(line, `"on"="out"`) && strings.Contains(line, tc.want) {
						return
					}
				case <-time.After(20 * time.Second):
					t.Fatal("the log does not say why")
				}
			}
		})
	}
}

// TestAnOverloadLeavesUndecidedClients alone: they may be pools of Bolt, which take a connection that ends for an endpoint that has failed.
func TestAnOverloadLeavesUndecidedClients(t *testing.T) {
	addr := freePort(t)
	e, skip := skipped(t, 1, several(t, addr))
	conn := dialTCP(t, addr)
	until(t, "it is there", func() bool { return len(spoken(e)) == 1 })
	skip(time.Hour)
	e.Relieve(overload.Actions{CloseIdle: true, Least: config.PriorityLow})
	talks()["bolt"].rest(t, conn, 0)
}

// TestAListenerGetsACluster in an upgrade: who was undecided goes there with what it says, also with what is no protocol of ours.
func TestAListenerGetsACluster(t *testing.T) {
	addr := freePort(t)
	s := several(t, addr)
	now := first(t, 1, s)
	bolt, other := dialTCP(t, addr), dialTCP(t, addr)
	until(t, "both are there", func() bool { return len(spoken(now.Engine)) == 2 })
	next := tcpSnapshot(addr, echoTCP(t))
	next.Listeners[0].Name, next.Listeners[0].Protocol = "out", config.Auto
	now = hop(t, now, 1, next)
	t.Cleanup(now.Stop)
	const says = "*1\r\n$4\r\nPING\r\n"
	write(t, other, []byte(says))
	_ = other.SetDeadline(time.Now().Add(20 * time.Second))
	if got := make([]byte, len(says)); !reads(other, got) || string(got) != says {
		t.Errorf("the cluster's answer is %q", got)
	}
	write(t, bolt, frame(1, 7, "nobody", nil)) // there is no route for it
	until(t, "it is asked", func() bool { return now.Stats().Requests[config.Outbound] > 0 })
	if got := fmt.Sprint(spoken(now.Engine)); got != "[bolt tcp]" {
		t.Errorf("they speak %s", got)
	}
}

func reads(r io.Reader, b []byte) bool {
	_, err := io.ReadFull(r, b)
	return err == nil
}

// echoTCP says back what it is told.
func echoTCP(t *testing.T) netip.AddrPort {
	t.Helper()
	ln := listenTCP(t)
	go func() {
		for conn, err := ln.Accept(); err == nil; conn, err = ln.Accept() {
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}
