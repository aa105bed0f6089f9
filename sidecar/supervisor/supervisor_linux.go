package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
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
	// Kept is what the first child finds. The descriptors belong to the supervisor from here on.
	Kept map[string]int
	// Observer is told of what the child does; nil for nobody.
	Observer Observer
	// Signals brings SIGCHLD, SIGTERM and SIGINT when the caller has taken them over; nil lets the supervisor do it.
	Signals <-chan os.Signal
	// Leave is closed when the child is to let its clients go and to end. nil is never.
	Leave <-chan struct{}
	// Now is the clock.
	Now func() time.Time
	Log logr.Logger
}

// Observer hears what a supervisor keeps and what its child is. The supervisor waits for it; descriptors stay the supervisor's.
type Observer interface {
	// Keeps says that fd is kept under key, also of what was kept from the beginning. Drops says that key is not kept any more.
	Keeps(key string, fd int)
	Drops(key string)
	// Is tells the child's phase, again at each start.
	Is(Phase)
}

// Outcome is how supervising ended.
type Outcome struct {
	// Code to exit with, and the Reason for people.
	Code   int
	Reason string
	// Phase of the last child.
	Phase Phase
	// Kept is what is left. The descriptors belong to the caller.
	Kept map[string]int
}

// Run supervises until the child's work is done, ctx ends or the supervisor is terminated, and returns the code to
// exit with. It takes over SIGCHLD, SIGTERM and SIGINT, and reaps every child of this process. What is kept is dropped at
// the end, and the reason of a code that is not 0 goes where the kubelet reads it.
func Run(ctx context.Context, c Config) (int, error) {
	end, err := Hold(ctx, c)
	Drop(end.Kept)
	if err != nil || end.Code == 0 {
		return end.Code, err
	}
	if err := Explain(c.TerminationLog, end.Reason); err != nil && !errors.Is(err, os.ErrNotExist) {
		c.Log.V(1).Info("No termination message", "error", err.Error())
	}
	return end.Code, nil
}

// Drop closes what was kept.
func Drop(kept map[string]int) {
	for _, fd := range kept {
		_ = unix.Close(fd)
	}
}

// Hold is Run for a supervisor that lives on: it gives back what is kept, and explains nothing. When ctx ends, the child is killed
// and gone before Hold returns. The child dies with the thread that calls: lock it.
func Hold(ctx context.Context, c Config) (Outcome, error) {
	if c.Silence == 0 {
		c.Silence = DefaultSilence
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.Kept == nil {
		c.Kept = make(map[string]int)
	}
	s := &shell{Config: c, machine: Machine{Silence: c.Silence, Grace: c.Grace}, kept: c.Kept}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return Outcome{Code: ExitConfig, Kept: s.kept}, fmt.Errorf("become a subreaper: %w", err)
	}
	if c.Signals == nil {
		sig := make(chan os.Signal, 16)
		signal.Notify(sig, syscall.SIGCHLD, syscall.SIGTERM, syscall.SIGINT)
		defer signal.Stop(sig)
		s.Signals = sig
	}
	if s.Observer != nil {
		for key, fd := range s.kept {
			s.Observer.Keeps(key, fd)
		}
	}
	err := s.loop(ctx)
	if s.child != nil {
		s.child.forget()
	}
	return Outcome{Code: s.code, Reason: s.reason, Phase: s.machine.phase, Kept: s.kept}, err
}

// shell carries out what the machine decides. One goroutine runs it.
type shell struct {
	Config
	machine Machine
	kept    map[string]int
	child   *child
	starts  int
	code    int
	reason  string
	over    bool
	left    bool // Leave was closed
}

// child is one process and the messages that it sends; messages is closed at the end of its stream.
type child struct {
	pid      int
	conn     *net.UnixConn
	messages chan Message
	gone     chan struct{}
}

func (s *shell) loop(ctx context.Context) error {
	leave := s.Leave
	s.step(Event{What: Begun})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !s.over {
		if at := s.machine.Wake(); !at.IsZero() {
			timer.Reset(max(0, at.Sub(s.Now())))
		} else {
			timer.Stop()
		}
		var messages chan Message
		if s.child != nil {
			messages = s.child.messages
		}
		select {
		case <-ctx.Done():
			s.end()
			return ctx.Err()
		case <-leave:
			leave, s.left = nil, true
			s.tell(Message{Kind: KindLeave, FD: -1})
		case got := <-s.Signals:
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
	return nil
}

// end kills the child and waits until it is gone: then nobody holds its descriptors.
func (s *shell) end() {
	if s.child == nil {
		return
	}
	s.kill()
	var ws unix.WaitStatus
	for errors.Is(waited(unix.Wait4(s.child.pid, &ws, 0, nil)), unix.EINTR) {
	}
	s.bury()
}

func waited(_ int, err error) error { return err }

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
			s.tell(Message{Kind: KindTerm, Body: termBody(a.Grace), FD: -1})
		case Exit:
			s.exit(a)
		}
	}
}

func (s *shell) exit(a Action) {
	s.over, s.code, s.reason = true, a.Code, a.Reason
	s.Log.Info("The sidecar ends", "code", a.Code, "reason", a.Reason)
}

// Explain writes the reason of an exit where the kubelet reads it; path "" means DefaultTerminationLog.
func Explain(path, reason string) error {
	f, err := os.OpenFile(cmp.Or(path, DefaultTerminationLog), os.O_WRONLY, 0)
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
		Env:   append(slices.Clip(s.Env), RestartsEnv+"="+strconv.Itoa(s.starts)),
		Files: []uintptr{0, 1, 2, uintptr(pair[1])},
		// In a group of its own, a terminal's Ctrl-C reaches the supervisor alone.
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("start %s: %w", s.Args[0], err)
	}
	s.child = &child{pid: pid, conn: conn, messages: make(chan Message), gone: make(chan struct{})}
	s.starts++
	s.is(Starting)
	s.Log.Info("The proxy started", "pid", pid, "kept", len(s.kept))
	go s.child.pump(s.child.messages) // ends with the child's end of the pair, or with gone
	for key, fd := range s.kept {
		s.tell(Message{Kind: KindAdd, Body: []byte(key), FD: fd})
	}
	s.tell(Message{Kind: KindEnd, FD: -1})
	if s.left {
		s.tell(Message{Kind: KindLeave, FD: -1})
	}
	return nil
}

func (c *child) pump(to chan<- Message) {
	defer close(to)
	for {
		m, err := Receive(c.conn)
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

func (s *shell) tell(m Message) {
	if s.child == nil {
		return
	}
	if err := Send(s.child.conn, s.Now().Add(5*time.Second), m); err != nil {
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

func (s *shell) handle(m Message) {
	key := string(m.Body)
	if m.Kind == KindAdd && m.FD >= 0 && len(key) <= maxKey && (len(s.kept) < maxStored || s.holds(key)) {
		s.release(key)
		s.kept[key] = m.FD
		if s.Observer != nil {
			s.Observer.Keeps(key, m.FD)
		}
		return
	}
	if m.FD >= 0 {
		_ = unix.Close(m.FD)
	}
	switch m.Kind {
	case KindRemove:
		s.release(key)
		if s.Observer != nil {
			s.Observer.Drops(key)
		}
	case KindBeat:
		s.step(Event{What: Beat})
	case KindPhase:
		if len(m.Body) == 1 {
			s.step(Event{What: Said, Phase: Phase(m.Body[0])})
			s.is(Phase(m.Body[0]))
		}
	case KindWords:
		s.step(Event{What: Said, Words: key})
	default:
		s.Log.Info("The proxy said something unknown", "kind", string(rune(m.Kind)))
	}
}

func (s *shell) holds(key string) bool { _, ok := s.kept[key]; return ok }

func (s *shell) release(key string) {
	if fd, ok := s.kept[key]; ok {
		_ = unix.Close(fd)
		delete(s.kept, key)
	}
}

func (s *shell) is(p Phase) {
	if s.Observer != nil {
		s.Observer.Is(p)
	}
}
