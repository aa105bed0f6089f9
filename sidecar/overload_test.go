package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/hack/testport"
)

// protected is a sidecar in front of a shop, whose requests have high priority, and of a store for bulk, which have low.
type protected struct {
	p           *process
	port, admin int
	stuck       atomic.Bool // the store answers nothing
}

func newProtected(t *testing.T, overload string) *protected {
	t.Helper()
	s := &protected{port: testport.Free(t), admin: testport.Free(t)}
	shop := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	store := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for s.stuck.Load() {
			time.Sleep(10 * time.Millisecond)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	_ = store.Listener.Close()
	store.Listener = narrow(t)
	store.Start()
	t.Cleanup(shop.Close)
	t.Cleanup(store.Close)
	at := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	file := writeFile(t, "bootstrap.yaml", fmt.Sprintf(`
node: {id: host, version: v1, generation: 1}
admin: 127.0.0.1:%d
meshAPI: 127.0.0.1:%d
handover: {}
loops: 1
%s
static:
  listeners:
  - {name: out, address: "127.0.0.1:%d", protocol: http1}
  routes:
  - {service: shop.demo, cluster: shop, priority: high}
  - {service: store.demo, cluster: store, priority: low, timeout: 1s}
  clusters:
  - {name: shop, endpoints: [%q]}
  - {name: store, endpoints: [%q]}
`, s.admin, testport.Free(t), overload, s.port, at(shop), at(store)))
	s.p = launch(t, "the sidecar", nil, "run", "-f", file)
	eventually(t, "ready", func() bool { return get(s.admin, "/readyz") == "ok\n" })
	return s
}

// narrow is a listener for whose connections the kernel keeps little: what a server does not take stays in the sidecar.
func narrow(t *testing.T) net.Listener {
	t.Helper()
	set := func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 536)
		})
	}
	l, err := (&net.ListenConfig{Control: set}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// state of a resource, and how many requests of low priority were shed, as metrics have them.
func (s *protected) state(t *testing.T, resource string) (state, shed float64) {
	t.Helper()
	page := get(s.admin, "/metrics")
	return value(t, page, fmt.Sprintf("axle_overload_state{resource=%q}", resource)), value(t, page, `axle_overload_shed_requests_total{priority="low"}`)
}

// anonymous is the sidecar's memory that is in no file, in bytes.
func (s *protected) anonymous() int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.p.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(b), "RssAnon:")
	n, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return n << 10
}

// asker is one connection that asks one request after the other.
type asker struct {
	conn net.Conn
	r    *bufio.Reader
}

func (s *protected) dial() (*asker, error) {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
	if err != nil {
		return nil, err
	}
	return &asker{conn, bufio.NewReader(conn)}, nil
}

// ask returns a status, and 0 when there was no answer.
func (a *asker) ask(host string, body []byte) (status int, open bool) {
	_ = a.conn.SetDeadline(time.Now().Add(10 * time.Second))
	method := "GET"
	if body != nil {
		method = "POST"
	}
	go func() { // a refusal may come before all of it is sent
		_, _ = fmt.Fprintf(a.conn, "%s / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", method, host, len(body), body)
	}()
	res, err := http.ReadResponse(a.r, nil)
	if err != nil {
		return 0, false
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.StatusCode, !res.Close
}

// steady asks the shop until stop. Whoever has high priority notices nothing of a flood.
func (s *protected) steady(t *testing.T, stop <-chan struct{}, asked *atomic.Int64) {
	a, err := s.dial()
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = a.conn.Close() }()
	for {
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
		if status, _ := a.ask("shop.demo", nil); status != 200 {
			t.Errorf("request %d of high priority: status %d", asked.Load(), status)
			return
		}
		asked.Add(1)
	}
}

// serves waits until a new client's requests of low priority are served again.
func (s *protected) serves(t *testing.T, body []byte) {
	t.Helper()
	eventually(t, "a new client is served", func() bool {
		a, err := s.dial()
		if err != nil {
			return false
		}
		defer func() { _ = a.conn.Close() }()
		status, _ := a.ask("store.demo", body)
		return status == 200
	})
}

// TestMemoryRunsOut: a flood of requests that a server does not take would fill the sidecar's memory with what they carry.
// Instead those of low priority are shed; the others are served all the time, and in the end everything is.
func TestMemoryRunsOut(t *testing.T) {
	const bound, flooders = 64 << 20, 300
	s := newProtected(t, fmt.Sprintf("memoryLimitBytes: %d\noverload: {interval: 80ms, memory: {closeIdle: 0, refuseClients: 0}}", bound))
	s.stuck.Store(true)
	stop, steady := make(chan struct{}), make(chan struct{})
	var flood, well sync.WaitGroup
	var asked atomic.Int64
	well.Go(func() { s.steady(t, steady, &asked) })
	body := bytes.Repeat([]byte("x"), 400<<10)
	most := 0
	for range flooders {
		flood.Go(func() {
			for a, err := s.dial(); ; {
				select {
				case <-stop:
					return
				default:
				}
				if err == nil {
					if _, open := a.ask("store.demo", body); open {
						continue
					}
					_ = a.conn.Close()
				}
				time.Sleep(20 * time.Millisecond)
				a, err = s.dial()
			}
		})
		time.Sleep(10 * time.Millisecond)
		most = max(most, s.anonymous())
	}
	shed := 0.0
	eventually(t, "requests are shed, and the others served", func() bool {
		most = max(most, s.anonymous())
		_, shed = s.state(t, "memory")
		return shed > flooders && asked.Load() > 300
	})
	close(stop)
	s.stuck.Store(false)
	flood.Wait()
	t.Logf("at most %d MB of %d, %v requests shed", most>>20, bound>>20, shed)
	if most > bound*5/4 {
		t.Errorf("%d bytes of memory are far more than %d", most, bound)
	}
	eventually(t, "all is calm", func() bool { state, _ := s.state(t, "memory"); return state == 0 })
	close(steady)
	well.Wait()
	s.serves(t, body)
	if log := s.p.log.String(); !strings.Contains(log, `"resource":"memory","is":"shed`) || !strings.Contains(log, `"is":"calm"`) {
		t.Error("the log does not tell what happened")
	}
}

// TestDescriptorsRunOut: clients that open connections and leave them there are refused in the end, and those that have done
// nothing for long lose theirs. Whoever is at work stays, and there is always one left for the pages of the operator.
func TestDescriptorsRunOut(t *testing.T) {
	const limit = 200
	s := newProtected(t, "overload: {interval: 80ms}")
	if err := unix.Prlimit(s.p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
		t.Fatal(err)
	}
	steady := make(chan struct{})
	var well sync.WaitGroup
	well.Go(func() { s.steady(t, steady, new(atomic.Int64)) })
	var flood []net.Conn
	defer func() {
		for _, c := range flood {
			_ = c.Close()
		}
	}()
	for range 2 * limit {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err != nil {
			t.Fatal(err)
		}
		flood = append(flood, c)
		time.Sleep(3 * time.Millisecond)
	}
	eventually(t, "new clients are refused", func() bool {
		page := get(s.admin, "/metrics")
		return page != "" && value(t, page, "axle_overload_refused_connections_total") > limit/2
	})
	eventually(t, "idle clients have lost their connections, and all is calm", func() bool {
		page := get(s.admin, "/metrics")
		return page != "" && value(t, page, "axle_overload_closed_connections_total") > limit/2 && value(t, page, `axle_overload_state{resource="descriptors"}`) == 0
	})
	s.serves(t, nil)
	close(steady)
	well.Wait()
	if log := s.p.log.String(); strings.Contains(log, "cannot accept") || strings.Contains(log, "too many open files") {
		t.Error("descriptors have run out")
	}
}
