//go:build interop

package interop

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long anything may take that is waited for.
const patience = 60 * time.Second

// process is a program that a test started. It ends with the test.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser // its standard input; our programs end with it
	out   journal
	done  chan struct{}
	begun time.Time
}

// journal is what a process has said so far; it may be read while the process goes on.
type journal struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.String()
}

func launch(t *testing.T, env []string, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), done: make(chan struct{}), begun: time.Now()}
	p.name = filepath.Base(program) + " " + strings.Join(args[max(0, len(args)-3):], " ")
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }() // the code is looked at where it matters
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			said := p.out.String()
			t.Logf("what %s said, from %s:\n%s", p.name, p.begun.Format(time.TimeOnly), said[max(0, len(said)-6000):])
		}
	})
	return p
}

// says waits until the process has said a word.
func (p *process) says(word string) *process {
	p.t.Helper()
	eventually(p.t, p.name+" says "+strconv.Quote(word), func() bool {
		if !p.running() && !strings.Contains(p.out.String(), word) {
			p.t.Fatalf("%s ended before it said %q", p.name, word)
		}
		return strings.Contains(p.out.String(), word)
	})
	return p
}

// ends waits for the end, which has to be a good one.
func (p *process) ends() {
	p.t.Helper()
	select {
	case <-p.done:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			p.t.Errorf("%s exited with %d", p.name, code)
		}
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", p.name)
	}
}

// stop asks one of our programs to end.
func (p *process) stop() {
	p.t.Helper()
	_ = p.in.Close() // it may have ended already
	p.ends()
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}
