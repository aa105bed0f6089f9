package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asMain makes the test binary behave like the sidecar's: its processes are real.
const asMain = "AXLE_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is one sidecar process.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  *lines
	out  *lines // standard output
	done chan struct{}
}

// lines collects what a process logs.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func launch(t *testing.T, name string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, log: &lines{}, out: &lines{}, done: make(chan struct{})}
	p.cmd = exec.Command("/proc/self/exe", args...)
	p.cmd.Env = append(append(os.Environ(), asMain+"=1"), env...)
	p.cmd.Stderr, p.cmd.Stdout = p.log, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, p.log)
		}
	})
	return p
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the end and returns the code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(20 * time.Second):
		p.t.Fatalf("%s does not end", p.name)
		return -1
	}
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// descriptors counts the open ones by what they are, when nothing has changed for a while: a page that was just asked for
// may still be closing its connection.
func (p *process) descriptors() map[string]int {
	p.t.Helper()
	var last map[string]int
	for same := 0; same < 5; {
		now := map[string]int{}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		if err != nil {
			p.t.Fatal(err)
		}
		for _, fd := range fds {
			what, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", p.cmd.Process.Pid, fd.Name()))
			kind, _, _ := strings.Cut(what, ":[")
			now[kind]++
		}
		if same++; !maps.Equal(now, last) {
			same = 0
		}
		last = now
		time.Sleep(10 * time.Millisecond)
	}
	return last
}

// childOf returns the pid of the only child of a process, whichever of its threads started it.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	all := childrenOf(t, pid)
	if len(all) != 1 {
		t.Fatalf("children of %d: %v", pid, all)
	}
	return all[0]
}

func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []int
	for _, task := range tasks {
		b, _ := os.ReadFile(task) // the thread may have ended
		for field := range strings.FieldsSeq(string(b)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatalf("children of %d: %q", pid, b)
			}
			all = append(all, child)
		}
	}
	return all
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// get returns the body of a page, "" when there is none.
func get(port int, path string) string {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// value reads one metric, or one line of POST /gc.
func value(t *testing.T, page, name string) float64 {
	t.Helper()
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no %s in:\n%s", name, page)
	return 0
}

// echo is an application that sends everything back.
type echo struct {
	l    net.Listener
	port int
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer func() { _ = c.Close() }(); _, _ = io.Copy(c, c) }()
		}
	}()
	return &echo{l: l, port: l.Addr().(*net.TCPAddr).Port}
}

// clients is a set of strict clients: one connection each, for ever, and every byte has to come back in order.
type clients struct {
	t        *testing.T
	stopping chan struct{}
	running  sync.WaitGroup

	mu       sync.Mutex
	requests int
	failures []error
}

func newClients(t *testing.T, port, n int) *clients {
	t.Helper()
	return newClientsOver(t, n, func() (net.Conn, error) { return net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)) })
}

func newClientsOver(t *testing.T, n int, dial func() (net.Conn, error)) *clients {
	t.Helper()
	l := &clients{t: t, stopping: make(chan struct{})}
	for i := range n {
		l.running.Go(func() {
			if err := l.client(i, dial); err != nil {
				l.mu.Lock()
				l.failures = append(l.failures, fmt.Errorf("client %d: %w", i, err))
				l.mu.Unlock()
			}
		})
	}
	return l
}

func (l *clients) client(i int, dial func() (net.Conn, error)) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for n := 0; ; n++ {
		select {
		case <-l.stopping:
			return nil
		default:
		}
		msg := fmt.Appendf(nil, "client %d message %d %s", i, n, strings.Repeat("x", n%3000))
		got := make([]byte, len(msg))
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write(msg); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, got); err != nil {
			return err
		}
		if !bytes.Equal(msg, got) {
			return errors.New("other bytes came back")
		}
		l.mu.Lock()
		l.requests++
		l.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

func (l *clients) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests
}

// progress waits until every client has had time to be served again.
func (l *clients) progress() {
	l.t.Helper()
	from := l.count()
	eventually(l.t, "requests are served", func() bool { return l.count() > from+50 || len(l.failed()) > 0 })
}

func (l *clients) failed() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures
}

// stop ends the clients and fails if one of them lost anything.
func (l *clients) stop() {
	l.t.Helper()
	close(l.stopping)
	l.running.Wait()
	if err := errors.Join(l.failed()...); err != nil {
		l.t.Errorf("of %d requests some were lost: %v", l.count(), err)
	}
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
