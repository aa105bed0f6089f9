// Package docs_test keeps the documents true: their commands are run, or held against what they name; their files, fields,
// metrics, reasons and tests have to exist.
package docs_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/axlemesh/axle/hack/testport"
)

var documents = []string{"standalone.md", "handover.md", "install.md", "traffic.md", "protocols.md", "tracing.md", "observability.md"}

// built is the folder of the two programs, made once.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := 1, error(nil)
	if built, err = os.MkdirTemp("", "axle-docs-"); err == nil {
		code = m.Run()
		err = os.RemoveAll(built)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		code = 1
	}
	os.Exit(code)
}

// programs builds what the documents build, with their own commands, into the folder that it returns.
var programs = sync.OnceValues(func() (string, error) {
	for _, line := range builds() {
		args := strings.Fields(strings.ReplaceAll(line, " bin/", " "+built+"/"))
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", line, err, out)
		}
	}
	return built, nil
})

// builds are the commands of standalone.md that build something.
func builds() []string {
	doc, err := os.ReadFile("standalone.md")
	if err != nil {
		return nil
	}
	return regexp.MustCompile(`(?m)^go build .*$`).FindAllString(string(doc), -1)
}

func program(t *testing.T, name string) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var fence = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")

// blocks are the fenced blocks of one language.
func blocks(t *testing.T, document, language string) []string {
	t.Helper()
	var all []string
	for _, m := range fence.FindAllStringSubmatch(read(t, document), -1) {
		if m[1] == language {
			all = append(all, m[2])
		}
	}
	return all
}

// lines are the commands of the fenced blocks, continued lines joined.
func lines(t *testing.T, document, language string) []string {
	t.Helper()
	var all []string
	for _, b := range blocks(t, document, language) {
		for line := range strings.Lines(strings.ReplaceAll(b, "\\\n", " ")) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				all = append(all, line)
			}
		}
	}
	return all
}

// place is a folder and ports of a test's own: what the documents name is moved there.
type place struct {
	t     *testing.T
	dir   string
	ports map[string]string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	return &place{t: t, dir: t.TempDir(), ports: map[string]string{}}
}

var (
	address = regexp.MustCompile(`\b((?:127\.0\.0\.1|0\.0\.0\.0):)([0-9]+)`)
	mapping = []string{"/run/axle", "/etc/axle", "/opt/axle"}
)

// move rewrites ports, folders and abstract sockets.
func (p *place) move(s string) string {
	p.t.Helper()
	s = address.ReplaceAllStringFunc(s, func(m string) string {
		at := strings.LastIndex(m, ":") + 1
		return strings.Replace(m[:at], "0.0.0.0", "127.0.0.1", 1) + p.port(m[at:])
	})
	for _, folder := range mapping {
		s = strings.ReplaceAll(s, folder, p.dir+folder)
	}
	s = strings.ReplaceAll(s, "@axle/", "@docs"+p.dir+"/")
	return s
}

// port is the free port that stands for a documented one.
func (p *place) port(documented string) string {
	p.t.Helper()
	if p.ports[documented] == "" {
		p.ports[documented] = strconv.Itoa(testport.Free(p.t))
	}
	return p.ports[documented]
}

// file moves a sample, with the defaults of its addresses written out, and returns its path.
func (p *place) file(sample, name string) string {
	p.t.Helper()
	s := read(p.t, filepath.Join("standalone", sample))
	for field, value := range map[string]string{"admin": "127.0.0.1:13331", "meshAPI": "127.0.0.1:13330"} {
		if !strings.Contains(s, "\n"+field+":") {
			s += fmt.Sprintf("%s: %s\n", field, value)
		}
	}
	if !strings.Contains(s, "socket:") {
		s = strings.Replace(s, "handover: {", `handover: {socket: "@axle/handover", `, 1)
	}
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(p.move(s)), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// process is a program that a test started.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  journal
	done chan struct{}
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

func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("log of %s %v:\n%.4000s", filepath.Base(name), args, p.log.String())
		}
	})
	return p
}

// exit waits for the end and returns the code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(20 * time.Second):
		p.t.Fatalf("%v does not end", p.cmd.Args)
		return -1
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// echo is an application that sends everything back.
func echo(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
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
}

// client holds one connection; say sends a message over it, and wants it back.
type client struct{ net.Conn }

func dial(t *testing.T, address string) client {
	t.Helper()
	var c net.Conn
	eventually(t, "a connection to "+address, func() bool {
		var err error
		c, err = net.Dial("tcp", address)
		return err == nil
	})
	t.Cleanup(func() { _ = c.Close() })
	return client{c}
}

func (c client) say(t *testing.T, message string) {
	t.Helper()
	got := make([]byte, len(message))
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte(message)); err != nil {
		t.Fatalf("say %q: %v", message, err)
	}
	if _, err := io.ReadFull(c, got); err != nil || string(got) != message {
		t.Fatalf("said %q, got %q, %v", message, got, err)
	}
}
