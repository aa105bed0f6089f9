package slot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/supervisor"
)

const (
	// filePoll is how often the slots' file is read: the kubelet replaces it when the annotation changes.
	filePoll = 250 * time.Millisecond
	// lastWords is how long the spares wait for what a slot that died has still said.
	lastWords = 100 * time.Millisecond
	// lockRetry is the wait after the lock could not even be waited for.
	lockRetry = time.Second
)

// Config says what a slot's supervisor runs.
type Config struct {
	// Bootstrap is defaulted, and has neither version nor generation: those are in its Slot.File.
	Bootstrap bootstrap.Bootstrap
	// Args of the child; Args[0] is the path of its program.
	Args []string
	// Env of the child, "KEY=value", to which its bootstrap is added.
	Env []string
	// TerminationLog gets the reason of an exit that is not 0; "" means supervisor.DefaultTerminationLog.
	TerminationLog string
	// Now is the clock.
	Now func() time.Time
	Log logr.Logger
}

// shell carries out what the machine decides. One goroutine runs it.
type shell struct {
	Config
	dir     Dir
	name    string
	machine Machine
	id      Identity
	unread  string // why the file could not be read the last time
	reports chan report
	over    chan struct{}
	lock    int // obtained, and not with a child; -1 for none
	child   *running
	spares  *spares
	end     *Action

	// What others may ask: whether this slot does what it is for, provided that needs, if any, has listeners.
	ready atomic.Bool
	needs atomic.Pointer[sharer]
}

// report is an event with what comes along.
type report struct {
	event   Event
	lock    int
	outcome supervisor.Outcome
}

// Run is PID 1 of a slot until there is a reason to start the container anew, or it is terminated, and returns the code to exit with.
func Run(ctx context.Context, c Config) (int, error) {
	s := &shell{
		Config: c, dir: Dir(c.Bootstrap.Slot.Dir), name: c.Bootstrap.Slot.Name, lock: -1,
		reports: make(chan report, 64), over: make(chan struct{}), spares: newSpares(c.Log),
	}
	if err := s.dir.open(); err != nil {
		return supervisor.ExitConfig, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return supervisor.ExitConfig, fmt.Errorf("become a subreaper: %w", err)
	}
	var err error
	if s.machine.Failed, err = s.dir.lastFailure(s.name); err != nil {
		s.Log.Error(err, "What is written of an earlier failure is ignored")
	}
	desk, err := newDesk(s.dir.Socket(s.name), s.spares, s.isSettled, c.Log)
	if err != nil {
		return supervisor.ExitConfig, err
	}
	defer func() { _ = desk.ln.Close() }()
	go desk.run() // ends with its listener
	sig := make(chan os.Signal, 64)
	signal.Notify(sig, syscall.SIGCHLD, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(sig)
	defer close(s.over)
	s.loop(ctx, sig)
	return s.explained()
}

// explained is the end for the caller, and its reason for the kubelet.
func (s *shell) explained() (int, error) {
	s.Log.Info("The slot ends", "code", s.end.Code, "reason", s.end.Reason)
	if s.end.Code == 0 {
		return 0, nil
	}
	reason := fmt.Sprintf("generation %d: %s", s.id.Generation, s.end.Reason)
	if err := supervisor.Explain(s.TerminationLog, reason); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Log.V(1).Info("No termination message", "error", err.Error())
	}
	return s.end.Code, nil
}

func (s *shell) loop(ctx context.Context, sig <-chan os.Signal) {
	poll := time.NewTicker(filePoll)
	defer poll.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	s.read()
	for s.end == nil {
		s.settle()
		if at := s.machine.Wake(); !at.IsZero() {
			timer.Reset(max(0, at.Sub(s.Now())))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			s.end = &Action{Reason: ctx.Err().Error()}
			if s.child != nil {
				s.child.stop()
			}
		case got := <-sig:
			s.signal(got)
		case r := <-s.reports:
			s.handle(r)
		case <-poll.C:
			s.read()
		case <-timer.C:
			s.step(Event{What: Tick})
		}
	}
}

// read tells the machine what the file says, when that is new.
func (s *shell) read() {
	id, err := readIdentity(s.Bootstrap.Slot.File, s.name)
	if err != nil {
		if s.unread != err.Error() {
			s.unread = err.Error()
			s.Log.Error(err, "This slot cannot be told what it is; what it was told before stands")
		}
		return
	}
	s.unread = ""
	if s.id.Generation == 0 {
		s.Log = s.Log.WithValues("generation", id.Generation)
		s.Log.Info("This slot has a generation", "version", id.Version, "serving", id.Serving)
	}
	if id == s.id {
		return
	}
	if s.id.Generation == 0 || id.Generation == s.id.Generation {
		s.id = id
	}
	s.step(Event{What: File, Own: id.Generation, Serving: id.Serving})
}

func (s *shell) settle() {
	var needs *sharer
	if s.machine.child == server {
		needs = s.child.sharer
	}
	s.needs.Store(needs)
	s.ready.Store(s.machine.Settled())
}

// isSettled says whether this slot serves, waits to take over, or idles. It may be called from anywhere.
func (s *shell) isSettled() bool {
	if !s.ready.Load() {
		return false
	}
	needs := s.needs.Load()
	return needs == nil || needs.listeners() > 0
}

func (s *shell) signal(got os.Signal) {
	if got != syscall.SIGCHLD {
		s.Log.Info("Asked to end", "signal", got.String())
	}
	if s.child != nil && !s.child.ended {
		select {
		case s.child.signals <- got:
		default: // it has many of them to look at already
		}
	} else if got == syscall.SIGCHLD {
		reap()
	}
	if got != syscall.SIGCHLD {
		s.step(Event{What: Term})
	}
}

// reap collects orphans that this process inherited.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}

func (s *shell) handle(r report) {
	switch r.event.What {
	case Obtained:
		s.lock = r.lock
		_, r.event.Left, _ = readTerm(s.lock)
	case Ended:
		s.bury(&r)
	}
	s.step(r.event)
}

// bury takes back what the child's supervisor kept: only listeners are of use, and only after a handover.
func (s *shell) bury(r *report) {
	reap()
	s.child.ended = true
	kept := r.outcome.Kept
	for key, fd := range kept {
		if !listening(key) {
			_ = unix.Close(fd)
			delete(kept, key)
		}
	}
	r.event.Gave = r.outcome.Phase == supervisor.Gave
	if r.event.Gave {
		s.spares.give(kept)
		s.child.unshare()
	} else {
		supervisor.Drop(kept)
	}
}

func (s *shell) step(e Event) {
	e.At = s.Now()
	for _, a := range s.machine.Step(e) {
		s.do(a)
	}
}

func (s *shell) do(a Action) {
	switch a.Do {
	case Look:
		s.look()
	case Wait:
		go s.wait(s.dir.Lock()) // ends with the lock, or with the process
	case Release:
		s.release()
	case Serve:
		s.serve()
	case Candidate:
		s.Log.Info("Waiting to take over")
		s.start(map[string]int{})
	case Stop:
		s.Log.Info("Stopping the proxy", "reason", a.Reason)
		s.child.stop()
	case Leave:
		s.letGo()
	case Forget:
		s.spares.drop()
		if s.child != nil {
			s.child.sharer.clear()
			s.child.unshare()
		}
	case Own:
		s.own()
	case Fail:
		if err := s.dir.recordFailure(s.name, failure{Generation: s.id.Generation, Reason: a.Reason}); err != nil {
			s.Log.Error(err, "This generation will be tried again when its container has restarted")
		}
	case Exit:
		s.end = &a
	}
}

func (s *shell) look() {
	held, err := heldElsewhere(s.dir.Lock())
	if err != nil {
		s.Log.Error(err, "Nobody knows who serves; waiting as if somebody did")
		held = true
	}
	s.step(Event{What: Seen, Held: held})
}

func (s *shell) wait(path string) {
	for {
		fd, waited, err := obtain(path)
		if err == nil {
			s.post(report{event: Event{What: Obtained, Held: waited}, lock: fd})
			return
		}
		s.Log.Error(err, "The lock cannot be waited for", "retry", lockRetry.String())
		t := time.NewTimer(lockRetry)
		<-t.C
	}
}

func (s *shell) post(r report) {
	select {
	case s.reports <- r:
	case <-s.over:
	}
}

func (s *shell) release() {
	if s.lock >= 0 {
		_ = unix.Close(s.lock)
		s.lock = -1
	}
}

// serve starts the child with the lock and with every listener that is known.
func (s *shell) serve() {
	term, err := nextTerm(s.lock, s.Now())
	if err != nil {
		s.Log.Error(err, "The operator may believe the other slot more")
	}
	kept := s.spares.take(lastWords)
	s.Log.Info("Serving from a cold start", "term", term, "listeners", len(kept))
	kept[LockKey], s.lock = s.lock, -1
	s.start(kept)
}

func (s *shell) letGo() {
	if !s.child.left {
		s.Log.Info("Leaving: nobody is to serve")
		s.child.left = true
		close(s.child.leave)
	}
}

func (s *shell) own() {
	s.spares.drop()
	if s.child.sharing != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.child.sharing = cancel
	sh := s.child.sharer
	go func() { // the sharer: ends with unshare
		sh.run(ctx)
		sh.clear()
	}()
}
