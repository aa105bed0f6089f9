package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/axlemesh/axle/sidecar/sockets"
)

// The test binary plays all three parts: the tests start it as a supervisor, which starts it as its child.
const (
	roleEnv = "AXLE_TEST_ROLE"
	termEnv = "AXLE_TEST_TERMINATION_LOG"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "supervisor":
		os.Exit(superviseForTest())
	case "child":
		childForTest()
		os.Exit(99) // the child never returns
	}
	os.Exit(m.Run())
}

func superviseForTest() int {
	log := funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, prefix, args) }, funcr.Options{})
	env := append([]string{roleEnv + "=child"}, os.Environ()...) // the first of two wins
	code, err := Run(context.Background(), Config{
		Args: []string{"/proc/self/exe"}, Env: env, Silence: 700 * time.Millisecond, Grace: 3 * time.Second,
		TerminationLog: os.Getenv(termEnv), Now: time.Now, Log: log,
	})
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
	}
	return code
}

// childForTest listens on one address and obeys what it is told there, a line a connection.
func childForTest() {
	c, kept, err := Attach(ChildFD, time.Now)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(98)
	}
	set := &sockets.Set{}
	for _, s := range kept.Sockets {
		if err := set.Adopt(s.Key, s.FD); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(97)
		}
	}
	set.Store = c
	if _, err := set.Listen("listener/x", "tcp", "127.0.0.1:0"); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(96)
	}
	l, err := set.Listener("listener/x")
	if err != nil {
		os.Exit(95)
	}
	go func() {
		err := c.Watch(func(grace time.Duration) {
			_, _ = fmt.Fprintln(os.Stderr, "told to end in", grace)
			os.Exit(0)
		}, func() {})
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(94)
	}()
	go func() {
		for c.Beat() == nil {
			time.Sleep(100 * time.Millisecond)
		}
	}()
	_ = c.Phase(Serving)
	fmt.Println(l.Addr())
	for {
		conn, err := l.Accept()
		if err != nil {
			os.Exit(93)
		}
		obey(c, conn, kept.State)
	}
}

func obey(c *Child, conn net.Conn, state map[string][]byte) {
	defer func() { _ = conn.Close() }()
	line, _ := bufio.NewReader(conn).ReadString('\n')
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch word {
	case "hello":
		_, _ = fmt.Fprintf(conn, "%d %s\n", os.Getpid(), state["note"])
	case "keep":
		_, _ = fmt.Fprintln(conn, c.Keep("note", []byte(rest)))
	case "crash":
		os.Exit(1)
	case "done":
		os.Exit(0)
	case "fail":
		_ = c.Words(rest)
		os.Exit(ExitCandidate)
	case "orphan":
		// A grandchild whose parent is gone before it ends itself.
		out, err := exec.Command("sh", "-c", "sleep 0.2 >/dev/null 2>&1 & echo $!").Output()
		_, _ = fmt.Fprintf(conn, "%s %v\n", bytes.TrimSpace(out), err)
	}
}

// supervised is a supervisor process under test.
type supervised struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string
	term string
	log  *buffer
}

// buffer is a bytes.Buffer that may be read while a process writes it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(t *testing.T) *supervised {
	t.Helper()
	term := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(term, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &supervised{t: t, term: term, log: &buffer{}}
	s.cmd = exec.Command("/proc/self/exe")
	s.cmd.Env = append(os.Environ(), roleEnv+"=supervisor", termEnv+"="+term)
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child never listened: %v", err)
	}
	s.addr = strings.TrimSpace(line)
	return s
}

// tell sends one line to the child and returns its answer, "" when it died instead.
func (s *supervised) tell(line string) string {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatalf("the listener is gone: %v", err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = fmt.Fprintln(conn, line)
	answer, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(answer)
}

// child returns the pid of the child and what it found kept.
func (s *supervised) child() (pid int, note string) {
	s.t.Helper()
	answer := s.tell("hello")
	first, note, _ := strings.Cut(answer, " ")
	pid, err := strconv.Atoi(first)
	if err != nil {
		s.t.Fatalf("no child answered: %q", answer)
	}
	return pid, note
}

func (s *supervised) exit() int {
	s.t.Helper()
	_ = s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

func TestCrashKeepsListenerAndState(t *testing.T) {
	s := start(t)
	first, _ := s.child()
	if got := s.tell("keep the last good configuration"); got != "<nil>" {
		t.Fatalf("keep: %s", got)
	}
	s.tell("crash")
	// Nothing listens now but the kept descriptor; the connection waits in its backlog.
	second, note := s.child()
	if second == first || note != "the last good configuration" {
		t.Errorf("pid %d after %d, kept %q", second, first, note)
	}
	s.tell("crash")
	third, note := s.child()
	if third == second || note != "the last good configuration" {
		t.Errorf("pid %d after %d, kept %q: state has to survive twice", third, second, note)
	}
	s.tell("done")
	if code := s.exit(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("someone still listens after the supervisor's exit")
	}
}

// halt stops a process, and returns when none of its threads runs: one that does might still accept a connection.
func halt(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		running := 0
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		for _, file := range threads {
			if text, err := os.ReadFile(file); err == nil && !bytes.Contains(text, []byte("\nState:\tT")) {
				running++
			}
		}
		if len(threads) > 0 && running == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d threads still run", running, len(threads))
		}
	}
}

func TestStoppedChildIsKilledAndReplaced(t *testing.T) {
	s := start(t)
	first, _ := s.child()
	halt(t, first)
	if second, _ := s.child(); second == first {
		t.Errorf("the stopped child %d answered", first)
	}
	if !strings.Contains(s.log.String(), "it was silent for 700ms") {
		t.Errorf("the log does not say why:\n%s", s.log)
	}
}

func TestFailedCandidateExplainsItself(t *testing.T) {
	s := start(t)
	s.tell("fail handover from generation 1: step Warm: out of descriptors")
	if code := s.exit(); code != ExitCandidate {
		t.Errorf("exit code %d, want %d", code, ExitCandidate)
	}
	got, _ := os.ReadFile(s.term)
	if want := "the proxy exited with code 10: handover from generation 1: step Warm: out of descriptors"; string(got) != want {
		t.Errorf("termination message %q, want %q", got, want)
	}
}

func TestTermReachesTheChild(t *testing.T) {
	s := start(t)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.exit(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if !strings.Contains(s.log.String(), "told to end in 2s") {
		t.Errorf("the child was not told how long it has:\n%s", s.log)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	s := start(t)
	pid, rest, _ := strings.Cut(s.tell("orphan"), " ")
	if rest != "<nil>" {
		t.Fatalf("no orphan: %s", rest)
	}
	stat := "/proc/" + pid
	for range 100 {
		if _, err := os.Stat(stat); os.IsNotExist(err) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	status, _ := os.ReadFile(stat + "/status")
	t.Errorf("process %s is still there:\n%s", pid, status)
}

func TestChildDiesWithItsSupervisor(t *testing.T) {
	s := start(t)
	pid, _ := s.child()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.exit()
	for range 100 {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("child %d lives on without its supervisor", pid)
}
