package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
)

// Defaults of a Config.
const (
	DefaultSilence        = 10 * time.Second
	DefaultGrace          = 30 * time.Second
	DefaultTerminationLog = "/dev/termination-log"
)

// Config says what to supervise.
type Config struct {
	// Args of the child; Args[0] is the path of its program.
	Args []string
	// Env of the child, "KEY=value".
	Env []string
	// Silence after which the child is killed; 0 means DefaultSilence.
	Silence time.Duration
	// Grace that the child has after SIGTERM; 0 means DefaultGrace.
	Grace time.Duration
	// TerminationLog is a file that gets the reason of a non-zero exit; "" means DefaultTerminationLog. It is not created.
	TerminationLog string
	// Now is the clock.
	Now func() time.Time
	Log logr.Logger
}

// Run supervises until the child's work is done, ctx ends or the supervisor is terminated, and returns the code to
// exit with. It takes over SIGCHLD, SIGTERM and SIGINT, and reaps every child of this process.
func Run(ctx context.Context, c Config) (int, error) {
	if c.Silence == 0 {
		c.Silence = DefaultSilence
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.TerminationLog == "" {
		c.TerminationLog = DefaultTerminationLog
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return ExitConfig, fmt.Errorf("become a subreaper: %w", err)
	}
	sig := make(chan os.Signal, 16)
	signal.Notify(sig, syscall.SIGCHLD, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(sig)
	s := &shell{Config: c, machine: Machine{Silence: c.Silence, Grace: c.Grace}, kept: make(map[string]int)}
	defer s.drop()
	return s.loop(ctx, sig)
}

// shell carries out what the machine decides. One goroutine runs it.
type shell struct {
	Config
	machine Machine
	kept    map[string]int
	child   *child
	code    int
	over    bool
}

// child is one process and the messages that it sends; messages is closed at the end of its stream.
type child struct {
	pid      int
	conn     *net.UnixConn
	messages chan message
	gone     chan struct{}
}

func (s *shell) loop(ctx context.Context, sig <-chan os.Signal) (int, error) {
	s.step(Event{What: Begun})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !s.over {
		if at := s.machine.Wake(); !at.IsZero() {
			timer.Reset(max(0, at.Sub(s.Now())))
		} else {
			timer.Stop()
		}
		var messages chan message
		if s.child != nil {
			messages = s.child.messages
		}
		select {
		case <-ctx.Done():
			s.kill()
			return 0, ctx.Err()
		case got := <-sig:
			if got == syscall.SIGCHLD {
				s.reap()
			} else {
				s.Log.Info("Asked to end", "signal", got.String())
				s.step(Event{What: Term})
			}
		case m, ok := <-messages:
			if ok {
				s.handle(m)
			} else {
				s.child.messages = nil // it closed its end; its exit follows, or the watchdog
			}
		case <-timer.C:
			s.step(Event{What: Tick})
		}
	}
	return s.code, nil
}

func (s *shell) step(e Event) {
	e.At = s.Now()
	for _, a := range s.machine.Step(e) {
		switch a.Do {
		case Start:
			if err := s.start(); err != nil {
				s.Log.Error(err, "The proxy could not be started")
				s.step(Event{What: Said, Words: err.Error()})
				s.step(Event{What: Exited, Code: 127})
				return
			}
		case Kill:
			s.Log.Info("Killing the proxy", "pid", s.child.pid, "reason", a.Reason)
			s.kill()
		case TellTerm:
			s.tell(message{kind: msgTerm, body: termBody(a.Grace), fd: -1})
		case Exit:
			s.exit(a)
		}
	}
}

func (s *shell) exit(a Action) {
	s.over, s.code = true, a.Code
	s.Log.Info("The sidecar ends", "code", a.Code, "reason", a.Reason)
	if a.Code == 0 {
		return
	}
	if err := explain(s.TerminationLog, a.Reason); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Log.V(1).Info("No termination message", "error", err.Error())
	}
}

// explain writes the reason where the kubelet reads it.
func explain(path, reason string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.ToValidUTF8(reason, "?"))
	return errors.Join(err, f.Close())
}

// start forks the child and gives it what is kept.
func (s *shell) start() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("start %s: socket pair: %w", s.Args[0], err)
	}
	defer func() { _ = unix.Close(pair[1]) }()
	conn, err := unixConn(pair[0])
	if err != nil {
		return fmt.Errorf("start %s: %w", s.Args[0], err)
	}
	pid, err := syscall.ForkExec(s.Args[0], s.Args, &syscall.ProcAttr{
		Env:   s.Env,
		Files: []uintptr{0, 1, 2, uintptr(pair[1])},
		// In a group of its own, a terminal's Ctrl-C reaches the supervisor alone.
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("start %s: %w", s.Args[0], err)
	}
	s.child = &child{pid: pid, conn: conn, messages: make(chan message), gone: make(chan struct{})}
	s.Log.Info("The proxy started", "pid", pid, "kept", len(s.kept))
	go s.child.pump(s.child.messages) // ends with the child's end of the pair, or with gone
	for key, fd := range s.kept {
		s.tell(message{kind: msgAdd, body: []byte(key), fd: fd})
	}
	s.tell(message{kind: msgEnd, fd: -1})
	return nil
}

func (c *child) pump(to chan<- message) {
	defer close(to)
	for {
		m, err := receive(c.conn)
		if err != nil {
			return
		}
		select {
		case to <- m:
		case <-c.gone:
			return
		}
	}
}

// forget closes this end of the pair.
func (c *child) forget() {
	close(c.gone)
	_ = c.conn.Close()
}

func (s *shell) tell(m message) {
	if s.child == nil {
		return
	}
	if err := send(s.child.conn, s.Now().Add(5*time.Second), m); err != nil {
		s.Log.Error(err, "The proxy does not listen to its supervisor", "pid", s.child.pid)
	}
}

func (s *shell) kill() {
	if s.child != nil {
		_ = unix.Kill(s.child.pid, unix.SIGKILL) // it is not reaped yet, so the pid is its own
	}
}

// reap collects every dead child: the proxy, and orphans that this process inherited.
func (s *shell) reap() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if s.child == nil || pid != s.child.pid {
			continue
		}
		e := Event{What: Exited, Code: ws.ExitStatus()}
		if ws.Signaled() {
			e.Code, e.Signal = 0, int(ws.Signal())
		}
		s.bury()
		s.step(e)
	}
}

// bury works off what the dead child still said: its last words, and descriptors to keep.
func (s *shell) bury() {
	c := s.child
	_ = c.conn.SetReadDeadline(s.Now().Add(100 * time.Millisecond)) // an orphan may hold its end
	if c.messages != nil {
		for m := range c.messages {
			s.handle(m)
		}
	}
	c.forget()
	s.child = nil
}

func (s *shell) handle(m message) {
	key := string(m.body)
	if m.kind == msgAdd && m.fd >= 0 && len(key) <= maxKey && (len(s.kept) < maxStored || s.holds(key)) {
		s.release(key)
		s.kept[key] = m.fd
		return
	}
	if m.fd >= 0 {
		_ = unix.Close(m.fd)
	}
	switch m.kind {
	case msgRemove:
		s.release(key)
	case msgBeat:
		s.step(Event{What: Beat})
	case msgPhase:
		if len(m.body) == 1 {
			s.step(Event{What: Said, Phase: Phase(m.body[0])})
		}
	case msgWords:
		s.step(Event{What: Said, Words: key})
	default:
		s.Log.Info("The proxy said something unknown", "kind", string(rune(m.kind)))
	}
}

func (s *shell) holds(key string) bool { _, ok := s.kept[key]; return ok }

func (s *shell) release(key string) {
	if fd, ok := s.kept[key]; ok {
		_ = unix.Close(fd)
		delete(s.kept, key)
	}
}

func (s *shell) drop() {
	for key := range s.kept {
		s.release(key)
	}
	if s.child != nil {
		s.child.forget()
	}
}
